# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that write pages, verify them, and write them again.

What they write is what torture-writer.S says, the boot sector that is one
of them, so that pages of each have twins in all.  A checked write is one
write of half a page (2 KiB), after which all of that page was read, compared
with what it has to be, and found right.
"""

import collections
import functools
import random
import struct
import subprocess
import tempfile
import threading
from pathlib import Path

from . import guest_device
from .checks import Failure
from .guest_device import EAGERLY, NEVER, NONE, VOLATILE, GuestDevice
from .qtest import BASE, FRAME, PAGE, PRESENT, QTest
from .vm import VM

HALF = PAGE // 2
MIB = 1 << 20

# As in torture-writer.S, and so is content() below.
SOURCE = Path(__file__).resolve().parents[1] / "torture-writer.S"
PARAMETERS = struct.Struct("<III")
PARAMETERS_AT = 0x1f0
STATE_AT = 0x600
FILLING, RUNNING, MISMATCH = 0x6b736d01, 0x6b736d02, 0x6b736d03
ARENA = 0x1000000


class Mismatch(Failure):
    """A page is not what was written."""

    def __init__(self, writer, page, rest):
        super().__init__(
            f"{writer.name} ({writer.accel}): page {page} (guest address "
            f"{ARENA + page * PAGE:#x}) is wrong in round {writer.rounds}, "
            f"after {writer.checked} checked writes{rest}")
        self.page = page


class Writer:
    """A VM that writes, and what is known of it."""

    accel = None
    pages = 0
    checked = 0         # writes, verified afterwards
    cold = 0            # of them, those after a pause
    rounds = 0
    engine = {}         # what query-ksm said last
    most_sharing = 0    # pages-sharing, so far

    def read(self):
        """Brings what it counts up to date; tells whether it writes.

        Raises Mismatch if it found a page that is wrong.
        """
        raise NotImplementedError

    def read_engine(self):
        self.engine = self.ksm()
        self.most_sharing = max(self.most_sharing, self.sharing)

    @property
    def sharing(self):
        return self.engine.get("pages-sharing", 0)

    def break_page(self):
        """Makes a page wrong behind its back, and returns which.

        A byte in each half: it writes one half, and verifies both before it
        writes the other.
        """
        page = self.pages * 3 // 4 + 1
        with open(f"/proc/{self.pid}/mem", "r+b", buffering=0) as memory:
            for half in range(2):
                address = self.host_address(ARENA + page * PAGE + half * HALF)
                memory.seek(address)
                was = memory.read(1)[0]
                memory.seek(address)
                memory.write(bytes([was ^ 0xff]))
        return page


@functools.lru_cache
def assemble(source):
    """The bytes of what is to be at 0x7c00, as a boot sector is."""
    ready = source.with_suffix(".bin")
    if ready.exists():
        # In an emulated host.
        return ready.read_bytes()
    with tempfile.TemporaryDirectory() as directory:
        item, image = Path(directory) / "o", Path(directory) / "bin"
        subprocess.run(["as", "--32", "-I", source.parent, "-o", item, source],
                       check=True)
        subprocess.run(["ld", "-m", "elf_i386", "-Ttext", "0x7c00",
                        "--oformat", "binary", "-o", image, item], check=True)
        return image.read_bytes()


class BootSector(Writer, VM):
    """Writes by itself.  PAGES of its RAM, 256 of them HOT_WRITES times."""

    def __init__(self, qemu, directory, number, *, accel, pages, hot_writes,
                 extra=()):
        name = f"writer-{number}"
        self.accel = accel
        self.pages = pages
        self._last = {}
        disk = bytearray(assemble(SOURCE).ljust(64 * 1024, b"\0"))
        PARAMETERS.pack_into(disk, PARAMETERS_AT,
                             (number + 1) << 20, hot_writes, pages)
        drive = directory / f"{name}.img"
        drive.write_bytes(disk)
        super().__init__(
            qemu, directory, name, accel=accel,
            memory_mib=ARENA // MIB + pages * PAGE // MIB + 16,
            extra=("-drive", f"file={drive},format=raw,if=ide,snapshot=on",
                   *extra))

    def read(self):
        self.check()
        text = self.qmp.human(f"xp /7wx {STATE_AT:#x}")
        words = [int(word, 16) for line in text.splitlines()
                 for word in line.partition(":")[2].split()]
        state, rounds, checked, cold, page, version, _ = words
        if state == MISMATCH:
            raise Mismatch(self, page, f", in version {version}\n"
                           + self._start_of(page, 0) + self._start_of(page, 1))
        if state not in (FILLING, RUNNING):
            if self._last:
                raise Failure(f"{self.name}: its own memory is wrong: "
                              f"state {state:#x}")
            return False
        if state == RUNNING:
            self.rounds += self._grown("rounds", rounds)
            self.checked += self._grown("checked", checked)
            self.cold += self._grown("cold", cold)
        return state == RUNNING

    def _start_of(self, page, half):
        """Of a half that may be wrong, for whoever looks for the fault."""
        return self.qmp.human(f"xp /8wx {ARENA + page * PAGE + half * HALF:#x}")

    def _grown(self, name, value):
        """What a counter of the guest, that wraps, has grown by."""
        grown = (value - self._last.get(name, 0)) % (1 << 32)
        if grown >= 1 << 31:
            raise Failure(f"{self.name}: its counter of {name} went back "
                          f"from {self._last[name]} to {value}")
        self._last[name] = value
        return grown


@functools.lru_cache(4096)
def progression(first):
    return struct.pack("<512I", *[first * n & 0xffffffff
                                  for n in range(1, 513)])


def content(guest, page, half, version):
    """What a half of a page has to hold once it was written VERSION times."""
    kind = page % 4
    if kind == 3 and version % 2:
        return bytes(HALF)
    if kind == 2:
        number = guest + page
    else:
        number = page // 4 % 128
        version %= 8
    first = ((half + 2 * number) * 0x9e3779b1 + version) * 0x85ebca77
    return progression(first & 0xffffffff)


class QTestWriter(Writer, QTest):
    """A thread of ours writes, as a device would do it.

    Whole pages are read over the same protocol that halves are written with,
    and compared with a copy that never was in QEMU.  It leaves the CPU to
    those that write by themselves, and faster.

    It also advises of pages that it writes, at random: to look at some at once,
    to leave some alone, never to merge some.
    """

    accel = "qtest"
    pages = 1024
    HOT_PAGES, HOT_WRITES = 16, 16
    # Pages of such advice, in each round.
    ADVISED = {EAGERLY: 64, NONE: 16, NEVER: 8, VOLATILE: 8}

    def __init__(self, qemu, directory, number, *, ksm="", **options):
        super().__init__(qemu, directory, f"writer-{number}",
                         ksm=",huge-split-threshold=1" + ksm,
                         extra=guest_device.OPTIONS, **options)
        self._device = GuestDevice(self._request)
        self._random = random.Random(number)
        self._never = set()
        self.never_checked = 0
        self.merged = 0         # of the cold ones, those to a merged page
        self._guest = (number + 1) << 20
        self._versions = [0] * self.pages
        self._cold = self._merged = 0       # not verified yet
        self._wrong = None
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)

    def start(self):
        super().start()
        self.fill(b"".join(content(self._guest, page, half, 0)
                           for page in range(self.pages)
                           for half in range(2)))
        self._device.enable()
        self._thread.start()

    def stop(self):
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()
        super().stop()

    def read(self):
        self.check()
        if self._wrong:
            raise self._wrong
        return self.rounds > 0

    def _work(self):
        try:
            while not self._end.is_set():
                self._round()
        except Exception as wrong:
            # For read(): there is nobody else to catch it.
            self._wrong = wrong

    def _round(self):
        self._verify(0, self.pages)
        self.checked += self._cold
        self.cold += self._cold
        self.merged += self._merged
        cold = [page for page in range(self.pages)
                if (page // 4 + self.rounds) % 4 == 0]
        done = self._device.is_done()
        merged = self._merged_pages()
        if done:
            self._check_never(merged)
        self._write(cold)
        self._advise(cold)
        self._cold = len(cold)
        self._merged = len(merged.intersection(cold))
        first = self.rounds * self.HOT_PAGES % self.pages
        for _ in range(self.HOT_WRITES):
            self._write(range(first, first + self.HOT_PAGES))
            self._verify(first, first + self.HOT_PAGES)
            self.checked += self.HOT_PAGES
        self.rounds += 1
        # Long enough for many pages to be merged, at times for all.
        self._end.wait(2 if self.rounds % 16 == 0
                       else 0.25 * (self.rounds % 4 + 1))

    def _write(self, pages):
        """Writes one half of each."""
        parts = []
        for page in pages:
            self._versions[page] += 1
            half, version = self._versions[page] % 2 ^ 1, self._versions[page]
            parts.append((page, half * HALF, content(
                self._guest, page, half, (version + 1 - half) // 2)))
        self.put_parts(parts)

    def _verify(self, first, last):
        page = self.wrong_page(first, last)
        if page is not None:
            raise Mismatch(self, page, "")

    def _advise(self, pages):
        pages = self._random.sample(pages, sum(self.ADVISED.values()))
        advice = [advice for advice, n in self.ADVISED.items()
                  for _ in range(n)]
        result = self._device.set([(BASE + page * PAGE, 1, advice)
                                   for page, advice in zip(pages, advice)])
        if result == guest_device.OK:
            self._never.difference_update(pages)
            self._never.update(pages[at] for at in range(len(pages))
                               if advice[at] == NEVER)
        elif result != guest_device.BUSY:
            raise Failure(f"{self.name}: advice is refused: {result}")

    def _check_never(self, merged):
        wrong = self._never & merged
        if wrong:
            raise Failure(f"{self.name}: page {wrong.pop()} is merged, which "
                          "is never to be")
        self.never_checked += len(self._never)

    def _merged_pages(self):
        """Those that have one frame with others of this guest.

        Not zero ones: what splitting a huge page maps for them is no KSM page.
        """
        at = BASE // PAGE
        frames = [entry & (PRESENT | FRAME)
                  for entry in self.frames()[at:at + self.pages]]
        times = collections.Counter(frames)
        return {page for page, frame in enumerate(frames)
                if times[frame] > 1 and frame & PRESENT and page % 4 != 3}
