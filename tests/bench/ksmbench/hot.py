# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that is rewritten for ever, always with what has a twin."""

import dataclasses
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from ksmtest.checks import Failure
from ksmtest.vm import die_with_parent

from . import filled, ways
from .bench import cpu_sum
from .filled import MIB, PAGE
from .rows import Target, row

ROWS = {
    "hot": Target(2),
    "hot/undone": Target(0),
}
GROUPS = [tuple(ROWS)]
PROGRAM = Path(__file__).resolve().parents[1] / "rewriter.py"
HOT_MIB = 256
CHUNK = MIB
# All of it is rewritten so often a second, at least.
LEAST_RATE = 0.5
# To find out that it is hot is done once.
LEARNING_SECONDS = 15
# Longer than what is hot is left alone, at most: 64 s.
SECONDS = 70


class Rewriter:
    """A context manager: in it, a guest is rewritten with CONTENTS in turn."""

    def __init__(self, guest, contents):
        self._guest = guest
        self._contents = contents

    def __enter__(self):
        with open(os.memfd_create("contents"), "r+b") as file:
            for content in self._contents:
                file.write(content)
            file.flush()
            self._process = subprocess.Popen(
                [sys.executable, PROGRAM, str(self._guest.pid),
                 str(self._guest.ram), str(len(self._contents[0])),
                 str(file.fileno())],
                pass_fds=[file.fileno()], text=True, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                start_new_session=True, preexec_fn=die_with_parent)
        return self

    def __exit__(self, *unused):
        if not self._process.stdin.closed:
            self._process.communicate()

    def written(self):
        """Bytes, so far."""
        try:
            self._process.stdin.write("\n")
            self._process.stdin.flush()
            return int(self._process.stdout.readline())
        except (BrokenPipeError, ValueError):
            self._fail()

    def end(self):
        """Ends it, and verifies that the guest holds nothing else."""
        if self._process.poll() is not None:
            self._fail()
        self._process.communicate()
        with open(f"/proc/{self._guest.pid}/mem", "rb", 0) as memory:
            for at in range(0, len(self._contents[0]), CHUNK):
                found = os.pread(memory.fileno(), CHUNK, self._guest.ram + at)
                if not any(content[at:at + CHUNK] == found
                           for content in self._contents):
                    raise Failure(f"{self._guest.name}: what was written at "
                                  f"{at:#x} is not there any more")

    def _fail(self):
        raise Failure(f"{self._guest.name}: it is not rewritten any more: "
                      + self._process.stderr.read().strip())


def merges_undone():
    """Merged pages of this host that were written, so far."""
    return int(re.search(r"^cow_ksm (\d+)", Path("/proc/vmstat").read_text(),
                         re.M)[1])


@dataclasses.dataclass
class Window:
    """What was done in some seconds; all but PERCENT for each of them."""

    percent: float      # of a core, to merge
    undone: float       # merges
    rewritten: float    # MiB

    def __str__(self):
        return (f"{self.percent:.3g} % of a core, {self.undone:.3g} merges "
                f"undone and {self.rewritten:.0f} MiB rewritten a second")


def look(way, rewriter, mib, seconds):
    """How it goes on from now on."""
    def now():
        return cpu_sum(way.cpu()), merges_undone(), rewriter.written() / MIB

    before, begin = now(), time.monotonic()
    time.sleep(seconds)
    cpu, undone, rewritten = ((then - was) / (time.monotonic() - begin)
                              for then, was in zip(now(), before))
    if rewritten < LEAST_RATE * mib:
        raise Failure(f"{way.name}: the guest is rewritten at {rewritten:.0f} "
                      f"MiB a second, and {LEAST_RATE * mib:.0f} are the least")
    return Window(100 * cpu, undone, rewritten)


def measure_one(bench, kind, mib, *windows):
    """Windows of so many seconds, from the start of merging on."""
    pages = filled.numbered_pages()
    count = mib * MIB // PAGE
    versions = [memoryview(pages(count)) for _ in range(2)]
    resting = bytearray(b"".join(versions))
    hot = bytearray(pages(count))
    with bench.way(kind) as way, filled.small_pages(), \
            bench.filled(way, [resting, hot]) as (other, guest), \
            Rewriter(guest, versions) as rewriter:
        time.sleep(1)
        way.start([other, guest])
        found = [look(way, rewriter, mib, seconds) for seconds in windows]
        rewriter.end()
        other.verify()
        return found


def measure(bench, wanted):
    mib = bench.sized(HOT_MIB)
    # ksmd learns nothing, and does the same all the time.
    windows = {ways.Engine: (bench.sized(LEARNING_SECONDS),
                             bench.sized(SECONDS, 5)),
               ways.FullSpeed: (bench.sized(5), bench.sized(20, 5))}
    results = bench.in_turns(
        "hot", 3, tuple(windows),
        lambda kind: measure_one(bench, kind, mib, *windows[kind]))

    def values(kind, window, name):
        return [getattr(found[window], name) for found in results[kind]]

    how = (f"a guest of {mib} MiB in small pages is rewritten all the time, "
           "with two contents in turn that another guest has; "
           + ", ".join(f"{kind.name} in {then} s after the first {first} s"
                       for kind, (first, then) in windows.items()))
    for name, figure, unit in (("hot", "percent", "% of a core"),
                               ("hot/undone", "undone",
                                "merges undone a second")):
        if name in wanted:
            yield row(name, unit, values(ways.Engine, 1, figure), how,
                      target=ROWS[name], peers={
                          f"ksmd-full-speed, {unit}":
                              values(ways.FullSpeed, 1, figure),
                          **{f"{kind.name} at first, {unit}":
                             values(kind, 0, figure) for kind in results},
                          **{f"{kind.name}, MiB rewritten a second":
                             values(kind, 1, "rewritten") for kind in results}})
