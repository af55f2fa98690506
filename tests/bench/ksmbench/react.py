# SPDX-License-Identifier: GPL-2.0-or-later
"""How soon pages are merged that a guest has just written."""

import contextlib

from ksmtest.checks import Failure

from . import filled, ways
from .bench import Merging
from .filled import MIB, PAGE
from .rows import Target, row

ROWS = {
    "react": Target(3),
    # The same in memory of huge pages.
    "react/huge": Target(3),
}
WRITTEN_MIB = 64
TWINS_MIB = 128
# The kernel needs two scans of everything, at 20 MB a second.
LIMIT = 60
SLOW_LIMIT = 300


def filling():
    """Two guests with twins, and a part of each that the other hasn't."""
    pages = filled.numbered_pages()
    twins = pages(TWINS_MIB * MIB // PAGE)
    contents = [bytearray(twins + pages(WRITTEN_MIB * MIB // PAGE))
                for _ in range(2)]
    return filled.Filling(contents, TWINS_MIB * MIB // PAGE)


def measure_one(bench, kind, huge, limit):
    """Seconds from the last byte that is written; None if it takes longer."""
    known = filling()
    with contextlib.ExitStack() as stack:
        way = stack.enter_context(bench.way(kind))
        if not huge:
            stack.enter_context(filled.small_pages())
        guests = stack.enter_context(bench.filled(way, known.contents))
        merging = Merging(way, guests, known)
        if not merging.wait():
            raise Failure(f"{way.name}: its guests were not merged")
        merging.wait_rest()
        # The one has it for long; the other writes it now.
        at = TWINS_MIB * MIB
        guests[1].write(at, guests[0].contents[at:])
        merging.more(WRITTEN_MIB * MIB // PAGE)
        reached = merging.wait(limit)
        merging.verify()
        return reached and reached[0]


def measure(bench, wanted):
    for name in wanted:
        huge = name.endswith("/huge")
        results = {ways.Engine: [], ways.FullSpeed: []}
        for _ in bench.rounds(5):
            for kind, found in results.items():
                found.append(measure_one(bench, kind, huge, LIMIT))
                bench.say(f"{name}: {kind.name} {found[-1]}")
        if not bench.quick:
            results[ways.Defaults] = [measure_one(bench, ways.Defaults, huge,
                                                  SLOW_LIMIT)]
        yield row(name, "s", results.pop(ways.Engine),
                  f"2 guests with {TWINS_MIB} MiB of twins, merged"
                  f"{', in huge pages' * huge}; one then writes {WRITTEN_MIB} "
                  "MiB that the other has; time until 99% of it is merged",
                  target=ROWS[name], peers={
                      f"{kind.name}, s": found
                      for kind, found in results.items()})
