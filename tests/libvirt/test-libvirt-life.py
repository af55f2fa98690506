#!/usr/bin/env python3
#
# The life of a guest under libvirt, with an engine
#
# SPDX-License-Identifier: GPL-2.0-or-later

import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/vm"))

from ksmtest import cases, ksmhost  # noqa: E402
from ksmtest.checks import Skipped, check, check_equal, wait_for  # noqa: E402
from ksmtest.libvirt import Bed, domain_xml  # noqa: E402


def check_engine(host, name="guest"):
    """It works on the guest's RAM, and ksmtuned knows it."""
    wait_for(lambda: name in host.engines(), "the engine to join ksmtuned")
    wait_for(lambda: not host.ksm(name)["limits"], "no limits")
    scans = host.ksm(name)["full-scans"]
    host.qmp(name, "ksm-scan")
    wait_for(lambda: host.ksm(name)["full-scans"] > scans, "a pass")


def test_start(bed):
    """QEMU runs as libvirt's user, and its engine joins ksmtuned."""
    host = bed.host()
    bed.start(host)
    check_engine(host)
    pid = host.read("/run/libvirt/qemu/guest.pid").strip()
    owner = host.path(f"/proc/{pid}").stat().st_uid
    check(owner, "QEMU runs as root")
    host.virsh("destroy", "guest")
    wait_for(lambda: not host.engines(), "the engine to leave")


def test_restart(bed):
    """A guest and its engine outlive libvirtd, whose next one has both."""
    host = bed.host()
    bed.start(host)
    check_engine(host)
    host.stop_libvirtd()
    check("guest" in host.engines(), "the engine has left")
    host.start_libvirtd()
    check_equal(host.state("guest"), "running", "state")
    check_engine(host)


def test_refused(bed):
    """A wrong property: the reason comes through virsh."""
    host = bed.host()
    host.define(domain_xml("guest", host.emulator, arguments=(
        "-object", "ksm,id=ksm0,max-cpu-percent=0")))
    said = host.virsh("start", "guest", status=1)
    check("max-cpu-percent" in said, said)


def test_node_memory_tune(bed):
    """libvirt and ksmtuned have one KSM: neither undoes what the other set."""
    host = bed.host()
    host.virsh("node-memory-tune", "--shm-pages-to-scan", 77,
               "--shm-sleep-millisecs", 33)
    said = host.virsh("node-memory-tune").split()
    check_equal(said[said.index("shm_pages_to_scan") + 1], "77", "virsh")
    check_equal(host.read("/sys/kernel/mm/ksm/pages_to_scan"), "77", "KSM")
    bed.start(host)
    check_engine(host)
    host.virsh("destroy", "guest")
    wait_for(lambda: not host.engines(), "the engine to leave")
    for name, value in ("pages_to_scan", "77"), ("sleep_millisecs", "33"):
        wait_for(lambda: host.read(f"/sys/kernel/mm/ksm/{name}").strip()
                 == value, f"{name} to be {value} again")


def test_managed_save(bed):
    """A guest is saved, and goes on where it was, with its engine."""
    host = bed.host()
    console = bed.start_linux(host)
    console.wait_more_checked()
    check_engine(host)
    host.virsh("managedsave", "guest")
    check_equal(host.state("guest"), "shut off", "state")
    wait_for(lambda: not host.engines(), "the engine to leave")
    host.virsh("start", "guest")
    check_engine(host)
    console.wait_more_checked()
    check_equal(console.text().count("guest up"), 1, "boots")


def test_guest_device(bed):
    """A guest's ksm-guest device is in nobody's way, and is saved with it."""
    host = bed.host()
    console = bed.start_linux(host, arguments=(
        "-object", "ksm,id=ksm0", "-device", "ksm-guest,addr=0x1e"))

    def check_device():
        said = host.virsh("qemu-monitor-command", "guest", "--hmp", "info pci")
        check("device  30, function 0:\n    Class 2176: PCI device 1234:4b53"
              in said.replace("\r", ""), said)
    console.wait_more_checked()
    check_device()
    host.write("/run/rng.xml", "<rng model='virtio'><backend model='random'>"
               "/dev/urandom</backend></rng>")
    host.virsh("attach-device", "guest", "/run/rng.xml")
    host.virsh("managedsave", "guest")
    host.virsh("start", "guest")
    check_device()
    console.wait_more_checked()
    check_equal(console.text().count("guest up"), 1, "boots")


def test_migration(bed):
    """Live, from one libvirtd to another; the engine joins that ksmtuned."""
    source, target = bed.host("source"), bed.host("target", number=2)
    console = bed.start_linux(source)
    console.wait_more_checked()
    check_engine(source)
    source.virsh("migrate", "--live", "--persistent", "--undefinesource",
                 "guest", target.uri, "tcp://127.0.0.1")
    check_equal(target.state("guest"), "running", "state at the target")
    check_equal(source.virsh("list", "--all", "--name").split(), [],
                "guests at the source")
    wait_for(lambda: not source.engines(), "the engine to leave")
    check_engine(target)
    console.wait_more_checked()
    check_equal(console.text().count("guest up"), 1, "boots")
    target.virsh("destroy", "guest")
    check_equal(target.state("guest"), "shut off", "state")


def test_migration_away(bed):
    """To where no engine is wanted: the guest doesn't know of it."""
    source, target = bed.host("source"), bed.host("target", number=2)
    console = bed.start_linux(source)
    console.wait_more_checked()
    source.run("sh", "-c", f"ksmctl libvirt-xml --connect={source.uri} "
               "--remove guest > /run/without.xml")
    source.virsh("migrate", "--live", "--persistent", "guest", target.uri,
                 "tcp://127.0.0.1", "--xml", "/run/without.xml",
                 "--persistent-xml", "/run/without.xml")
    check("there is no ksm object" in target.virsh(
        "qemu-monitor-command", "guest", "--hmp", "info ksm"), "an engine")
    console.wait_more_checked()
    check_equal(console.text().count("guest up"), 1, "boots")


def test_merged(bed):
    """Two guests hold one copy of what is alike in them."""
    if ksmhost.missing():
        raise Skipped(ksmhost.missing())
    bed.enter(ksmhost.KSMHost())
    host = bed.host(real_ksm=True)
    consoles = [bed.start_linux(host, name, "idle") for name in ("one", "two")]
    for console in consoles:
        wait_for(lambda: "guest up" in console.text(), "the guest", 60)
    for name in "one", "two":
        wait_for(lambda: host.ksm(name)["pages-sharing"] > 1000,
                 f"pages of {name} to be merged", 60)


if __name__ == "__main__":
    cases.main("The life of a guest under libvirt, with an engine.",
               globals(), Bed)
