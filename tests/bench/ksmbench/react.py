# SPDX-License-Identifier: GPL-2.0-or-later
"""How soon pages are merged that a guest has just written."""

import contextlib
import time

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
ALONE_SECONDS = 5
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


def measure_one(bench, kind, sizes, huge, limit):
    """Seconds from the last byte that is written; None if it takes longer."""
    twins, written = sizes
    known = filling(*sizes)
    with contextlib.ExitStack() as stack:
        way = stack.enter_context(bench.way(kind))
        if not huge:
            stack.enter_context(filled.small_pages())
        guests = stack.enter_context(bench.filled(way, known.contents))
        merging = Merging(way, guests, known)
        if not merging.wait():
            raise Failure(f"{way.name}: its guests were not merged")
        merging.wait_rest()
        # And is left alone, until passes come as they do then.
        time.sleep(bench.sized(ALONE_SECONDS))
        # The one has it for long; the other writes it now.
        at = twins * MIB
        guests[1].write(at, guests[0].contents[at:])
        merging.more(written * MIB // PAGE)
        reached = merging.wait(limit)
        merging.verify()
        return reached and reached[0]


def measure(bench, wanted):
    for name in wanted:
        huge = name.endswith("/huge")
        twins, written, limit = map(
            bench.sized, (TWINS_MIB, WRITTEN_MIB, LIMIT))
        sizes = twins, written
        results = bench.in_turns(
            name, 3, (ways.Engine, ways.FullSpeed),
            lambda kind: measure_one(bench, kind, sizes, huge, limit))
        if not bench.quick:
            results[ways.Defaults] = [measure_one(bench, ways.Defaults, sizes,
                                                  huge, SLOW_LIMIT)]
        yield row(name, "s", results.pop(ways.Engine),
                  f"2 guests with {twins} MiB of twins, merged"
                  f"{', in huge pages' * huge}; one then writes {written} MiB "
                  "that the other has; time until 99% of it is merged",
                  target=ROWS[name], peers={
                      f"{kind.name}, s": found
                      for kind, found in results.items()})
