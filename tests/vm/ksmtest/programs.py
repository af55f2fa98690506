# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU and the services: what 'make' has built, or others as asked for."""

import importlib.machinery
import importlib.util
import os
import subprocess
from pathlib import Path

from .checks import PATIENCE, check, check_equal

BUILD = Path(__file__).resolve().parents[3] / "build"
BUILT = {"qemu": BUILD / "qemu/qemu-system-x86_64",
         "ksmtuned": BUILD / "service/ksmtuned",
         "ksmctl": BUILD / "service/ksmctl",
         "ksm-census": BUILD / "service/ksm-census"}
PROMTOOL = BUILD / "promtool/promtool"
# Of the tests of ksmfs.
HELPERS = {name: BUILD / f"service/ksmfs-{name}"
           for name in ("collect", "cow", "faults", "fuzz", "gup", "stale",
                        "torture")}


def program(name):
    """What a command line names: './ksmtuned' is not one to look for."""
    return Path(name).absolute()


def add_options(parser, names=BUILT):
    """Adds --qemu and so on to a command line's parser."""
    for name in names:
        parser.add_argument(f"--{name}", type=program, metavar="FILE",
                            default=BUILT[name])


def missing(*programs):
    """Names the first that can't be run and the way out; None if all can."""
    for program in programs:
        if not os.access(program, os.X_OK):
            return f"{program} is missing: run 'make' to build it"
    return None


def script(path):
    """A Python script as a module."""
    name = path.name.replace("-", "_")
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    module = importlib.util.module_from_spec(
        importlib.util.spec_from_loader(name, loader))
    loader.exec_module(module)
    return module


def with_socket(fd, command):
    """COMMAND with the socket FD as systemd passes it: as descriptor 3."""
    # The shell's pid becomes that of what it starts.
    script = ('fd=$1; shift; [ $fd = 3 ] || eval "exec 3<&$fd $fd<&-"; '
              'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"')
    return ["bash", "-c", script, "bash", str(fd), *command]


def promtool(*arguments, input=None):
    """What it says, when it finds nothing wrong."""
    check(PROMTOOL.exists(), f"{PROMTOOL} is missing: run 'make promtool'")
    process = subprocess.run([PROMTOOL, *arguments], text=True, input=input,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             timeout=PATIENCE)
    check_equal(process.returncode, 0, f"status of promtool; {process.stdout}")
    return process.stdout


def count(name, *arguments):
    """Runs one of HELPERS; the numbers that it says, by their names."""
    process = subprocess.run([HELPERS[name], *arguments], text=True,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check_equal(process.returncode, 0, f"status of {name}; {process.stdout}")
    counts = {word: int(number) for word, number
              in map(str.split, process.stdout.splitlines())}
    print("# " + ", ".join(f"{number} {word}"
                           for word, number in counts.items()))
    return counts
