# SPDX-License-Identifier: GPL-2.0-or-later
"""Test cases that are functions, run one by one and reported as TAP.

A case gets a Bed; its doc string says what has to hold.
"""

import argparse
import contextlib
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

from . import ksmhost, programs
from .checks import Failure, Skipped
from .ksmtuned import KsmtunedError
from .qmp import QMPClosed, QMPError
from .vm import VMError, tail

SKIP = 77
# Of each log, when a case has failed.
LOG_LINES = 50

# How a case fails.  Anything else is an error of the test.
FAILURES = (Failure, VMError, KsmtunedError, QMPError, QMPClosed,
            TimeoutError, OSError)


class Bed:
    """What a case needs: the command line, a directory, what ends with it.

    Tests with needs of their own derive theirs.
    """

    # The programs that it runs, as they are called on the command line.
    programs = ("qemu", "ksmtuned")
    # Whether the host's KSM is its own meanwhile.
    host_ksm = True

    @classmethod
    def add_options(cls, parser):
        programs.add_options(parser, cls.programs)

    @staticmethod
    def prepare():
        """What is done once, before all cases."""

    def __init__(self, arguments, directory, stack):
        self.arguments = arguments
        self.directory = directory
        self._stack = stack

    def enter(self, manager):
        """Enters a context manager until the end of the case."""
        return self._stack.enter_context(manager)


def explain(error, directory):
    """Lines on why a case failed."""
    lines = ([f"{type(error).__name__}: {error}"]
             if isinstance(error, FAILURES)
             else ["".join(traceback.format_exception(error))])
    for log in sorted([*directory.rglob("*.log"),
                       *directory.rglob("*.console")]):
        said = tail(log, LOG_LINES)
        lines += [f"{log.name}:", said] if said else []
    return "\n".join(line.rstrip() for line in lines).splitlines()


def run(number, name, case, make_bed):
    """Runs a case; returns 'ok', 'skip' or 'not ok'."""
    result, comment, said = "ok", "", []
    start = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ksm-case-") as directory:
        directory = Path(directory)
        # For what runs as another user.
        directory.chmod(0o711)
        try:
            with contextlib.ExitStack() as stack:
                case(make_bed(directory, stack))
        except Skipped as reason:
            result, comment = "skip", f" # SKIP {reason}"
        except Exception as error:
            result, said = "not ok", explain(error, directory)
    for line in said:
        print(f"# {line}")
    print(f"# {time.monotonic() - start:.1f} s")
    what = f": {case.__doc__.rstrip('.')}" if case.__doc__ else ""
    print(f"{'not ok' if result == 'not ok' else 'ok'} {number} - "
          f"{name}{what}{comment}", flush=True)
    return result


def parse_arguments(description, cases, bed):
    parser = argparse.ArgumentParser(description=description)
    bed.add_options(parser)
    parser.add_argument("cases", nargs="*", metavar="CASE",
                        help="of " + ", ".join(cases) + " (default: all)")
    arguments = parser.parse_args()
    for name in arguments.cases:
        if name not in cases:
            parser.error(f"{name}: one of {', '.join(cases)}")
    unbuilt = programs.missing(*(getattr(arguments, name)
                                 for name in bed.programs))
    if unbuilt:
        sys.exit(f"{parser.prog}: {unbuilt}")
    return arguments


def main(description, functions, bed=Bed):
    """Runs those cases of FUNCTIONS, a dictionary by name, that are asked for.

    Each gets a BED of its own.  Ends the program.
    """
    cases = {name.removeprefix("test_").replace("_", "-"): function
             for name, function in functions.items()
             if name.startswith("test_")}
    # Raised as an exception: all is ended and put back.
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(128 + 15))
    arguments = parse_arguments(description, cases, bed)
    if bed.host_ksm and ksmhost.missing():
        print(f"1..0 # SKIP {ksmhost.missing()}")
        sys.exit(SKIP)
    bed.prepare()
    names = arguments.cases or list(cases)
    print(f"1..{len(names)}", flush=True)
    with ksmhost.KSMHost() if bed.host_ksm else contextlib.nullcontext():
        results = [run(number, name, cases[name],
                       lambda *place: bed(arguments, *place))
                   for number, name in enumerate(names, 1)]
    if "not ok" in results:
        sys.exit(1)
    sys.exit(0 if "ok" in results else SKIP)
