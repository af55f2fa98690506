# SPDX-License-Identifier: GPL-2.0-or-later
"""A program on a terminal of its own, which the test plays."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

from .checks import PATIENCE, check


class Pseudoterminal:
    """Runs the program; what it says is in OUTPUT."""

    def __init__(self, command, environment, size=(24, 100)):
        self.fd, inner = pty.openpty()
        self.resize(*size)
        self.output = b''
        self.process = subprocess.Popen(
            command, stdin=inner, stdout=inner, stderr=inner,
            env=environment, start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(inner)

    def resize(self, lines, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ,
                    struct.pack('HHHH', lines, columns, 0, 0))

    def write(self, text):
        self.output = b''
        os.write(self.fd, text.encode())

    def wait_for(self, words):
        """Until it has said WORDS since the last write."""
        end = time.monotonic() + PATIENCE
        while words.encode() not in self.output:
            left = end - time.monotonic()
            check(left > 0 and self.read(left),
                  f'waited in vain for {words!r}: {self.output!r}')

    def read(self, seconds):
        """False at the end, or if nothing came."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError:
            return False
        self.output += data
        return bool(data)

    def end(self):
        """The exit status, when it has ended by itself."""
        while self.read(PATIENCE):
            pass
        return self.process.wait(timeout=PATIENCE)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.fd)
