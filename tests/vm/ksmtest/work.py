# SPDX-License-Identifier: GPL-2.0-or-later
"""How much work a guest gets done while its engine makes passes.

The emulated host has one processor, for the guest and for all that serves it,
and its clocks count what that executes.  So whatever engine, ksmtuned and ksmd
take is missing from the guest's work, to the instruction, and the machine
around plays no part.  The engine is turned on and off in turns: what it does
differs from pass to pass.  Medians of ratios are taken.
"""

import re
import statistics
import time

from . import instructions
from .checks import check, wait_steady

MERGED_PAGES = 1000

TURNS = 3
SECONDS = 2
# As many as sleep-millisecs tells.
PASSES = 10
# After so many all that might have been written before it was armed has been
# read again, and marks are what they stay.  That all is read again, once in 256
# passes of a second or more, is no part of what is measured.
SETTLED_PASSES = 100
# Whether the engine runs, and what is asked for ten times a second: passes that
# find nothing would be further apart.  To ask takes its time as well, so
# something is asked for in any case.
WAYS = {"without passes": (False, "query-status"),
        "at its own pace": (True, "query-status"),
        "10 passes a second": (True, "ksm-scan")}
# The least of the work without passes.
LEAST_WORK = {"at its own pace": 0.985, "10 passes a second": 0.98}
# The most of the processor that the engine takes.
MOST_CPU = {"at its own pace": 0.02, "10 passes a second": 0.05}
# The most pages that KVM has to map again after a pass, those that the guest's
# kernel has written since the last one: a real processor takes far longer to
# leave a guest than an instruction.
FAULTS_A_PASS = 80


def compared(guest):
    """How much the guest has compared, and when: [(N, T)]."""
    guest.checked()
    return [(int(number), float(moment)) for number, moment in re.findall(
        r"^compared (\d+) at ([\d.]+)$", guest.console_text(), re.M)]


def speed(said):
    """What was compared in a second.

    By a line through all that it said: each T is that of a tick, 10 ms apart.
    """
    numbers, moments = zip(*said)
    return statistics.linear_regression(moments, numbers).slope


def figures(guest):
    """What grows with the passes, and when that was looked at."""
    ksm = guest.ksm()
    return {"passes": ksm["full-scans"], "cpu": ksm["cpu-ns"] / 1e9,
            "hashed": ksm["figures"]["pages-hashed"],
            "faults": guest.kvm_figure("pf_fixed"),
            "time": time.monotonic()}


def turn(guest, run, command):
    """What is done in a second, by guest and engine."""
    guest.set_ksm("run", run)
    before = figures(guest)
    said = len(compared(guest))
    for number in range(SECONDS * PASSES):
        guest.execute(command)
        time.sleep(max(0, before["time"] + (number + 1) / PASSES
                       - time.monotonic()))
    said = compared(guest)[said:]
    check(len(said) > 2, f"{guest.name} has said {len(said)} times in "
          f"{SECONDS} s what it has compared")
    grown = {name: value - before[name]
             for name, value in figures(guest).items()}
    return {"work": speed(said),
            **{name: value / grown["time"] for name, value in grown.items()}}


def check_ratios(bed, merged):
    """A guest of workload compare does its work, whatever the engine does.

    MERGED tells how many pages are merged: all that can be of it are, first.
    """
    check(instructions.counted(),
          "its emulated host has to count instructions: --count")
    guest, other = bed.filled(2, workload="compare")
    other.execute("stop")
    for each in guest, other:
        each.wait_merged(MERGED_PAGES)
    other.set_ksm("run", False)
    # Some pages may be written again and again before ksmd gets at them.
    wait_steady(merged, 3, tolerance=16)
    # All that passes take is to be seen.
    guest.set_ksm("max-cpu-percent", 100)
    guest.set_ksm("sleep-millisecs", 1000 // PASSES)
    guest.execute("stop")
    guest.passes(SETTLED_PASSES)
    guest.execute("cont")
    done = {way: [] for way in WAYS}
    for number in range(TURNS):
        # What changes slowly meanwhile favours none.
        for way in reversed(WAYS) if number % 2 else WAYS:
            done[way].append(turn(guest, *WAYS[way]))
    ratios, medians = {}, {}
    for way, turns in done.items():
        parts = sorted(with_it["work"] / without["work"] for with_it, without
                       in zip(turns, done["without passes"]))
        ratios[way] = statistics.median(parts)
        median = medians[way] = {
            name: statistics.median(turn[name] for turn in turns)
            for name in turns[0]}
        print(f"# {way}: {ratios[way]:.3f} of the work ({parts[0]:.3f} to "
              f"{parts[-1]:.3f}); a second: {median['work']:.0f} compared, "
              f"{median['passes']:.1f} passes, {median['hashed']:.0f} pages "
              f"hashed, {median['faults']:.0f} pages mapped by KVM, "
              f"{1000 * median['cpu']:.1f} ms of the engine")
    often, without = medians["10 passes a second"], medians["without passes"]
    check(often["passes"] > 0.95 * PASSES,
          f"only {often['passes']:.1f} passes a second")
    faults = (often["faults"] - without["faults"]) / often["passes"]
    check(faults <= FAULTS_A_PASS, f"{faults:.0f} pages mapped for a pass")
    for way, least in LEAST_WORK.items():
        check(ratios[way] >= least, f"{ratios[way]:.3f} of the work {way}")
        check(medians[way]["cpu"] <= MOST_CPU[way],
              f"{medians[way]['cpu']:.3f} of the processor for the engine "
              f"{way}")
