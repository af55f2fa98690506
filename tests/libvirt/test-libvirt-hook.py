#!/usr/bin/env python3
#
# The hook of libvirt: ksmtuned decides anew, and no guest waits for it
#
# SPDX-License-Identifier: GPL-2.0-or-later

import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/vm"))

from ksmtest import cases  # noqa: E402
from ksmtest.checks import check, check_equal, wait_for  # noqa: E402
from ksmtest.libvirt import Bed  # noqa: E402

HOOK = "/etc/libvirt/hooks/qemu.d/ksmtuned"
# Of all that libvirt calls a hook for: what ends, and begins, a guest.
RETUNING = ["started", "release"]
OTHERS = ["prepare", "start", "stopped", "migrate", "restore", "reconnect",
          "attach", ""]


def decisions(host):
    """How often ksmtuned has decided; without being asked, once a minute."""
    return host.log("ksmtuned").count("ksmd r")


def replace_ksmctl(host, script):
    """What the hook runs does as SCRIPT says."""
    ksmctl = next(word for word in host.read(HOOK).split()
                  if word.endswith("/ksmctl"))
    host.write("/run/ksmctl", f"#!/bin/sh\n{script}\n")
    host.path("/run/ksmctl").chmod(0o755)
    host.run("mount", "--bind", "/run/ksmctl", ksmctl)


def test_retune(bed):
    """libvirtd calls it when a guest starts, and when it ends."""
    host = bed.host()
    # No engine, so that by memory alone is decided.
    before = decisions(host)
    bed.start(host, arguments=())
    wait_for(lambda: decisions(host) > before, "a decision at the start", 20)
    before = decisions(host)
    host.virsh("destroy", "guest")
    wait_for(lambda: decisions(host) > before, "a decision at the end", 20)


def test_operations(bed):
    """It retunes for nothing else, reads nothing, and never fails."""
    host = bed.host()
    replace_ksmctl(host, 'echo "$@" >> /run/asked; exit 1')
    for operation in OTHERS + RETUNING:
        host.run(HOOK, "guest", operation, "begin", "-", stdin="<domain/>")
    host.run(HOOK)
    wait_for(lambda: host.read("/run/asked").split() ==
             len(RETUNING) * ["retune"], "it to retune")


def test_fault(bed):
    """Without a ksmtuned, or one that answers, guests start all the same."""
    host = bed.host()
    bed.start(host, arguments=())
    for script in "exit 1", "kill -9 $$", "exec sleep 60":
        replace_ksmctl(host, script)
        host.virsh("destroy", "guest")
        start = time.monotonic()
        host.virsh("start", "guest")
        took = time.monotonic() - start
        check(took < 5, f"{script}: the guest needs {took:.1f} s to start")
        check_equal(host.state("guest"), "running", script)


if __name__ == "__main__":
    cases.main("The hook of libvirt.", globals(), Bed)
