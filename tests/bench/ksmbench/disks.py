# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that read the same from a disk: what is merged before it is gone."""

import contextlib
import hashlib
import time

from ksmtest import emulated, ksmhost, sample
from ksmtest.checks import check, check_equal, wait_for
from ksmtest.vm import GUEST_UP, VM

from . import filled, ways
from .bench import cpu_sum
from .filled import MIB, PAGE
from .rows import Target, row

ROWS = {
    "disk-reads": Target(2, "least"),
    "disk-reads/hints": Target(1.3, "least"),
    "disk-reads/react": Target(2),
}
GROUPS = [tuple(ROWS)]
MEMORY_MIB = 512
# One of the guests reads so much that the other has read.
REACT_MIB = 32
# Then both read so much a second.
PART_MIB = 32
SECONDS = 20
# So much of it is verified.
SUM_MIB = 64
REST = 5
LOOK = 0.5
BOOT_SECONDS = 120
SHARE = 0.95


class NoHints(ways.Engine):
    """Disks tell nothing."""

    name = "qemu-ksm without hints"

    def _begin(self):
        for guest in self._guests:
            guest.set_ksm("hints", "off")
        super()._begin()


class SameCPU(ways.FullSpeed):
    """ksmd, which takes as much CPU time as is said by then."""

    name = "ksmd with as much CPU time"
    # Of its own accord it sleeps so often.
    sleep_millisecs = 20

    def pace(self, share):
        """From now on, SHARE of a core."""
        self._share = share
        self._since = time.monotonic(), cpu_sum(self.cpu())
        self._pages = 100
        ways.set_ksmd(pages_to_scan=self._pages,
                      sleep_millisecs=self.sleep_millisecs)

    def keep_pace(self):
        """Scans more, or less, until it has used what it may."""
        seconds = time.monotonic() - self._since[0]
        used = cpu_sum(self.cpu()) - self._since[1]
        self._pages = int(min(max(
            self._pages * (2 if used < self._share * seconds else 0.5), 1),
            20000))
        ksmhost.write("pages_to_scan", self._pages)


class Guests:
    """Two Linux guests with one disk, which are merged."""

    def __init__(self, bench, way, image, stack):
        self._way = way
        self._guests = []
        for number in range(2):
            guest = VM(bench.qemu, way.directory, f"guest-{number}",
                       memory_mib=MEMORY_MIB,
                       kernel=emulated.GUEST / "vmlinuz",
                       initrd=emulated.GUEST / "initrd.img",
                       append=f"ksm.id={number} ksm.workload=disk "
                              f"ksm.part={PART_MIB} ksm.sum={SUM_MIB}",
                       extra=("-drive", "if=none,id=disk,format=raw,"
                              f"readonly=on,file={image}",
                              "-device", "virtio-blk-pci,drive=disk",
                              *way.options()))
            self._guests.append(stack.enter_context(guest))
        for guest in self._guests:
            guest.wait_console(GUEST_UP, BOOT_SECONDS)
        way.start(self._guests)

    def saved(self):
        """In bytes: nothing is left of what was merged, and is gone."""
        return sum(sample.process_shared(guest.pid)
                   for guest in self._guests)

    def wait_rest(self):
        """Until what they have alike is merged: all (moment, saved) seen."""
        since, last = time.monotonic(), 0
        seen = []
        while time.monotonic() < since + REST:
            time.sleep(LOOK / 10)
            saved = self.saved()
            seen.append((time.monotonic(), saved))
            if abs(saved - last) > MIB:
                since, last = seen[-1]
        return seen

    def react(self):
        """One reads, and later the other: seconds until that is merged."""
        parts = REACT_MIB // PART_MIB
        saved = []
        for guest in self._guests:
            saved.append(self.wait_rest()[-1][1])
            guest.type(str(parts))
            guest.wait_console(f"disk read {parts}", BOOT_SECONDS)
            start = time.monotonic()
        seen = self.wait_rest()
        # Each took as much that was merged before, to read to it.
        taken = saved[0] - saved[1]
        gained = seen[-1][1] - (saved[1] - taken)
        wanted = REACT_MIB * MIB
        check(abs(gained - wanted) < wanted / 4,
              f"{gained / MIB:.1f} MiB are merged of {REACT_MIB} that both "
              f"have read; saved were {[value / MIB for value in saved]} MiB")
        # Some of it may be merged before all is read.
        enough = seen[-1][1] - (1 - SHARE) * wanted
        return next(moment for moment, value in seen
                    if value >= enough) - start

    def stream(self, keep_pace):
        """Both read, and go on: (MiB saved on average, cores used)."""
        before, cpu = self.saved(), cpu_sum(self._way.cpu())
        start = last = time.monotonic()
        total = 0
        for guest in self._guests:
            guest.type(str(SECONDS))
        while last < start + SECONDS:
            time.sleep(LOOK)
            keep_pace()
            now = time.monotonic()
            total += (now - last) * (self.saved() - before)
            last = now
        return (total / MIB / (last - start),
                (cpu_sum(self._way.cpu()) - cpu) / (last - start))

    def verify(self, content):
        """What they have read last is what is on the disk."""
        end = (REACT_MIB // PART_MIB + SECONDS) * PART_MIB
        wanted = hashlib.sha256(
            content[(end - SUM_MIB) * MIB:end * MIB]).hexdigest()
        for guest in self._guests:
            guest.wait_console(f"disk read {end // PART_MIB}", BOOT_SECONDS)
            guest.type("")
            wait_for(guest.disk_sum, f"{guest.name} to sum up")
            check_equal(guest.disk_sum(), wanted, f"the sum of {guest.name}")


def measure_one(bench, kind, image, content, share):
    """What one way does; SHARE is of a core, for one that is to be told."""
    with contextlib.ExitStack() as stack:
        way = stack.enter_context(bench.way(kind))
        guests = Guests(bench, way, image, stack)
        guests.wait_rest()
        react = guests.react()
        guests.wait_rest()
        keep_pace = lambda: None
        if kind is SameCPU:
            way.pace(share)
            keep_pace = way.keep_pace
        saved, cpu = guests.stream(keep_pace)
        guests.verify(content)
        return {"react": react, "saved": saved, "cpu": cpu}


def measure(bench, wanted):
    parts = REACT_MIB // PART_MIB + SECONDS
    content = filled.numbered_pages()(parts * PART_MIB * MIB // PAGE)
    image = bench.output / "disk.img"
    image.write_bytes(content)
    share = {}

    def measure_with(kind):
        found = measure_one(bench, kind, image, content, share.get("hints"))
        if kind is ways.Engine:
            share["hints"] = found["cpu"]
        return found

    try:
        results = bench.in_turns("disk-reads", 3,
                                 (ways.Engine, NoHints, SameCPU),
                                 measure_with)
    finally:
        image.unlink()
    how = (f"2 Linux guests of {MEMORY_MIB} MiB under TCG, merged, read the "
           f"same {PART_MIB} MiB a second from a disk, through their page "
           f"caches, for {SECONDS} s; what is saved beside what was before, on "
           "average over that time")

    def values(kind, name):
        return [found[name] for found in results[kind]]

    def over(kind):
        return [mine / theirs for mine, theirs in
                zip(values(ways.Engine, "saved"), values(kind, "saved"))]

    peers = {f"{kind.name}, {what}": [factor * value
                                      for value in values(kind, name)]
             for kind in results for name, what, factor in
             (("saved", "MiB saved", 1), ("cpu", "% of a core", 100))}
    if "disk-reads" in wanted:
        yield row("disk-reads", "of what ksmd saves", over(SameCPU), how,
                  target=ROWS["disk-reads"], peers=peers)
    if "disk-reads/hints" in wanted:
        yield row("disk-reads/hints", "of what is saved without hints",
                  over(NoHints), how, target=ROWS["disk-reads/hints"])
    if "disk-reads/react" in wanted:
        yield row("disk-reads/react", "s", values(ways.Engine, "react"),
                  f"2 Linux guests of {MEMORY_MIB} MiB under TCG, merged; one "
                  f"reads {REACT_MIB} MiB from a disk that the other has read; "
                  f"time from then until {SHARE:.0%} of it is merged",
                  target=ROWS["disk-reads/react"], peers={
                      f"{NoHints.name}, s": values(NoHints, "react"),
                      "ksmd-full-speed, s": values(SameCPU, "react")})
