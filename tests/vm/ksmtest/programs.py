# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU and ksmtuned: those that 'make' has built, or others as asked for."""

import os
from pathlib import Path

BUILD = Path(__file__).resolve().parents[3] / "build"
BUILT = {"qemu": BUILD / "qemu/qemu-system-x86_64",
         "ksmtuned": BUILD / "service/ksmtuned"}
# Of the tests of ksmfs.
HELPERS = {name: BUILD / f"service/ksmfs-{name}" for name in ("torture",)}


def program(name):
    """What a command line names: './ksmtuned' is not one to look for."""
    return Path(name).absolute()


def add_options(parser, names=BUILT):
    """Adds --qemu and --ksmtuned to a command line's parser."""
    for name in names:
        parser.add_argument(f"--{name}", type=program, metavar="FILE",
                            default=BUILT[name])


def missing(*programs):
    """Names the first that can't be run and the way out; None if all can."""
    for program in programs:
        if not os.access(program, os.X_OK):
            return f"{program} is missing: run 'make' to build it"
    return None
