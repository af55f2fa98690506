# SPDX-License-Identifier: GPL-2.0-or-later
"""What memory and CPU time processes take, from /proc.

Guest memory is measured as PSS (proportional set size) over the RAMBlocks'
address ranges: a page that n mappings share counts 1/n in each, and the
shared zero page counts nothing.  Neither RSS, which counts a shared page in
full everywhere, nor KSM's counters, which miss what splitting a huge page
gives back, would do.  QEMU's own memory stays out of it.  Of memory on ksmfs
the mount knows what is allocated; its PSS drops when pages are merely unmapped.
"""

import os
import re
import time
import typing
from pathlib import Path

PAGE = os.sysconf("SC_PAGE_SIZE")

# Of the kernel's posix-timers: all that the scheduler has counted.
CPUCLOCK_SCHED = 2

SMAPS = re.compile(
    rb"^([0-9a-f]+)-([0-9a-f]+) [r-][w-]|^(Rss|Pss|AnonHugePages): +(\d+)",
    re.M)


def ram_ranges(vm):
    """Address ranges of a VM's RAMBlocks: [(begin, end)]."""
    ranges = []
    for line in vm.execute("human-monitor-command",
                           {"command-line": "info ramblock"}).splitlines():
        # name, page size, offset, used, total, host address, R/W
        row = re.search(r"(0x\w+) +(0x\w+) +(0x\w+) +r[ow]", line)
        if row:
            # What it may grow to is mapped from the start.
            total, address = int(row[2], 16), int(row[3], 16)
            ranges.append((address, address + total))
    return sorted(ranges)


class Memory(typing.NamedTuple):
    """Bytes."""

    rss: int
    pss: int
    huge: int


def memory(pid, ranges):
    """Bytes that a process has in the ranges: RSS, PSS, and huge pages.

    The kernel may have made one mapping of a range and of what is beside it.
    """
    kib = {b"Rss": 0, b"Pss": 0, b"AnonHugePages": 0}
    inside = False
    for match in SMAPS.finditer(Path(f"/proc/{pid}/smaps").read_bytes()):
        if match[1]:
            begin, end = int(match[1], 16), int(match[2], 16)
            inside = any(begin < e and b < end for b, e in ranges)
        elif inside:
            kib[match[3]] += int(match[4])
    return Memory(*(1024 * size for size in kib.values()))


def process_memory(pid):
    """Of all of a process, in bytes: (RSS, PSS)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return tuple(int(re.search(rf"^{name}: +(\d+)", text, re.M)[1]) * 1024
                 for name in ("Rss", "Pss"))


def process_pss(pid):
    """PSS of all of a process, in bytes."""
    return process_memory(pid)[1]


def process_shared(pid):
    """Bytes that a process has less of its own than it has mapped."""
    rss, pss = process_memory(pid)
    return rss - pss


def memory_available():
    """MemAvailable of the host, in bytes, and what it leaves out.

    That is free memory that processors keep for themselves: tens of MiB where
    much has just been freed.
    """
    text = Path("/proc/meminfo").read_text()
    kept = re.findall(r"^ +count: +(\d+)", Path("/proc/zoneinfo").read_text(),
                      re.M)
    return (int(re.search(r"^MemAvailable: +(\d+)", text, re.M)[1]) * 1024
            + sum(map(int, kept)) * PAGE)


def cpu_seconds(pid):
    """CPU time of a process, also of threads that ended; None without it."""
    try:
        # What clock_getcpuclockid() answers.
        return time.clock_gettime(~pid << 3 | CPUCLOCK_SCHED)
    except OSError:
        return None


class Savings:
    """Memory that a set of VMs has saved since this object was made."""

    def __init__(self, vms):
        self._available = memory_available()
        self._ranges = {vm: ram_ranges(vm) for vm in vms}
        self.before, self.huge_before = self.used()
        self._process_before = self._process()

    def used(self):
        """Bytes of guest memory now: (PSS, huge pages)."""
        figures = self._memory()
        return sum(f.pss for f in figures), sum(f.huge for f in figures)

    def freed(self):
        """By how many bytes less of guest memory is in use."""
        return self.before - self.used()[0]

    def saved(self):
        """Bytes of guest memory saved."""
        return self.freed()

    def shared(self):
        """By how many bytes less is in use than guests have mapped."""
        return sum(figures.rss - figures.pss for figures in self._memory())

    def available(self):
        """By how much more is available on all of the host."""
        return memory_available() - self._available

    def process_saved(self):
        """The same of all of QEMU's memory: less what merging itself takes."""
        return self._process_before - self._process()

    def _memory(self):
        return [memory(vm.pid, ranges) for vm, ranges in self._ranges.items()]

    def _process(self):
        return sum(process_pss(vm.pid) for vm in self._ranges)


class MountSavings(Savings):
    """The same of VMs whose memory is on a mount of ksmfs.Mount.

    There are no huge pages, and PSS tells nothing.
    """

    def __init__(self, vms, mount):
        self._mount = mount
        super().__init__(vms)

    def used(self):
        return PAGE * self._mount["pages_allocated"], None

    def saved(self):
        # Also of pages that came since, which PSS counts as a loss.
        return PAGE * (self._mount["pages_used"]
                       - self._mount["pages_allocated"])

    def process_saved(self):
        return None

    def _process(self):
        return None


class Series:
    """Readings over time: each is a time, bytes saved and CPU seconds."""

    def __init__(self):
        self.readings = []

    def add(self, saved, cpu):
        """CPU is a dictionary of seconds by name, all counted from 0."""
        self.readings.append((time.monotonic(), saved, dict(cpu)))

    @property
    def seconds(self):
        """From the first reading to the last."""
        if not self.readings:
            return 0
        return self.readings[-1][0] - self.readings[0][0]

    def flat_for(self, tolerance):
        """Seconds for which savings stayed within TOLERANCE, a part of them."""
        if not self.readings:
            return 0
        end, final, _ = self.readings[-1]
        slack = max(abs(final) * tolerance, 64 * 1024)
        since = end
        for moment, saved, _ in reversed(self.readings):
            if abs(saved - final) > slack:
                break
            since = moment
        return end - since

    def curve(self, step):
        """The readings between which savings moved by STEP, a part of them.

        Time is counted from the first.
        """
        start, last, _ = self.readings[0]
        slack = abs(self.readings[-1][1]) * step
        points = []
        for moment, saved, cpu in self.readings:
            if not points or abs(saved - last) > slack:
                points.append((moment - start, saved, cpu))
                last = saved
        return points

    def reached(self, target):
        """When the savings came to a target: (seconds, CPU by name), or None.

        Between the two readings around it the way is taken as straight.
        """
        start = self.readings[0][0]
        previous = None
        for moment, saved, cpu in self.readings:
            if saved >= target:
                if previous is None:
                    return moment - start, cpu
                part = (target - previous[1]) / (saved - previous[1])
                between = {name: previous[2][name]
                           + part * (cpu[name] - previous[2][name])
                           for name in cpu if cpu[name] is not None
                           and previous[2].get(name) is not None}
                return (previous[0] + part * (moment - previous[0]) - start,
                        {name: between.get(name) for name in cpu})
            previous = (moment, saved, cpu)
        return None
