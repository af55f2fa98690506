# SPDX-License-Identifier: GPL-2.0-or-later
"""A few new twins a second, beside much memory that is merged already."""

import time

from . import filled, ways
from .bench import SHARE, Merging, cpu_sum
from .filled import MIB, PAGE
from .rows import Target, row

ROWS = {"incremental": Target(0.1)}
GROUPS = [tuple(ROWS)]
RATE_MIB = 1
# In seconds.  ksmtuned lets few pages wait for up to ten minutes.
LIMIT = 900


def measure_one(bench, kind, mib, seconds, limit):
    """CPU seconds a new twin, by what used them; None if not all are saved."""
    pages = filled.numbered_pages()
    size, room = mib * MIB, RATE_MIB * seconds * MIB
    merged = pages(size // PAGE)
    contents = []
    for _ in range(2):
        contents.append(bytearray(merged))
        contents[-1] += pages(room // PAGE)
    del merged
    known = filled.Filling(contents, size // PAGE)
    with bench.way(kind) as way, filled.small_pages(), \
            bench.filled(way, contents) as guests:
        merging = Merging(way, guests, known)
        merging.reach(LIMIT)
        merging.wait_rest(LIMIT)
        before = way.cpu()
        begin = time.monotonic()
        merging.more(room // PAGE)
        for second in range(seconds):
            new = pages(RATE_MIB * MIB // PAGE)
            for guest in guests:
                guest.write(size + second * RATE_MIB * MIB, new)
            time.sleep(max(0, begin + second + 1 - time.monotonic()))
        # Until they are merged, however long they wait for that.
        reached = merging.wait(limit)
        used = {name: seconds - before[name]
                for name, seconds in way.cpu().items()}
        merging.verify()
        return reached and {name: seconds / (room // PAGE)
                            for name, seconds in used.items()}


def measure(bench, wanted):
    mib = bench.sized(4096, 32)
    seconds = bench.sized(60, 5)
    # What they hold, as it is here and in them, before it is merged.
    bench.need(4 * (mib + RATE_MIB * seconds))
    limit = bench.limit(LIMIT)
    # That takes long: there is one round.
    results = bench.in_turns(
        "incremental", 1, (ways.FullSpeed, ways.Engine),
        lambda kind: measure_one(bench, kind, mib, seconds, limit))
    plain, engine = (results[kind][0] for kind in results)
    yield row("incremental", "of ksmd's CPU time at full speed",
              [plain and engine and cpu_sum(engine) / cpu_sum(plain)],
              f"2 guests of {mib} MiB in small pages, all of which is merged; "
              f"then both write {RATE_MIB} MiB a second that is alike, for "
              f"{seconds} s; CPU time for each page of these, from the first "
              f"write until {SHARE:.0%} of them are merged, for which it has "
              f"{limit} s",
              target=ROWS["incremental"], peers={
                  "ksmd-full-speed, CPU us": [
                      plain and 1e6 * cpu_sum(plain)],
                  "qemu-ksm, CPU us": [engine and 1e6 * cpu_sum(engine)],
                  **{f"qemu-ksm: {part}, CPU us": [engine
                                                   and 1e6 * engine[part]]
                     for part in ("engine", "ksmtuned", "ksmd")}})
