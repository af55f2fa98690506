# SPDX-License-Identifier: GPL-2.0-or-later
"""Benchmarks that need KVM and ksmfs: measured in an emulated host.

It has one processor and counts what that executes, so the machine around it
plays no part.  tests/bench/in-emulated-host.py runs there, and prints what it
finds after a mark, part by part.  If the host dies, the part that was being
measured is given up, and another host is booted for those that are left.
"""

import json

from ksmtest import emulated
from ksmtest.checks import Failure

from . import cow, merges, slowdown

# Each has ROWS, measure_inside(bench, directory) for the emulated host, and
# rows(found, wanted).
PARTS = {"merges": merges, "cow": cow, "slowdown": slowdown}
ROWS = {name: target for part in PARTS.values()
        for name, target in part.ROWS.items()}
# One host is booted for all of them.
GROUPS = [tuple(ROWS)]

# In front of what is found of a part: {part, found} or {part, error}.
MARK = "# found "
SECONDS = 1800
COMMAND = ("env KSM_POLL=0.2 KSM_COUNTED=1 "
           "python3 /tests/bench/in-emulated-host.py")


class Relay:
    """Keeps what an emulated host has found; its other words go to SAY."""

    def __init__(self, say):
        self._say = say
        self.found = {}

    def show(self, text):
        for line in text.splitlines():
            if line.startswith(MARK):
                found = json.loads(line.removeprefix(MARK))
                self.found[found["part"]] = found
            elif not emulated.EXIT_STATUS.match(line):
                self._say(line)


def run_host(bench, names):
    """What a host has found of the parts by these NAMES, and what was wrong."""
    relay = Relay(bench.say)
    directory = bench.output / "host"
    directory.mkdir(exist_ok=True)
    options = ["--quick"] if bench.quick else []
    wrong = None
    try:
        status = emulated.run(
            " ".join([COMMAND, *options, *names]) + "\n", directory,
            count=True, seconds=SECONDS, show=relay.show)
        if status != 0:
            wrong = f"the command in the emulated host ended with {status}"
        elif len(relay.found) < len(names):
            wrong = "the emulated host ended without it"
    except emulated.HostError as error:
        wrong = str(error)
    return relay.found, wrong


def measure(bench, wanted):
    problem = emulated.missing()
    if problem:
        raise Failure(problem)
    wanted_of = {part: [name for name in wanted if name in module.ROWS]
                 for part, module in PARTS.items()}
    failed = []
    names = [part for part, rows in wanted_of.items() if rows]
    while names:
        found, wrong = run_host(bench, names)
        for part in found:
            names.remove(part)
            if "error" in found[part]:
                failed.append(f"{part}: {found[part]['error']}")
            else:
                yield from PARTS[part].rows(found[part]["found"],
                                            wanted_of[part])
        if wrong:
            # A host that found a fault once it was over measured all the same.
            failed.append(f"{names.pop(0) if names else 'in the end'}: {wrong}")
    if failed:
        raise Failure("\n".join(failed))
