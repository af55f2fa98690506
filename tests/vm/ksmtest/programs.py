# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU and ksmtuned: those that 'make' has built, or others as asked for."""

import os
from pathlib import Path

BUILD = Path(__file__).resolve().parents[3] / "build"


def add_options(parser):
    """Adds --qemu and --ksmtuned to a command line's parser."""
    parser.add_argument("--qemu", type=Path, metavar="FILE",
                        default=BUILD / "qemu/qemu-system-x86_64")
    parser.add_argument("--ksmtuned", type=Path, metavar="FILE",
                        default=BUILD / "service/ksmtuned")


def missing(*programs):
    """Names the first that can't be run and the way out; None if all can."""
    for program in programs:
        if not os.access(program, os.X_OK):
            return f"{program} is missing: run 'make' to build it"
    return None
