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
    "disk-reads/cost": Target(1.01),
}
GROUPS = [tuple(name for name in ROWS if name != "disk-reads/cost"),
          ("disk-reads/cost",)]
MEMORY_MIB = 512
# They have so much of the disk in memory at a time.
PART_MIB = 32
# One of the guests reads it, and the other has read it; then both read others,
# and need each for so long.
PARTS = 5
EVERY = 8
REST = 12
LOOK = 0.05
PACE = 0.5
BOOT_SECONDS = 120
SHARE = 0.95
# Requests are counted for so long with hints, and as long without, so often.
COST_SECONDS = 2
COST_PAIRS = 20


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


def with_disk(image, workload):
    """Arguments of a guest that does something with a disk."""
    return dict(memory_mib=MEMORY_MIB, kernel=emulated.GUEST / "vmlinuz",
                initrd=emulated.GUEST / "initrd.img",
                append=f"ksm.workload={workload}",
                extra=("-drive", "if=none,id=disk,format=raw,readonly=on,"
                       f"file={image}", "-device",
                       "virtio-blk-pci,drive=disk"))


class Guests:
    """Two Linux guests with one disk, which are merged."""

    def __init__(self, bench, way, image, stack):
        self._way = way
        self._guests = []
        for number in range(2):
            arguments = with_disk(image, "disk")
            arguments["append"] += (f" ksm.id={number} ksm.part={PART_MIB} "
                                    f"ksm.every={EVERY}")
            arguments["extra"] += way.options()
            guest = VM(bench.qemu, way.directory, f"guest-{number}",
                       **arguments)
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
            time.sleep(LOOK)
            saved = self.saved()
            seen.append((time.monotonic(), saved))
            if abs(saved - last) > MIB:
                since, last = seen[-1]
        return seen

    def react(self):
        """One reads, and later the other: seconds until that is merged."""
        saved = []
        for guest in self._guests:
            saved.append(self.wait_rest()[-1][1])
            guest.type("1")
            guest.wait_console("disk read 1", BOOT_SECONDS)
            start = time.monotonic()
        seen = self.wait_rest()
        # Each took about as much that was merged before, to read to it.
        taken = saved[0] - saved[1]
        gained = seen[-1][1] - (saved[1] - taken)
        wanted = PART_MIB * MIB
        check(gained > wanted / 4,
              f"{gained / MIB:.1f} MiB are merged of {PART_MIB} that both "
              f"have read; saved were {[value / MIB for value in saved]} MiB")
        # Some of it may be merged before all is read.
        enough = seen[-1][1] - (1 - SHARE) * wanted
        return next(moment for moment, value in seen
                    if value >= enough) - start

    def drop(self):
        """They forget what they have read."""
        for guest in self._guests:
            guest.type("0")
            guest.wait_console("disk dropped", BOOT_SECONDS)

    def stream(self, keep_pace):
        """Both read, and go on: (MiB saved on average, cores used)."""
        cpu = cpu_sum(self._way.cpu())
        start = last = paced = time.monotonic()
        total, least = 0, self.saved()
        for guest in self._guests:
            guest.type(str(PARTS))
        while last < start + PARTS * EVERY:
            time.sleep(LOOK)
            now = time.monotonic()
            if now > paced + PACE:
                keep_pace()
                paced = now
            saved = self.saved()
            total += (now - last) * saved
            # They read to where something was merged: that is saved no more.
            least = min(least, saved)
            last = now
        return ((total / (last - start) - least) / MIB,
                (cpu_sum(self._way.cpu()) - cpu) / (last - start))

    def verify(self, content):
        """What they have read last is what is on the disk."""
        wanted = hashlib.sha256(content[PARTS * PART_MIB * MIB:]).hexdigest()
        for guest in self._guests:
            guest.wait_console(f"disk read {1 + PARTS}", BOOT_SECONDS)
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
        guests.drop()
        guests.wait_rest()
        keep_pace = lambda: None
        if kind is SameCPU:
            way.pace(share)
            keep_pace = way.keep_pace
        saved, cpu = guests.stream(keep_pace)
        guests.verify(content)
        return {"react": react, "saved": saved, "cpu": cpu}


def seconds_of_a_read(guest, hints):
    """Of all that it has read in the next COST_SECONDS."""
    def reads():
        stats, = guest.execute("query-blockstats")
        return stats["stats"]["rd_operations"]

    guest.set_ksm("hints", hints)
    before, since = reads(), time.monotonic()
    time.sleep(COST_SECONDS)
    return (time.monotonic() - since) / (reads() - before)


def measure_cost(bench, image):
    """What a read takes with hints, over what it takes without; often."""
    with contextlib.ExitStack() as stack:
        way = stack.enter_context(bench.way(ways.Engine))
        found = with_disk(image, "read-direct")
        found["extra"] += way.options()
        guest = stack.enter_context(VM(bench.qemu, way.directory, "guest-0",
                                       **found))
        guest.wait_console(GUEST_UP, BOOT_SECONDS)
        way.start([guest])
        seconds_of_a_read(guest, "io")
        pairs = [[seconds_of_a_read(guest, hints) for hints in order]
                 for _ in range(COST_PAIRS // 2)
                 for order in (("io", "off"), ("off", "io"))]
        check(guest.ksm()["hints"]["taken"], "nothing was hinted")
    return [pair[n % 2] / pair[1 - n % 2] for n, pair in enumerate(pairs)]


def measure(bench, wanted):
    measure_group = measure_costs if "disk-reads/cost" in wanted else (
        measure_streams)
    image = bench.output / "disk.img"
    content = filled.numbered_pages()((1 + PARTS) * PART_MIB * MIB // PAGE)
    image.write_bytes(content)
    try:
        yield from measure_group(bench, wanted, image, content)
    finally:
        image.unlink()


def measure_costs(bench, wanted, image, content):
    yield row("disk-reads/cost", "of the time of a read without hints",
              measure_cost(bench, image),
              "a Linux guest under TCG reads 4 KiB at a time from a virtio-blk "
              "disk, around its page cache, from a file that the host has in "
              f"memory; by requests in {COST_SECONDS} s with hints and as "
              "long without, in turns, beside a running engine",
              target=ROWS["disk-reads/cost"])


def measure_streams(bench, wanted, image, content):
    share = {}

    def measure_with(kind):
        found = measure_one(bench, kind, image, content, share.get("hints"))
        if kind is ways.Engine:
            share["hints"] = found["cpu"]
        return found

    results = bench.in_turns("disk-reads", 3, (ways.Engine, NoHints, SameCPU),
                             measure_with)
    how = (f"2 Linux guests of {MEMORY_MIB} MiB under TCG, merged, read the "
           f"same {PART_MIB} MiB from a disk, and other ones every {EVERY} s, "
           f"{PARTS} times, which take the place of these in their page "
           "caches; what is saved on average over that time, beside the least "
           "at any moment of it")

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
                  f"reads {PART_MIB} MiB from a disk that the other has read; "
                  f"time from then until {SHARE:.0%} of it is merged",
                  target=ROWS["disk-reads/react"], peers={
                      f"{NoHints.name}, s": values(NoHints, "react"),
                      "ksmd-full-speed, s": values(SameCPU, "react")})
