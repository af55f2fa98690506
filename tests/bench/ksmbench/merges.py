# SPDX-License-Identifier: GPL-2.0-or-later
"""What a merge costs and what metadata a page takes: ksmfs, and ksmd.

Guests that hold the same are merged by both.  All of their memory was read
before, so that KVM has it mapped; then they are stopped, so that all that is
executed is executed for merging.
"""

import contextlib
import os
import re
import time
from pathlib import Path

from ksmtest import instructions, ksmfs, ksmhost, sample
from ksmtest.checks import Failure, check, wait_for

from . import filled
from .filled import MIB, PAGE, FilledGuest
from .rows import Target, row
from .steady import ksmd_bytes
from .ways import known_to_ksmd, set_ksmd
from .working import WorkingGuest

ROWS = {
    "ksmfs-merge": Target(0.1),
    "ksmfs-shared": Target(1.0, "least"),
    "metadata/ksmfs": Target(24),
}
# Guests, their MiB, and MiB of the pages that something is kept for.
FULL, QUICK = (4, 32, 256), (2, 8, 64)
SHARE, MEAN_RUN = 0.5, 51
# What is not available again, at most: what is kept for merging, as a part of
# all that guests hold, and what other memory grows by meanwhile.
SHARE_KEPT = 1 / 32
GROWTH = 1 * MIB
# So long nothing more is merged, in the end: some passes.
SECONDS_AT_REST = 3
# Pages of zeros that a mount has: KSMFS_ZEROS.
ZEROS = 64


@contextlib.contextmanager
def resting_guests(bench, directory, contents, options):
    """Guests that have read all that they hold, and are stopped."""
    with contextlib.ExitStack() as stack:
        guests = []
        for number, content in enumerate(contents):
            guest = stack.enter_context(WorkingGuest(
                bench.qemu, directory, f"guest-{number}", content,
                **options))
            guest.fill()
            guest.execute("stop")
            guests.append(guest)
        yield guests


def memory_object(kind, mib, **properties):
    """Options of a guest whose RAM is a memory backend of that KIND.

    It alone is merged, and nothing else that QEMU has, as on ksmfs.
    """
    words = [f"memory-backend-{kind},id=ram,size={mib}M,merge=on",
             *(f"{name}={value}" for name, value in properties.items())]
    return {"mergeable": False, "memory": kind,
            "extra": ("-object", ",".join(words))}


def memory_on(mount, mib):
    """The same of a guest whose RAM is on ksmfs."""
    # In a directory: the file has no name, and goes with its QEMU.
    return memory_object("file", mib, share="on", **{"mem-path": mount.path})


def check_merged(name, pages, savings, guests):
    """Memory is saved since SAVINGS were made; guests hold what they held.

    Both what gives the guests their memory and the kernel have to confirm it.
    """
    freed = savings.freed() // PAGE
    available = savings.available() // PAGE
    held = sum(len(guest.contents) for guest in guests)
    kept = (SHARE_KEPT * held + GROWTH) // PAGE
    words = (f"{name}: {pages} pages are merged by its counter, {freed} are "
             f"free in the guests' memory, {available} in all")
    print(f"# {words}", flush=True)
    least = instructions.SHARE_MERGED * pages
    check(freed >= least and available >= least - kept, words)
    for guest in guests:
        guest.verify()


class Round:
    """One of several, with fresh guests each time."""

    def __init__(self, bench, directory, filling):
        self._bench = bench
        self._directory = directory
        self._filling = filling
        self._mib = (filled.BASE + len(filling.contents[0])) // MIB

    def _guests(self, options, number=None):
        return resting_guests(self._bench, self._directory,
                              self._filling.contents[:number], options)

    def _savable(self, name, merged):
        least = instructions.SHARE_MERGED * self._filling.savable
        if merged < least:
            raise Failure(f"{name}: {merged} pages are merged, of "
                          f"{self._filling.savable} that can be")

    def by_ksmd(self):
        """Plain ksmd, at full speed, on private memory."""
        ksmhost.unmerge()
        before = ksmd_bytes()
        with self._guests(memory_object("ram", self._mib)) as guests:
            savings = sample.Savings(guests)
            merged, each = instructions.of_merging(
                "ksmd",
                lambda: set_ksmd(pages_to_scan=20000, sleep_millisecs=0),
                lambda: ksmhost.read("pages_sharing"))
            ksmhost.write("run", 0)
            self._savable("ksmd", merged)
            check_merged("ksmd", merged, savings, guests)
            return {"merged": merged, "instructions": each,
                    "bytes": (ksmd_bytes() - before) / known_to_ksmd()}

    def by_ksmd_on_memfd(self):
        """What it merges of two of them on shared memory, in a second."""
        ksmhost.unmerge()
        with self._guests(memory_object("memfd", self._mib, share="on"),
                          number=2) as guests:
            set_ksmd(pages_to_scan=20000, sleep_millisecs=0)
            time.sleep(1)
            ksmhost.write("run", 0)
            for guest in guests:
                guest.verify()
            return ksmhost.read("pages_sharing")

    def by_ksmfs(self):
        with ksmfs.Mount(self._directory) as mount, \
                self._guests(memory_on(mount, self._mib)) as guests:
            for guest in guests:
                guest.execute("object-add", {
                    "qom-type": "ksm", "id": "ksm0", "backend": "ksmfs",
                    "run": False})

            def start():
                for guest in guests:
                    guest.set_ksm("run", True)

            savings = sample.MountSavings(guests, mount)
            merged, each = instructions.of_merging(
                "ksmfs", start,
                lambda: mount["pages_sharing"] + mount["ksm_zero_pages"],
                rest=SECONDS_AT_REST)
            self._savable("ksmfs", merged)
            check_merged("ksmfs", merged, savings, guests)
            return {"merged": merged, "instructions": each}


def kernel_bytes():
    """What the kernel uses: in its allocators' books, and in all.

    Memory that a processor keeps for itself is free, too.
    """
    # Processors count for themselves, up to some pages.
    Path("/proc/sys/vm/stat_refresh").write_text("1")
    meminfo = dict(re.findall(r"^(\w+): +(\d+) kB",
                              Path("/proc/meminfo").read_text(), re.M))
    kept = re.findall(r"^ +count: +(\d+)", Path("/proc/zoneinfo").read_text(),
                      re.M)
    return {"allocators": 1024 * (int(meminfo["Slab"])
                                  + int(meminfo["VmallocUsed"])),
            "all": -1024 * int(meminfo["MemFree"]) - PAGE * sum(map(int, kept))}


def module_bytes(directory, mib):
    """What the module keeps of a page, beside the page; two ways to tell.

    Of a file that nothing maps and of which all pages are in the index, on a
    mount that has room for no more.
    """
    pages, batch = mib * MIB // PAGE, MIB // PAGE
    content = filled.numbered_pages()(batch)
    before = kernel_bytes()
    with ksmfs.Mount(directory, f"size={mib}m") as mount, \
            mount.file("file", pages) as file:
        for first in range(0, pages, batch):
            os.pwrite(file.fd, content, first * PAGE)
            results = file.merge(*((page, page + 1) for page
                                   in range(first, first + batch)))
            check(set(results) == {"indexed"},
                  f"pages from {first} on are {set(results)}, not indexed")
        grown = {name: (value - before[name])
                 for name, value in kernel_bytes().items()}
        grown["all"] -= PAGE * (mount["pages_allocated"] + ZEROS)
    return {name: value / pages for name, value in grown.items()}


def engine_bytes(bench, directory, mib):
    """What an engine keeps of a page that it tracks, of memory on ksmfs."""
    content = filled.numbered_pages()(mib * MIB // PAGE)
    with ksmfs.Mount(directory) as mount:
        options = memory_on(mount, (filled.BASE + len(content)) // MIB)
        options["extra"] += ("-object", "ksm,id=ksm0,backend=ksmfs")
        with FilledGuest(bench.qemu, directory, "guest", content,
                         **options) as guest:
            guest.fill()
            wait_for(lambda: mount["pages_unshared"] >= len(content) // PAGE,
                     "all pages to be in the index")
            known = guest.ksm()
            guest.verify()
    return known["metadata-bytes"] / known["figures"]["pages-tracked"]


def measure_inside(bench, directory):
    """All of it, in an emulated host that counts instructions."""
    guests, mib, metadata_mib = QUICK if bench.quick else FULL
    turns = Round(bench, directory,
                  filled.twins(mib, SHARE, MEAN_RUN, filled.numbered_pages(),
                               guests=guests))
    return {"guests": guests, "mib": mib, "metadata_mib": metadata_mib,
            "module": module_bytes(directory, metadata_mib),
            "engine": engine_bytes(bench, directory, metadata_mib),
            "memfd": None if bench.quick else turns.by_ksmd_on_memfd(),
            "rounds": [{"ksmd": turns.by_ksmd(), "ksmfs": turns.by_ksmfs()}
                       for _ in bench.rounds(3)]}


def rows(found, wanted):
    """Rows of what measure_inside() has found."""
    rounds = found["rounds"]

    def values(way, name):
        return [each[way][name] for each in rounds]

    def ratios(name):
        return [each["ksmfs"][name] / each["ksmd"][name] for each in rounds]

    how = (f"emulated host, {found['guests']} KVM guests of {found['mib']} MiB "
           f"that are stopped, with {SHARE:.0%} of their pages in all of them, "
           f"in runs of {MEAN_RUN} pages on average")
    if "ksmfs-merge" in wanted:
        yield row("ksmfs-merge", "of ksmd's instructions a merged page",
                  ratios("instructions"),
                  f"{how}; instructions of all of the host to "
                  f"{instructions.SHARE_MERGED:.0%} of the merged pages, by "
                  "engines with default settings, over those of ksmd at full "
                  "speed", target=ROWS["ksmfs-merge"], peers={
                      f"{way}, instructions a page":
                          values(way, "instructions")
                      for way in ("ksmd", "ksmfs")})
    if "ksmfs-shared" in wanted:
        yield row("ksmfs-shared", "of the pages that ksmd merges",
                  ratios("merged"),
                  f"{how}; on ksmfs, and for ksmd on private memory",
                  target=ROWS["ksmfs-shared"], peers={
                      "ksmfs, pages": values("ksmfs", "merged"),
                      "ksmd, private memory, pages": values("ksmd", "merged"),
                      **({} if found["memfd"] is None else {
                          "ksmd, once, 2 of them on memfd with share=on, pages":
                              [found["memfd"]]})})
    if "metadata/ksmfs" in wanted:
        module = found["module"]
        yield row("metadata/ksmfs", "bytes a page",
                  [module["allocators"] + found["engine"]],
                  f"emulated host, {found['metadata_mib']} MiB of which all "
                  "pages are in the index; what an engine keeps for a page, as "
                  "it says, and what the module keeps, by growth of Slab and "
                  "VmallocUsed for a file; what ksmd keeps is of the rounds of "
                  "ksmfs-merge", target=ROWS["metadata/ksmfs"],
                  peers={"engine": [found["engine"]],
                         "module": [module["allocators"]],
                         "module, by what is free": [module["all"]],
                         "ksmd, its slabs": values("ksmd", "bytes")})
