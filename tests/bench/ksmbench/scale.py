# SPDX-License-Identifier: GPL-2.0-or-later
"""What a pass takes in which nothing was written, the more memory there is."""

import statistics
import time

from . import filled, ways
from .bench import Merging
from .filled import MIB, PAGE
from .rows import Target, in_words, row

ROWS = {
    "scale-memory": Target(1),
    "scale-guests": Target(1),
}
GROUPS = [(name,) for name in ROWS]
GUEST_MIB = 256
MEMORY_MIB = (256, 512, 1024, 2048, 4096, 8192)
GUESTS = (1, 2, 4, 8, 16)
# A quick run is content with so many points.
QUICK_POINTS = 2
# The last few pages may wait for 10 minutes.
LIMIT = 700
# With nothing to do, passes are 16 times as far apart.
SLEEP_MS = 10


def pass_cost(bench, sizes, seconds):
    """CPU ms that a pass takes, of all engines together."""
    pages = filled.numbered_pages()
    contents, savable = [], 0
    for mib in sizes:
        half = pages(mib * MIB // PAGE // 2)
        savable += len(half) // PAGE
        # All of it is armed: each page has a twin in its own guest.
        contents.append(bytearray(half))
        contents[-1] += half
        del half
    with bench.way(ways.Engine) as way, filled.small_pages(), \
            bench.filled(way, contents) as guests:
        merging = Merging(way, guests, filled.Filling(contents, savable))
        merging.reach(LIMIT)
        merging.wait_rest()
        for guest in guests:
            guest.set_ksm("sleep-millisecs", SLEEP_MS)
        before = [guest.ksm() for guest in guests]
        # Not asked for one by one, which costs more than some of them.
        time.sleep(seconds)
        cost = 0
        for guest, was in zip(guests, before):
            now = guest.ksm()
            cost += ((now["cpu-ns"] - was["cpu-ns"])
                     / (now["full-scans"] - was["full-scans"]))
        merging.verify()
        return cost / 1e6


def measure_slope(bench, name, what, points, how):
    """POINTS: (GiB, sizes of guests in MiB)."""
    # What guests hold, as it is here and in them, before it is merged.
    bench.need(max(2 * sum(sizes) for _, sizes in points))
    seconds = bench.sized(5, 2)
    rounds = []
    for _ in bench.rounds(3):
        costs = [(gib, pass_cost(bench, sizes, seconds))
                 for gib, sizes in points]
        bench.say(f"{name}, CPU ms: " + in_words(
            {f"{gib:g} GiB": cost for gib, cost in costs}))
        rounds.append(costs)
    slopes = [statistics.linear_regression(*zip(*costs)).slope
              for costs in rounds]
    middle = [[gib, statistics.median(costs[number][1] for costs in rounds)]
              for number, (gib, _) in enumerate(points)]
    return row(
        name, "CPU ms a pass and GiB", slopes,
        f"{how} in small pages, merged, in which nothing is written; slope of "
        "a line through the CPU time of engines for one pass, of those in "
        f"{seconds} s",
        target=ROWS[name],
        peers={f"{gib:g} GiB, CPU ms": [cost] for gib, cost in middle},
        series=[{"name": what, "x_unit": "GiB", "unit": "CPU ms a pass",
                 "points": middle}])


def measure(bench, wanted):
    last = QUICK_POINTS if bench.quick else None
    if "scale-memory" in wanted:
        sizes = [bench.sized(mib) for mib in MEMORY_MIB[:last]]
        yield measure_slope(bench, "scale-memory", "one guest",
                            [(mib / 1024, [mib]) for mib in sizes],
                            f"a guest of {sizes[0]} to {sizes[-1]} MiB")
    if "scale-guests" in wanted:
        numbers = GUESTS[:last]
        mib = bench.sized(GUEST_MIB)
        yield measure_slope(bench, "scale-guests", f"guests of {mib} MiB",
                            [(number * mib / 1024, [mib] * number)
                             for number in numbers],
                            f"{numbers[0]} to {numbers[-1]} guests of {mib} "
                            "MiB")
