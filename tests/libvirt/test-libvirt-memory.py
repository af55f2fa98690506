#!/usr/bin/env python3
#
# What each element of <memoryBacking> does to the engine
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The table of docs/system/libvirt.rst, as query-ksm tells it.

import contextlib
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/vm"))

from ksmtest import cases  # noqa: E402
from ksmtest.checks import Skipped, check_equal  # noqa: E402
from ksmtest.libvirt import Bed, VirshError  # noqa: E402

MIB = 64
HUGE_PAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages")


def verdict(bed, host, backing):
    """Of the guest's RAM: its backend, or why it is not merged."""
    bed.start(host, backing=backing, memory_mib=MIB)
    block, = (block for block in host.ksm("guest")["ramblocks"]
              if block["name"] == "pc.ram")
    host.virsh("destroy", "guest")
    host.virsh("undefine", "guest")
    return block.get("backend") or block["ineligible"]


def check_table(bed, table, **options):
    host = bed.host(**options)
    told = {backing: verdict(bed, host, backing) for backing in table}
    check_equal(told, table, "what the engine tells")


def test_private(bed):
    """Anonymous memory is merged, whatever else is said of it."""
    check_table(bed, {
        "": "ksmd",
        "<source type='anonymous'/>": "ksmd",
        "<allocation mode='immediate'/>": "ksmd",
        "<allocation mode='ondemand'/>": "ksmd",
        "<source type='anonymous'/><discard/>": "ksmd",
    })


def test_nosharepages(bed):
    """The engine leaves the guest alone."""
    check_table(bed, {"<nosharepages/>": "merge-off"})


def test_shared(bed):
    """Shared memory, and that of a file, is not merged by KSM."""
    # An <access> alone already makes it a file.
    check_table(bed, {
        "<access mode='private'/>": "file",
        "<source type='memfd'/>": "shared",
        "<source type='memfd'/><access mode='private'/>": "file",
        "<source type='memfd'/><access mode='shared'/>": "shared",
        "<source type='file'/>": "file",
        "<source type='file'/><access mode='shared'/>": "shared",
        "<source type='file'/><access mode='shared'/><discard/>": "shared",
        "<access mode='shared'/>": "shared",
    }, qemu_conf='memory_backing_dir = "/run/ram"\n')


def test_locked(bed):
    """Memory that is locked is merged."""
    host = bed.host()
    try:
        check_equal(verdict(bed, host, "<locked/>"), "ksmd", "the RAM")
    except VirshError as error:
        if "cannot limit locked memory" not in str(error):
            raise
        raise Skipped("root may not raise RLIMIT_MEMLOCK here") from error


def huge_pages():
    """So many are there for a guest, until the end of this generator."""
    before = HUGE_PAGES.read_text()
    HUGE_PAGES.write_text(f"{int(before) + MIB // 2}")
    try:
        yield int(HUGE_PAGES.read_text()) - int(before)
    finally:
        HUGE_PAGES.write_text(before)


def test_hugepages(bed):
    """Explicit huge pages are not merged."""
    if not HUGE_PAGES.exists():
        raise Skipped("this kernel has no huge pages of 2 MiB")
    if bed.enter(contextlib.contextmanager(huge_pages)()) < MIB // 2:
        raise Skipped("no memory is free in huge pages")
    host = bed.host(qemu_conf='hugetlbfs_mount = "/run/huge"\n',
                    before="mkdir /run/huge && mount -t hugetlbfs "
                           "-o pagesize=2M none /run/huge")
    check_equal(verdict(bed, host, "<hugepages/>"), "hugetlb", "the RAM")


if __name__ == "__main__":
    cases.main("What <memoryBacking> does to the engine.", globals(), Bed)
