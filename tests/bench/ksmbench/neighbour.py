# SPDX-License-Identifier: GPL-2.0-or-later
"""What somebody else's work on the same core takes while memory is merged."""

import os
import subprocess
import time

from ksmtest import programs
from ksmtest.checks import Failure

from . import filled, ways
from .bench import LIMIT, Merging
from .rows import Target, row

ROWS = {"co-runner": Target(1.6)}
PROGRAM = programs.BUILD / "service/ksm-neighbour"
TWINS = 0.25
# More than caches hold.
CHAIN_MIB = 64
OPERATION_US = 100
ALONE_SECONDS = 5
QUICK_LIMIT = 10


class Neighbour:
    """A context manager: while in it, a core is kept busy."""

    def __init__(self, cpu):
        self._command = [PROGRAM, str(cpu), str(CHAIN_MIB), str(OPERATION_US)]

    def __enter__(self):
        try:
            self._process = subprocess.Popen(
                self._command, text=True, bufsize=1,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        except FileNotFoundError as error:
            raise Failure(f"{PROGRAM} is missing: run 'make'") from error
        self._process.stdout.readline()
        return self

    def __exit__(self, *unused):
        self._process.communicate()

    def percentiles(self):
        """Nanoseconds of half, 99 % and all of the work since last asked."""
        self._process.stdin.write("\n")
        _, half, most, longest = map(
            int, self._process.stdout.readline().split())
        return half, most, longest


def measure_one(bench, kind, filling, cpu):
    """Of work alone and beside merging: what 99 % of it takes, in us."""
    with bench.way(kind) as way, filled.small_pages(), \
            bench.filled(way, filling.contents) as guests, \
            Neighbour(cpu) as neighbour:
        neighbour.percentiles()
        time.sleep(bench.sized(ALONE_SECONDS))
        alone = neighbour.percentiles()
        with way.pinned(guests, cpu):
            neighbour.percentiles()
            merging = Merging(way, guests, filling)
            # With a part of a core only, ksmd takes minutes.
            merging.wait(bench.sized(LIMIT, QUICK_LIMIT))
            beside = neighbour.percentiles()
        merging.verify()
        return alone[1] / 1e3, beside[1] / 1e3


def measure(bench, wanted):
    mib = bench.sized(1024, 256)
    # The last one: interrupts are often on the first.
    cpu = max(os.sched_getaffinity(0))
    filling = filled.twins(mib, TWINS, 51, filled.numbered_pages())
    results = bench.in_turns(
        "co-runner", 3, (ways.Engine, ways.FullSpeed),
        lambda kind: measure_one(bench, kind, filling, cpu))
    ratios = {kind: [beside / alone for alone, beside in found]
              for kind, found in results.items()}
    yield row("co-runner", "of what it takes alone", ratios[ways.Engine],
              f"a thread that follows pointers through {CHAIN_MIB} MiB, on one "
              "core with engines, ksmtuned and ksmd, while 2 guests of "
              f"{mib} MiB with {TWINS:.0%} of twins are merged; the time within "
              f"which 99% of its operations of about {OPERATION_US} us are "
              "done, over that before", target=ROWS["co-runner"], peers={
                  "ksmd-full-speed, of what it takes alone":
                      ratios[ways.FullSpeed],
                  "alone, us": [alone for alone, _ in results[ways.Engine]],
                  "qemu-ksm, us": [beside
                                   for _, beside in results[ways.Engine]]})
