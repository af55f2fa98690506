# SPDX-License-Identifier: GPL-2.0-or-later
"""A few new twins a second, beside much memory that is merged already."""

import time

from . import filled, ways
from .bench import Merging, cpu_sum
from .filled import MIB, PAGE
from .rows import Target, row

ROWS = {"incremental": Target(0.1)}
RATE_MIB = 1


def measure_one(bench, kind, mib, seconds, limit):
    """CPU seconds a new twin, by what used them."""
    pages = filled.numbered_pages()
    merged = bytearray(pages(mib * MIB // PAGE))
    room = RATE_MIB * seconds * MIB
    contents = [merged + pages(room // PAGE) for _ in range(2)]
    known = filled.Filling(contents, len(merged) // PAGE)
    with bench.way(kind) as way, filled.small_pages(), \
            bench.filled(way, contents) as guests:
        merging = Merging(way, guests, known)
        merging.wait(limit)
        merging.wait_rest(limit)
        merging.more(room // PAGE)
        before = way.cpu()
        begin = time.monotonic()
        for second in range(seconds):
            new = pages(RATE_MIB * MIB // PAGE)
            for guest in guests:
                guest.write(len(merged) + second * RATE_MIB * MIB, new)
            time.sleep(max(0, begin + second + 1 - time.monotonic()))
        # Until they are merged, however long they wait for that.
        merging.wait(limit)
        used = {name: seconds - before[name]
                for name, seconds in way.cpu().items()}
        merging.verify()
        if merging.saved < merging.goal:
            return None
        return {name: seconds / (room // PAGE)
                for name, seconds in used.items()}


def measure(bench, wanted):
    mib = bench.sized(4096, 32)
    seconds = bench.sized(60, 5)
    # ksmtuned lets few pages wait for up to ten minutes.
    limit = bench.sized(900, 120)
    results = bench.in_turns(
        "incremental", 1, (ways.FullSpeed, ways.Engine),
        lambda kind: measure_one(bench, kind, mib, seconds, limit))
    plain, engine = (results[kind][0] for kind in results)
    yield row("incremental", "of ksmd's CPU time at full speed",
              [plain and engine and cpu_sum(engine) / cpu_sum(plain)],
              f"2 guests of {mib} MiB, all of which is merged; then both write "
              f"{RATE_MIB} MiB a second that is alike, for {seconds} s; CPU "
              "time for each page that is saved, until all are",
              target=ROWS["incremental"], peers={
                  "ksmd-full-speed, CPU us": [
                      plain and 1e6 * cpu_sum(plain)],
                  "qemu-ksm, CPU us": [engine and 1e6 * cpu_sum(engine)],
                  **{f"qemu-ksm: {part}, CPU us": [engine
                                                   and 1e6 * engine[part]]
                     for part in ("engine", "ksmtuned", "ksmd")}})
