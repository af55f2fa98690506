# SPDX-License-Identifier: GPL-2.0-or-later
"""The engine's hashing, beside merely reading memory."""

import subprocess
import time

from ksmtest.checks import Failure

from . import filled, ways
from .bench import LIMIT, LOOK, SHARE, cpu_sum
from .filled import MIB
from .rows import Target, in_words, row

ROWS = {
    "hash": Target(0.65, "least"),
    "floor": Target(4),
}
GROUPS = [(name,) for name in ROWS]
TWINS = 0.25
GB = 1e9


def rates(bench, mib, rounds):
    """[(bytes read, bytes hashed)] a second, of each round."""
    program = bench.qemu.parent / "tests/bench/ksm-hasher-bench"
    try:
        text = subprocess.run([program, str(mib), str(rounds)], check=True,
                              stdout=subprocess.PIPE, text=True).stdout
    except FileNotFoundError as error:
        raise Failure(f"{program} is missing: run 'make' to build it") from error
    return [tuple(map(float, line.split())) for line in text.splitlines()]


def find_twins(bench, filling):
    """CPU seconds of engines and ksmtuned until the twins are known."""
    goal = SHARE * len(filling.contents) * filling.savable
    with bench.way(ways.Null) as way, filled.small_pages(), \
            bench.filled(way, filling.contents) as guests:
        way.start(guests)
        deadline = time.monotonic() + LIMIT
        while sum(guest.ksm()["figures"]["pages-twins"]
                  for guest in guests) < goal:
            if time.monotonic() > deadline:
                raise Failure(f"floor: not all twins known after {LIMIT} s")
            time.sleep(LOOK)
        used = way.cpu()
        for guest in guests:
            guest.verify()
        return used


def measure(bench, wanted):
    mib = bench.sized(1024, 256)
    if "hash" in wanted:
        found = rates(bench, mib, len(bench.rounds(9)))
        yield row("hash", "of the rate of reading",
                  [hashed / read for read, hashed in found],
                  f"{mib} MiB of resident memory, page by page as the engine "
                  "hashes it, in turns with a loop that only reads; that "
                  "asks for nothing ahead, as XXH3 does, so this may be more "
                  "than 1",
                  target=ROWS["hash"], peers={
                      "reading, GB/s": [read / GB for read, _ in found],
                      "hashing, GB/s": [hashed / GB for _, hashed in found]})
    if "floor" in wanted:
        filling = filled.twins(mib, TWINS, 51, filled.numbered_pages())
        rounds = []
        for _ in bench.rounds(5):
            read, = rates(bench, mib, 1)
            seconds = len(filling.contents) * mib * MIB / read[0]
            rounds.append((seconds, find_twins(bench, filling)))
            bench.say(f"floor: read in {seconds:.4f} s, "
                      f"{in_words(rounds[-1][1])}")
        yield row("floor", "of the time of reading it once",
                  [cpu_sum(cpu) / read for read, cpu in rounds],
                  f"2 guests of {mib} MiB in small pages with {TWINS:.0%} of "
                  "twins, backend null; CPU time of engines and ksmtuned until "
                  f"they know {SHARE:.0%} of them",
                  target=ROWS["floor"], peers={
                      "reading, CPU s": [read for read, _ in rounds],
                      "qemu-ksm, CPU s": [cpu_sum(cpu) for _, cpu in rounds],
                      **{f"qemu-ksm: {part}, CPU s": [cpu[part]
                                                      for _, cpu in rounds]
                         for part in ("engine", "ksmtuned")}})
