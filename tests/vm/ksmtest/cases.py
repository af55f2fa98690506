# SPDX-License-Identifier: GPL-2.0-or-later
"""Test cases that are functions, run one by one and reported as TAP.

A case gets a Bed; its doc string says what has to hold.
"""

import argparse
import contextlib
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from . import ksmhost, programs
from .checks import Failure, Skipped
from .ksmtuned import KsmtunedError
from .qmp import QMPClosed, QMPError
from .vm import VMError, tail

SKIP = 77


class Bed:
    """What a case needs: the programs, a directory, what to end after it."""

    def __init__(self, arguments, directory, stack):
        self.qemu = arguments.qemu
        self.ksmtuned = arguments.ksmtuned
        self.directory = directory
        self._stack = stack

    def enter(self, manager):
        """Enters a context manager until the end of the case."""
        return self._stack.enter_context(manager)


def run(number, name, case, arguments):
    """Runs a case; returns 'ok', 'skip' or 'not ok'."""
    result, comment, said = "ok", "", []
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ksm-case-") as directory:
        # For what runs as another user.
        os.chmod(directory, 0o711)
        try:
            with contextlib.ExitStack() as stack:
                case(Bed(arguments, Path(directory), stack))
        except Skipped as reason:
            result, comment = "skip", f" # SKIP {reason}"
        except (Failure, VMError, KsmtunedError, QMPError, QMPClosed,
                TimeoutError, OSError) as error:
            result = "not ok"
            said = f"{type(error).__name__}: {error}".splitlines()
            for log in sorted(Path(directory).rglob("*.log")):
                said += [f"{log.name}:", *tail(log, 4).splitlines()]
    for line in said:
        print(f"# {line}")
    print(f"# {time.monotonic() - start:.1f} s")
    print(f"{'not ok' if result == 'not ok' else 'ok'} {number} - "
          f"{name}: {case.__doc__}{comment}", flush=True)
    return result


def main(description, functions):
    """Runs those cases of FUNCTIONS, a dictionary by name, that are asked for.

    The host's KSM is theirs meanwhile.  Ends the program.
    """
    cases = {name.removeprefix("test_").replace("_", "-"): function
             for name, function in functions.items()
             if name.startswith("test_")}
    parser = argparse.ArgumentParser(description=description)
    programs.add_options(parser)
    parser.add_argument("cases", nargs="*", metavar="CASE",
                        help="of " + ", ".join(cases) + " (default: all)")
    arguments = parser.parse_args()
    for name in arguments.cases:
        if name not in cases:
            parser.error(f"{name}: one of {', '.join(cases)}")
    # Raised as an exception: all is ended and put back.
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(128 + 15))
    unbuilt = programs.missing(arguments.qemu, arguments.ksmtuned)
    if unbuilt:
        sys.exit(f"{parser.prog}: {unbuilt}")
    if ksmhost.missing():
        print(f"1..0 # SKIP {ksmhost.missing()}")
        sys.exit(SKIP)
    names = arguments.cases or list(cases)
    print(f"1..{len(names)}", flush=True)
    with ksmhost.KSMHost():
        results = [run(number, name, cases[name], arguments)
                   for number, name in enumerate(names, 1)]
    if "not ok" in results:
        sys.exit(1)
    sys.exit(0 if "ok" in results else SKIP)
