# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests whose memory is filled from outside, with pages that are known.

No processor runs in them, so they write nothing and are up at once.  What they
hold is written to and verified in /proc/PID/mem, at the speed of memory.
"""

import contextlib
import ctypes
import itertools
import os
import random

from ksmtest import vm
from ksmtest.checks import Failure

PAGE = 4096
MIB = 1 << 20
# Where it is filled: firmware and what QEMU loads is elsewhere.
BASE = 16 * MIB
CHUNK = 8 * MIB

PR_SET_THP_DISABLE = 41


@contextlib.contextmanager
def small_pages():
    """Guests that are started in it have no huge pages."""
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0)
    try:
        yield
    finally:
        prctl(PR_SET_THP_DISABLE, 0, 0, 0, 0)


class Filling:
    """What guests hold.

    contents    bytes, for each guest
    savable     pages that merging can save, of all guests together
    """

    def __init__(self, contents, savable):
        self.contents = contents
        self.savable = savable


def geometric(chance, mean):
    """A length of 1 or more, whose mean is MEAN."""
    length = 1
    while chance.random() > 1 / mean:
        length += 1
    return length


def run_lengths(chance, total, mean):
    """Lengths of runs that are TOTAL together."""
    lengths = []
    while total > 0:
        lengths.append(min(total, geometric(chance, mean)))
        total -= lengths[-1]
    return lengths


def scatter(chance, lengths, pages):
    """Where runs of these LENGTHS begin, in random order among PAGES."""
    order = list(range(len(lengths)))
    chance.shuffle(order)
    # Each page that is in no run may be in front of any of them.
    before = sorted(chance.randrange(len(lengths) + 1)
                    for _ in range(pages - sum(lengths)))
    starts, taken = [0] * len(lengths), 0
    gaps = [0] * (len(lengths) + 1)
    for position in before:
        gaps[position] += 1
    for position, run in enumerate(order):
        taken += gaps[position]
        starts[run] = taken
        taken += lengths[run]
    return starts


def random_pages(count):
    return os.urandom(count * PAGE)


def numbered_pages():
    """Makes pages that differ from their first bytes on, and is quick."""
    numbers = itertools.count(1)
    return lambda count: b"".join(
        number.to_bytes(8, "little") * (PAGE // 8)
        for number in itertools.islice(numbers, count))


class LastBytesDiffer:
    """Pages that are alike but for their last eight bytes."""

    def __init__(self):
        self._alike = os.urandom(PAGE - 8)
        self._number = 0

    def __call__(self, count):
        first = self._number
        self._number += count
        return b"".join(self._alike + number.to_bytes(8, "little")
                        for number in range(first, first + count))


def twins(mib, share, mean_run, pages=random_pages, guests=2, seed=1):
    """Two guests of MIB, with SHARE of their pages alike, in runs.

    Each run of pages is in each guest once, at places of its own.  PAGES(n)
    makes n pages that are like no others.
    """
    chance = random.Random(seed)
    total = mib * MIB // PAGE
    lengths = run_lengths(chance, round(total * share), mean_run)
    runs = [pages(length) for length in lengths]
    contents = []
    for _ in range(guests):
        memory = bytearray(pages(total))
        for start, run in zip(scatter(chance, lengths, total), runs):
            memory[start * PAGE:start * PAGE + len(run)] = run
        contents.append(memory)
    return Filling(contents, (guests - 1) * sum(lengths))


class FilledGuest(vm.VM):
    """A guest that holds what it is filled with."""

    def __init__(self, qemu, directory, name, contents, extra=(), *,
                 accel="qtest", machine="q35", mergeable=True, memory="",
                 **options):
        self.contents = contents
        machine += ",mem-merge=" + ("on" if mergeable else "off")
        if memory:
            machine += ",memory-backend=ram"
        super().__init__(
            qemu, directory, name, accel=accel, machine=machine,
            memory_mib=(BASE + len(contents)) // MIB, extra=extra, **options)

    def fill(self):
        # Not from 0, where firmware may be seen instead.
        self.ram = self.host_address(BASE)
        self.write(0, self.contents)

    def write(self, at, data):
        """Writes DATA where it is to be held from now on."""
        with open(f"/proc/{self.pid}/mem", "r+b", 0) as memory:
            view = memoryview(data)
            for begin in range(0, len(view), CHUNK):
                os.pwrite(memory.fileno(), view[begin:begin + CHUNK],
                          self.ram + at + begin)
        if data is not self.contents:
            self.contents[at:at + len(data)] = data

    def verify(self):
        """Raises Failure if it does not hold what was written."""
        with open(f"/proc/{self.pid}/mem", "rb", 0) as memory:
            view = memoryview(self.contents)
            for begin in range(0, len(view), CHUNK):
                part = view[begin:begin + CHUNK]
                if os.pread(memory.fileno(), len(part),
                            self.ram + begin) != part:
                    raise Failure(f"{self.name}: what was written at "
                                  f"{begin:#x} is not there any more")
