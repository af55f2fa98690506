# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that is rewritten for ever, always with what has a twin."""

import multiprocessing
import os
import re
import time
from pathlib import Path

from . import filled, ways
from .bench import cpu_sum
from .filled import MIB, PAGE
from .rows import Target, row

ROWS = {
    "hot": Target(2),
    "hot/undone": Target(0),
}
HOT_MIB = 256
CHUNK = MIB
LEARNING_SECONDS = 15


def rewrite(pid, address, contents, end):
    """As a guest's processor would: one content after another, for ever."""
    with open(f"/proc/{pid}/mem", "r+b", 0) as memory:
        while not end.is_set():
            for content in contents:
                for at in range(0, len(content), CHUNK):
                    os.pwrite(memory.fileno(), content[at:at + CHUNK],
                              address + at)


def merges_undone():
    """Merged pages of this host that were written, so far."""
    return int(re.search(r"^cow_ksm (\d+)", Path("/proc/vmstat").read_text(),
                         re.M)[1])


def measure_one(bench, kind, mib, seconds):
    """Percent of a core, and merges undone a second."""
    pages = filled.numbered_pages()
    count = mib * MIB // PAGE
    versions = [memoryview(bytearray(pages(count))) for _ in range(2)]
    resting = bytearray(b"".join(versions))
    hot = bytearray(pages(count))
    with bench.way(kind) as way, filled.small_pages(), \
            bench.filled(way, [resting, hot]) as (other, guest):
        end = multiprocessing.Event()
        writer = multiprocessing.Process(
            target=rewrite, args=(guest.pid, guest.ram, versions, end))
        writer.start()
        try:
            time.sleep(1)
            way.start([other, guest])
            # What is done once, to find out that it is hot, is no waste.
            time.sleep(bench.sized(LEARNING_SECONDS))
            before, merges = cpu_sum(way.cpu()), merges_undone()
            time.sleep(seconds)
            percent = 100 * (cpu_sum(way.cpu()) - before) / seconds
            undone = (merges_undone() - merges) / seconds
        finally:
            end.set()
            writer.join()
        other.verify()
        return percent, undone


def measure(bench, wanted):
    mib = bench.sized(HOT_MIB)
    seconds = bench.sized(20, 5)
    results = bench.in_turns(
        "hot", 3, (ways.Engine, ways.FullSpeed),
        lambda kind: measure_one(bench, kind, mib, seconds))
    how = (f"a guest of {mib} MiB is rewritten all the time, with two "
           f"contents in turn that another guest has; in {seconds} s, from "
           f"{LEARNING_SECONDS} s after the start on")
    for name, index, unit in (("hot", 0, "% of a core"),
                              ("hot/undone", 1, "merges undone a second")):
        if name in wanted:
            yield row(name, unit,
                      [one[index] for one in results[ways.Engine]], how,
                      target=ROWS[name], peers={
                          f"ksmd-full-speed, {unit}": [
                              one[index] for one in results[ways.FullSpeed]]})
