# SPDX-License-Identifier: GPL-2.0-or-later
"""A VM whose guest is the test: its RAM is written and read over a socket.

No CPU runs in it, so nothing but the test writes, and it is up at once.
"""

import array
import base64
import os
import socket
import time

from .checks import PATIENCE, Failure, check
from .vm import VM

PAGE = 4096
HUGE = 2 << 20
MEMORY_MIB = 128
# Where the test writes: firmware uses nothing there.
BASE = 16 << 20
# What one line of the protocol carries.
CHUNK = 256 * 1024
NO_RENDEZVOUS = "/nonexistent/engine.sock"
# Passes until every unarmed region was read once more, at the slowest pace.
ALL_READ = 70
# In /proc/PID/pagemap.
PRESENT, FRAME = 1 << 63, (1 << 55) - 1


class QTest(VM):
    """Its ksm object, with the further properties KSM, is never at rest."""

    def __init__(self, qemu, directory, name="guest", *, ksm="",
                 rendezvous=NO_RENDEZVOUS, extra=(), **options):
        self.ram = None     # where its RAM begins in QEMU
        self._path = f"{directory}/{name}.qtest"
        self._held = bytearray()
        super().__init__(
            qemu, directory, name, accel="qtest", machine="q35",
            memory_mib=MEMORY_MIB,
            extra=("-qtest", f"unix:{self._path}",
                   # It would log every byte.
                   "-qtest-log", "/dev/null", "-object",
                   "ksm,id=ksm0,sleep-millisecs=10,max-cpu-percent=100,"
                   f"rendezvous.type=unix,rendezvous.path={rendezvous}{ksm}",
                   *extra), **options)

    def start(self):
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self._path)
            # QEMU may run as another user.
            os.chmod(self._path, 0o666)
            listener.listen()
            listener.settimeout(PATIENCE)
            super().start()
            # QEMU has connected before it greeted on its monitor.
            self._connection, _ = listener.accept()
        os.unlink(self._path)
        self._connection.settimeout(PATIENCE)
        self._answers = self._connection.makefile("rb", CHUNK)
        # Not from 0, where the firmware may be seen instead.
        self.ram = self.host_address(BASE) - BASE

    # The guest's memory

    def fill(self, data):
        """Has it hold DATA, from its first page."""
        self._held = bytearray(len(data))
        self.put(0, data)

    def put(self, page, data):
        """Overwrites pages: as the guest does it, when they are merged."""
        self.put_parts((page, at, data[at:at + CHUNK])
                       for at in range(0, len(data), CHUNK))

    def put_parts(self, parts):
        """Overwrites, for each (PAGE, OFFSET, DATA), what is there."""
        lines = []
        for page, offset, data in parts:
            at = page * PAGE + offset
            self._held[at:at + len(data)] = data
            lines.append(b"b64write %#x %#x %s" % (
                BASE + at, len(data), base64.b64encode(data)))
        self._request(*lines)

    def wrong_page(self, first=0, last=None):
        """The first page of some that is not what was written; or None."""
        end = len(self._held) if last is None else last * PAGE
        for at in range(first * PAGE, end, CHUNK):
            wanted = self._held[at:min(at + CHUNK, end)]
            got = base64.b64decode(*self._request(
                b"b64read %#x %#x" % (BASE + at, len(wanted))))
            if got != wanted:
                return next(at + byte for byte, value in enumerate(wanted)
                            if got[byte] != value) // PAGE
        return None

    def check_contents(self):
        """Every byte has to be what was written last."""
        page = self.wrong_page()
        check(page is None,
              f"{self.name}: page {page} is not what was written")

    def _request(self, *lines):
        """Sends lines of the protocol; returns what is answered to each."""
        self._connection.sendall(b"".join(line + b"\n" for line in lines))
        answers = [self._answers.readline() for _ in lines]
        for answer in answers:
            if not answer.startswith(b"OK"):
                raise self._error(f"qtest answers {answer!r}")
        return [answer[2:].strip() for answer in answers]

    def frames(self):
        """Of each page of its RAM: what the kernel says in pagemap."""
        entries = array.array("Q")
        with open(f"/proc/{self.pid}/pagemap", "rb") as pagemap:
            pagemap.seek(self.ram // PAGE * entries.itemsize)
            entries.frombytes(
                pagemap.read((MEMORY_MIB << 20) // PAGE * entries.itemsize))
        return entries

    def resident_pages(self):
        """How many are mapped, zero pages included."""
        return sum(bool(entry & PRESENT) for entry in self.frames())

    def frames_of(self, pages):
        """The set of page frames that hold PAGES; fewer if they are merged."""
        entries = self.frames()
        return {entries[BASE // PAGE + page] & FRAME for page in pages}

    # Its engine

    def figures(self):
        """Those of its RAM: that of devices has ROMs in it."""
        return next(block["figures"] for block in self.ksm()["ramblocks"]
                    if block["name"] == "pc.ram")

    def limits(self):
        """What limits the engine: messages by name."""
        return {limit["limit"]: limit["message"]
                for limit in self.ksm()["limits"]}

    def read_all(self):
        """Lets its engine read all that is unarmed once more."""
        self.passes(ALL_READ)

    def wait(self, condition, what):
        """Lets passes run until CONDITION() is true."""
        end = time.monotonic() + PATIENCE
        while not condition():
            if time.monotonic() > end:
                raise Failure(f"{self.name}: waited in vain for {what}: "
                              f"{self.ksm()}")
            self.passes()

    def wait_figure(self, name, value):
        self.wait(lambda: self.figures()[name] == value,
                  f"{name} to be {value}")

    def wait_frames(self, pages, number):
        self.wait(lambda: len(self.frames_of(pages)) == number,
                  f"{len(pages)} pages to be merged into {number}")
