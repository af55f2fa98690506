# SPDX-License-Identifier: GPL-2.0-or-later
"""How soon pages are merged that a guest has just written."""

import contextlib
import random
import time

from . import filled, ways
from .bench import SHARE, Merging
from .filled import MIB, PAGE
from .rows import Target, row

ROWS = {
    "react": Target(3),
    # The same in memory of huge pages.
    "react/huge": Target(3),
}
GROUPS = [(name,) for name in ROWS]
WRITTEN_MIB = 64
TWINS_MIB = 128
# Whatever the engine does now and then is met at any time of its turn.
ALONE_SECONDS = 5, 13
# The kernel needs two scans of everything, at 20 MB a second.
LIMIT = 60
SLOW_LIMIT = 120


def filling(twins_mib, written_mib):
    """Two guests with twins, and a part of each that the other hasn't."""
    pages = filled.numbered_pages()
    twins = pages(twins_mib * MIB // PAGE)
    contents = [bytearray(twins + pages(written_mib * MIB // PAGE))
                for _ in range(2)]
    return filled.Filling(contents, twins_mib * MIB // PAGE)


def measure_one(bench, kind, sizes, huge, alone, limit):
    """Seconds from the last byte that is written; None if it takes longer."""
    twins, written = sizes
    known = filling(*sizes)
    with contextlib.ExitStack() as stack:
        way = stack.enter_context(bench.way(kind))
        if not huge:
            stack.enter_context(filled.small_pages())
        guests = stack.enter_context(bench.filled(way, known.contents))
        merging = Merging(way, guests, known)
        merging.reach()
        merging.wait_rest()
        # And is left alone, until passes come as they do then.
        time.sleep(alone)
        # The one has it for long; the other writes it now.
        at = twins * MIB
        guests[1].write(at, guests[0].contents[at:])
        merging.more(written * MIB // PAGE)
        reached = merging.wait(limit)
        merging.verify()
        return reached and reached[0]


def alone_seconds(bench):
    """For how long guests are left alone, round by round: alike for all."""
    chance = random.Random(1)
    while True:
        yield chance.uniform(*map(bench.sized, ALONE_SECONDS))


def measure(bench, wanted):
    name, = wanted
    huge = name.endswith("/huge")
    twins, written = sizes = bench.sized(TWINS_MIB), bench.sized(WRITTEN_MIB)
    kinds = ways.Engine, ways.FullSpeed
    alone = {kind: alone_seconds(bench) for kind in (*kinds, ways.Defaults)}

    limit = bench.limit(LIMIT)

    def measure_with(kind, limit=limit):
        return measure_one(bench, kind, sizes, huge, next(alone[kind]), limit)

    results = bench.in_turns(name, 5, kinds, measure_with)
    how = (f"2 guests in {'huge' if huge else 'small'} pages with {twins} MiB "
           f"of twins, merged; after {ALONE_SECONDS[0]} to {ALONE_SECONDS[1]} "
           f"s, at random, one writes {written} MiB that the other has; time "
           f"until {SHARE:.0%} of it is merged, at most {limit} s")
    if bench.has_slow_peers and not huge:
        limit = bench.limit(SLOW_LIMIT)
        results[ways.Defaults] = [measure_with(ways.Defaults, limit)]
        how += (f"; {ways.Defaults.name} once, after the others, at most "
                f"{limit} s")
    yield row(name, "s", results.pop(ways.Engine), how, target=ROWS[name],
              peers={f"{kind.name}, s": found
                     for kind, found in results.items()})
