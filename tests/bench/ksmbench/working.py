# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests under KVM that go through their memory for ever.

What they do is in tests/vm/worker.S.
"""

import struct
from pathlib import Path

from ksmtest.checks import Failure, wait_for
from ksmtest.writers import assemble

from .filled import PAGE, FilledGuest

SOURCE = Path(__file__).resolve().parents[2] / "vm/worker.S"
PARAMETERS = struct.Struct("<II")
PARAMETERS_AT = 0x1f0
ROM_SIZE = 64 * 1024
# As in worker.S: READY, GO, DONE, ROUND, WRONG
STATE = struct.Struct("<IIIII")
STATE_AT = 0x600
GO_AT = 0x604


class WorkingGuest(FilledGuest):
    """Reads all that it is filled with, and writes HOT other pages, for ever.

    HOT is 3584 at most: these pages lie below what it is filled with.
    """

    def __init__(self, qemu, directory, name, contents, *, hot=0, extra=(),
                 **options):
        code = bytearray(assemble(SOURCE))
        PARAMETERS.pack_into(code, PARAMETERS_AT, len(contents) // PAGE, hot)
        rom = Path(directory) / f"{name}.rom"
        rom.write_bytes(code.rjust(ROM_SIZE, b"\0"))
        super().__init__(qemu, directory, name, contents, accel="kvm",
                         machine="pc", extra=("-bios", str(rom), *extra),
                         **options)

    def fill(self):
        """Fills it once it is up, and has it begin."""
        self._state_at = self.host_address(STATE_AT)
        wait_for(lambda: self._state()[0], f"{self.name} to have booted")
        self.execute("stop")
        super().fill()
        with open(f"/proc/{self.pid}/mem", "r+b", 0) as memory:
            memory.seek(self._state_at + GO_AT - STATE_AT)
            memory.write(b"\1\0\0\0")
        self.execute("cont")
        wait_for(self.rounds, f"{self.name} to have read all of its memory")

    def done(self):
        """Pages that it has gone through; Failure if one was wrong."""
        return self._state()[2]

    def rounds(self):
        return self._state()[3]

    def verify(self):
        self.done()
        super().verify()

    def _state(self):
        # Its monitor is asked for nothing else: that takes instructions.
        if self.process.poll() is not None:
            self.check()
        with open(f"/proc/{self.pid}/mem", "rb", 0) as memory:
            memory.seek(self._state_at)
            state = STATE.unpack(memory.read(STATE.size))
        if state[4]:
            raise Failure(f"{self.name}: its memory is wrong before "
                          f"{state[4]:#x}")
        return state
