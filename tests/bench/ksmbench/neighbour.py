# SPDX-License-Identifier: GPL-2.0-or-later
"""What somebody else's work on the same core takes while memory is merged."""

import collections
import dataclasses
import os
import subprocess
import time

from ksmtest import programs
from ksmtest.checks import Failure

from . import filled, ways
from .bench import LIMIT, SHARE, Merging
from .rows import Target, row

ROWS = {"co-runner": Target(1.6)}
GROUPS = [tuple(ROWS)]
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

    def histogram(self):
        """Operations since last asked: {nanoseconds, at most: how many}."""
        self._process.stdin.write("\n")
        words = map(int, self._process.stdout.readline().split())
        return collections.Counter(dict(zip(words, words)))


def shares(histogram):
    """(nanoseconds, the share of operations that took no longer) pairs."""
    total, seen = histogram.total(), 0
    for ns in sorted(histogram):
        seen += histogram[ns]
        yield ns, seen / total


def within(share, histogram):
    """Microseconds within which that share of operations was done."""
    return next(ns for ns, done in shares(histogram) if done >= share) / 1e3


@dataclasses.dataclass
class Beside:
    """Work alone, and beside merging: histograms of what it takes."""

    alone: collections.Counter
    beside: collections.Counter
    seconds: float      # of merging
    merged: int         # pages

    def __str__(self):
        return (f"{self.ratio():.3g} of what it takes alone, {self.merged} "
                f"pages merged in {self.seconds:.1f} s")

    def ratio(self):
        return within(0.99, self.beside) / within(0.99, self.alone)


def measure_one(bench, kind, filling, cpu, limit):
    with bench.way(kind) as way, filled.small_pages(), \
            bench.filled(way, filling.contents) as guests, \
            Neighbour(cpu) as neighbour:
        neighbour.histogram()
        time.sleep(bench.sized(ALONE_SECONDS))
        alone = neighbour.histogram()
        with way.pinned(guests, cpu):
            neighbour.histogram()
            merging = Merging(way, guests, filling)
            if kind is ways.Engine:
                merging.reach()
            else:
                merging.wait(limit)
            beside = neighbour.histogram()
        merging.verify()
        return Beside(alone, beside, merging.series.seconds, merging.saved)


def measure(bench, wanted):
    mib = bench.sized(1024, 256)
    # The last one: interrupts are often on the first.
    cpu = max(os.sched_getaffinity(0))
    # With a part of a core only, ksmd takes minutes.
    limit = bench.limit(LIMIT, QUICK_LIMIT)
    filling = filled.twins(mib, TWINS, 51, filled.numbered_pages())
    rounds = bench.in_turns(
        "co-runner", 3, (ways.Engine, ways.FullSpeed),
        lambda kind: measure_one(bench, kind, filling, cpu, limit))
    histograms = {"alone": [one.alone for found in rounds.values()
                            for one in found],
                  **{kind.name: [one.beside for one in found]
                     for kind, found in rounds.items()}}
    yield row("co-runner", "of what it takes alone",
              [one.ratio() for one in rounds[ways.Engine]],
              f"a thread that follows pointers through {CHAIN_MIB} MiB, on one "
              "core with engines, ksmtuned and ksmd, while 2 guests of "
              f"{mib} MiB in small pages with {TWINS:.0%} of twins are merged, "
              f"until {SHARE:.0%} of the {filling.savable} pages are that can "
              f"be, or ksmd alone for {limit} s; the time within which 99% of "
              f"its operations of about {OPERATION_US} us are done, over that "
              "before",
              target=ROWS["co-runner"], peers={
                  "ksmd-full-speed, of what it takes alone":
                      [one.ratio() for one in rounds[ways.FullSpeed]],
                  **{f"{name}: {words} of operations, us":
                     [within(share, one) for one in found]
                     for name, found in histograms.items()
                     for words, share in (("50%", 0.5), ("99%", 0.99),
                                          ("99.9%", 0.999), ("all", 1))},
                  **{f"{kind.name}, {unit}":
                     [getattr(one, figure) for one in found]
                     for kind, found in rounds.items()
                     for figure, unit in (("seconds", "s"),
                                          ("merged", "pages merged"))}},
              series=[{"name": name, "x_unit": "microseconds",
                       "unit": "share of operations within",
                       "points": [[ns / 1e3, done] for ns, done
                                  in shares(sum(found,
                                                collections.Counter()))]}
                      for name, found in histograms.items()])
