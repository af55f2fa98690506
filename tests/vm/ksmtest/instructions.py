# SPDX-License-Identifier: GPL-2.0-or-later
"""Instructions that an emulated host executes for something.

Where it counts them (emulated-host --count), a nanosecond of its clocks is an
instruction.  It has one processor.
"""

import os
import time
from pathlib import Path

from . import sample
from .checks import PATIENCE, check

# Of the pages that are merged in the end: those up to which is counted.
SHARE_MERGED = 0.99


def counted():
    """Does the host that we are in count them?"""
    return "KSM_COUNTED" in os.environ


def executed():
    """What the processor has executed, when it wasn't idle.

    The time of all tasks, with the interrupts in it, less that of this one,
    which looks.
    """
    line, = (line for line
             in Path("/proc/schedstat").read_text().splitlines()
             if line.startswith("cpu0 "))
    return int(line.split()[7]) - time.process_time_ns()


def of_merging(name, start, merged, rest=1):
    """Pages merged in the end, and the instructions for each.

    START() lets merging begin, MERGED() tells how many pages are merged; the
    end is when these have been no more for REST seconds.
    """
    series = sample.Series()
    time.sleep(1)
    before = executed()
    start()
    began = since = time.monotonic()
    last = 0
    while not last or time.monotonic() < since + rest:
        check(time.monotonic() < began + PATIENCE,
              f"{name}: after {last} pages, more and more are merged"
              if last else f"{name}: nothing is merged")
        now = merged()
        series.add(now, {"instructions": executed() - before})
        if now != last:
            last, since = now, time.monotonic()
        time.sleep(0.01)
    seconds, took = series.reached(SHARE_MERGED * last)
    each = took["instructions"] / (SHARE_MERGED * last)
    print(f"# {name}: {last} pages merged, {SHARE_MERGED:.0%} of them in "
          f"{seconds:.2f} s by {took['instructions'] / 1e6:.0f} million "
          f"instructions, {each:.0f} each", flush=True)
    return last, each
