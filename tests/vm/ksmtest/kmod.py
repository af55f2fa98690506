# SPDX-License-Identifier: GPL-2.0-or-later
"""ksmfs in the running kernel: what is in the way, to load it, to unload it."""

import os
import re
import subprocess
from pathlib import Path

from .checks import linux_version

TOP = Path(__file__).resolve().parents[3]
BUILD = TOP / "build/kmod"
LEAST_LINUX = (6, 1)
CAP_SYS_MODULE, CAP_SYS_ADMIN = 16, 21


class Unloadable(Exception):
    """The running kernel can't load ksmfs; says why."""


def permitted(capability, root):
    status = (root / "proc/self/status").read_text()
    effective = re.search(r"^CapEff:\s*(\w+)", status, re.M)[1]
    return bool(int(effective, 16) >> capability & 1)


def present(root):
    """Can it be mounted as the kernel is?"""
    return "ksmfs" in (root / "proc/filesystems").read_text().split()


def installed(root, release):
    return any((root / "lib/modules" / release).rglob("ksmfs.ko*"))


def obstacle(root=Path("/"), release=os.uname().release):
    """Why ksmfs can't be mounted here; None if only trying can tell.

    Nothing is changed.  ROOT is elsewhere for a test.
    """
    if not permitted(CAP_SYS_ADMIN, root):
        return "mounting is not permitted: run as root"
    if present(root):
        return None
    if not (root / "proc/modules").exists():
        return "it has no modules (CONFIG_MODULES)"
    disabled = root / "proc/sys/kernel/modules_disabled"
    if disabled.exists() and int(disabled.read_text()):
        return "kernel.modules_disabled=1 until it boots again"
    if not permitted(CAP_SYS_MODULE, root):
        return "loading modules is not permitted (no CAP_SYS_MODULE)"
    if installed(root, release):
        return None
    if linux_version(release) < LEAST_LINUX:
        return f"it is Linux {release}: boot 6.1 or newer"
    if not (root / "lib/modules" / release / "build/Makefile").exists():
        return f"it has no headers here: install linux-headers-{release}"
    return None


class Loaded:
    """Context manager: ksmfs can be mounted; Unloadable if it can't be loaded.

    It is unloaded in the end if it was not there before.
    """

    def __enter__(self):
        self._before = present(Path("/"))
        if not self._before:
            release = os.uname().release
            if installed(Path("/"), release):
                attempt("modprobe", "ksmfs")
            else:
                attempt(TOP / "scripts/kmod-build",
                        f"/lib/modules/{release}/build", BUILD)
                attempt("insmod", BUILD / "ksmfs.ko")
        return self

    def __exit__(self, *unused):
        if not self._before:
            # What failed may be mounted for a moment yet: then it stays.
            subprocess.run(["rmmod", "ksmfs"], stderr=subprocess.DEVNULL)


def attempt(*command):
    """Runs a command; its last words are why it is Unloadable."""
    try:
        process = subprocess.run(command, text=True, stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT)
    except OSError as error:
        raise Unloadable(str(error)) from error
    if process.returncode:
        said = process.stdout.strip().splitlines()
        raise Unloadable(said[-1] if said else f"{command[0]} failed")
