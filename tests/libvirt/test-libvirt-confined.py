#!/usr/bin/env python3
#
# An engine under what libvirt confines QEMU with
#
# SPDX-License-Identifier: GPL-2.0-or-later

import re
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/vm"))

from ksmtest import cases  # noqa: E402
from ksmtest.checks import Skipped, check, check_equal, wait_for  # noqa: E402
from ksmtest.libvirt import USER, Bed  # noqa: E402

LOCAL = "/etc/apparmor.d/local/abstractions/libvirt-qemu"
PROFILE = "/etc/apparmor.d/libvirt/libvirt-test"
# For all that the engine opens, as strace tells.
RULES = ["/{,var/}run/ksmtuned/engine.sock rw", "/dev/userfaultfd rw",
         "/sys/kernel/mm/ksm/run r", "@{PROC}/@{pid}/pagemap r",
         "@{PROC}/@{pid}/ksm_stat r", "@{PROC}/sys/vm/max_map_count r",
         "@{PROC}/meminfo r"]


def pid_of(host, name="guest"):
    return host.read(f"/run/libvirt/qemu/{name}.pid").strip()


def check_works(host):
    """Nothing keeps the engine from all of its job."""
    wait_for(lambda: "guest" in host.engines(), "the engine to join ksmtuned")
    wait_for(lambda: not host.ksm("guest")["limits"],
             f"no limits: {host.limits('guest')}")


def test_sandbox(bed):
    """libvirt's -sandbox denies the engine nothing, now and when added anew."""
    host = bed.host()
    bed.start(host)
    if not any(option["option"] == "sandbox" for option
               in host.qmp("guest", "query-command-line-options")):
        raise Skipped("this QEMU was built without seccomp: add "
                      "--enable-seccomp to ./configure")
    check("-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,"
          "resourcecontrol=deny" in host.log("libvirt/qemu/guest"),
          "libvirt passes another -sandbox")
    for status in host.path(f"/proc/{pid_of(host)}/task").glob("*/status"):
        check(re.search(r"^Seccomp:\t2$", status.read_text(), re.M),
              f"{status} has no filter")
    check_works(host)
    host.qmp("guest", "object-del", id="ksm0")
    host.qmp("guest", "object-add", **{"qom-type": "ksm", "id": "ksm0"})
    check_works(host)


def test_user(bed):
    """Without any privilege: writes are tracked, and ksmtuned is reached."""
    host = bed.host()
    bed.start(host)
    status = host.read(f"/proc/{pid_of(host)}/status")
    check("CapEff:\t0000000000000000" in status, status)
    uid = int(re.search(r"^Uid:\t(\d+)", status, re.M)[1])
    check_equal(uid, int(host.run("id", "-u", USER)), "user")
    check_works(host)


def test_group(bed):
    """Without leave to connect to ksmtuned, the engine says so."""
    host = bed.host()
    host.run("chgrp", "root", "/run/ksmtuned/engine.sock")
    bed.start(host)
    limit = wait_for(lambda: host.limits("guest").get("no-rendezvous"),
                     "a limit")
    check("Permission denied" in limit and "engine.sock" in limit, limit)


def parse(host, *options):
    """What AppArmor makes of the profile of a guest; nothing is loaded."""
    return host.run("apparmor_parser", "--skip-kernel-load", "--skip-cache",
                    *options, PROFILE)


def test_apparmor(bed):
    """A guest's profile with our rules parses, and allows what is opened."""
    host = bed.host()
    host.write(PROFILE, """#include <tunables/global>
profile libvirt-test flags=(attach_disconnected) {
  #include <abstractions/libvirt-qemu>
}
""")
    host.write(LOCAL, "include <abstractions/ksm-engine>\n")
    # After all includes: what is not there is not allowed.
    rules = parse(host, "--preprocess")
    for rule in RULES:
        check(f" {rule}," in rules, f"no rule {rule}")


if __name__ == "__main__":
    cases.main("An engine under what libvirt confines QEMU with.", globals(),
               Bed)
