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

# A quick run leaves them out.
TAKE_MINUTES = ("slowdown",)

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
    """What a host has found of the parts by these NAMES, and why it died."""
    relay = Relay(bench.say)
    directory = bench.output / "host"
    directory.mkdir(exist_ok=True)
    options = ["--quick"] if bench.quick else []
    try:
        emulated.run(" ".join([COMMAND, *options, *names]) + "\n", directory,
                     count=True, seconds=SECONDS, show=relay.show)
    except emulated.HostError as error:
        return relay.found, str(error)
    return relay.found, "the emulated host ended without it"


def measure_parts(bench, names):
    """(name, {found} or {error}) of each part."""
    while names:
        found, end = run_host(bench, names)
        for name in names:
            if name not in found:
                yield name, {"error": end}
                break
            yield name, found[name]
        names = names[names.index(name) + 1:]


def measure(bench, wanted):
    problem = emulated.missing()
    if problem:
        raise Failure(problem)
    wanted_of = {part: [name for name in wanted if name in module.ROWS]
                 for part, module in PARTS.items()
                 if not (bench.quick and part in TAKE_MINUTES)}
    failed = []
    for part, found in measure_parts(
            bench, [part for part, names in wanted_of.items() if names]):
        if "error" in found:
            failed.append(f"{', '.join(wanted_of[part])}: {found['error']}")
        else:
            yield from PARTS[part].rows(found["found"], wanted_of[part])
    if failed:
        raise Failure("\n".join(failed))
