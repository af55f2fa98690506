# SPDX-License-Identifier: GPL-2.0-or-later
"""Memory that has never been merged: the CPU time that it takes."""

import contextlib
import dataclasses

from . import filled, ways
from .bench import LIMIT, SHARE, Merging, cpu_sum
from .rows import Target, row

# What takes minutes is looked at once, and not for longer.
SLOW_LIMIT = 450
SLOW = ways.Defaults, ways.Advisor, ways.OriginalKsmtuned


@dataclasses.dataclass(frozen=True)
class Memory:
    target: Target
    share: float
    mean_run: float = 51
    alike_but_end: bool = False
    slow_peers: bool = False
    huge: bool = False

    def filling(self, mib):
        pages = (filled.LastBytesDiffer() if self.alike_but_end
                 else filled.random_pages)
        return filled.twins(mib, self.share, self.mean_run, pages)

    def what(self):
        kind = ("huge pages, as QEMU asks for them" if self.huge
                else "small pages")
        run = ("single pages at random" if self.mean_run == 1
               else f"runs of {self.mean_run} pages on average")
        return (f"in {kind}; {self.share:.0%} of the pages are in both, in "
                + run
                + ("; all pages are alike but for their last 8 bytes"
                   if self.alike_but_end else ""))


MEMORIES = {
    "cold-10": Memory(Target(0.15), 0.10),
    "cold-25": Memory(Target(0.35), 0.25, slow_peers=True),
    "cold-25/huge": Memory(Target(0.35), 0.25, huge=True),
    "cold-65": Memory(Target(0.70), 0.65),
    # As many as their marks may have mappings.
    "cold-scattered": Memory(Target(1.0), 0.03, mean_run=1),
    "cold-adversarial": Memory(Target(0.2), 0.25, alike_but_end=True),
}
ROWS = {name: memory.target for name, memory in MEMORIES.items()}
GROUPS = [(name,) for name in ROWS]


def merge(bench, kind, memory, filling, limit):
    """Seconds and CPU seconds to SHARE of what can be saved, or None.

    And the curve of what was saved until then.
    """
    pages = contextlib.nullcontext if memory.huge else filled.small_pages
    with bench.way(kind) as way, pages(), \
            bench.filled(way, filling.contents) as guests:
        merging = Merging(way, guests, filling)
        reached = merging.wait(limit)
        merging.verify()
        return reached, merging.curve()


def cpu(reached):
    return reached and cpu_sum(reached[1])


def measure(bench, wanted):
    name, = wanted
    memory = MEMORIES[name]
    mib = bench.sized(1024, 256)
    filling = memory.filling(mib)
    limit = bench.limit(LIMIT)
    curves = {}

    def merge_once(kind, limit=limit):
        reached, curves[kind] = merge(bench, kind, memory, filling, limit)
        return reached

    how = (f"2 guests of {mib} MiB {memory.what()}; CPU time of engines, "
           f"ksmtuned and ksmd to {SHARE:.0%} of the possible savings, over "
           "that of ksmd alone")
    results = bench.in_turns(name, 3, (ways.FullSpeed, ways.Engine),
                             merge_once)
    ratios = [engine and plain and cpu(engine) / cpu(plain) for plain, engine
              in zip(results[ways.FullSpeed], results[ways.Engine])]
    if memory.slow_peers and bench.has_slow_peers:
        limit = bench.limit(SLOW_LIMIT)
        results.update((kind, [merge_once(kind, limit)]) for kind in SLOW)
        how += (f"; {', '.join(kind.name for kind in SLOW)} once each, after "
                f"the others, and given up after {limit} s; the last one with "
                f"{ways.SHORT_OF_MEMORY}, as on a host short of memory")
    peers = {}
    for kind, reached in results.items():
        peers[f"{kind.name}, CPU s"] = map(cpu, reached)
        peers[f"{kind.name}, s"] = [r and r[0] for r in reached]
    for part in "engine", "ksmtuned", "ksmd":
        peers[f"qemu-ksm: {part}, CPU s"] = [
            r and r[1][part] for r in results[ways.Engine]]
    yield row(name, "of ksmd's CPU time at full speed", ratios, how,
              peers=peers, target=ROWS[name], series=[
                  {"name": kind.name, **curve}
                  for kind, curve in curves.items()])
