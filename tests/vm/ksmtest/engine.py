# SPDX-License-Identifier: GPL-2.0-or-later
"""A connection to ksmtuned, as the engine in QEMU makes it."""

import socket
import struct

from .checks import PATIENCE, check, check_equal
from .wire import (
    BUDGET, ENTRY, FEATURES, HEADER, MAX_PAYLOAD, T_BUDGET, T_REFUSE, T_TWINS,
    T_WELCOME, TWIN, VERSION, hello, publish, withdraw)


class Engine:
    """One connection, as an engine makes it."""

    def __init__(self, path, greet=True, name=b"test", features=0):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self.buffer = b""
        self.seed = None
        if greet:
            self.send(hello(name=name, features=features))
            kind, payload = self.receive()
            check_equal(kind, T_WELCOME, "answer to HELLO")
            version, reserved, features = struct.unpack_from("=IIQ", payload)
            check_equal((version, reserved, features), (VERSION, 0, FEATURES),
                        "WELCOME")
            self.seed = payload[16:]
            check_equal(len(self.seed), 32, "length of the seed")

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        """The next frame; None at the end."""
        while True:
            if len(self.buffer) >= HEADER.size:
                kind, fds, reserved, length = HEADER.unpack_from(self.buffer)
                check_equal((fds, reserved), (0, 0), "header")
                check(length <= MAX_PAYLOAD, f"frame of {length} bytes")
                end = HEADER.size + length
                if len(self.buffer) >= end:
                    payload = self.buffer[HEADER.size:end]
                    self.buffer = self.buffer[end:]
                    return kind, payload
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionResetError:
                data = b""
            if not data:
                check(not self.buffer, "the connection ends inside a frame")
                return None
            self.buffer += data

    def twins(self, count):
        """The next @count entries of TWINS, as a set."""
        got = []
        while len(got) < count:
            answer = self.receive()
            check(answer, f"closed after {len(got)} of {count} twins")
            kind, payload = answer
            check_equal(kind, T_TWINS, f"frame type {payload!r}")
            got += ENTRY.iter_unpack(payload)
        check_equal(len(got), count, "number of twins")
        return set(got)

    def budget(self):
        """The next frame, a BUDGET: thousandths of a CPU, and flags."""
        answer = self.receive()
        check(answer, "closed before a BUDGET")
        kind, payload = answer
        check_equal(kind, T_BUDGET, f"frame type {payload!r}")
        return BUDGET.unpack(payload)

    def check_silent(self):
        """Nothing but an answer to a last pair comes."""
        pair = ((1 << 48) - 1, 0xfffffffe), ((1 << 48) - 1, 0xffffffff)
        self.send(publish(*pair))
        check_equal(self.twins(2), {(d, p, TWIN) for d, p in pair},
                    "twins after silence")
        self.send(withdraw(*pair))
        self.twins(1)

    def check_refused(self, words):
        answer = self.receive()
        while answer and answer[0] == T_TWINS:
            answer = self.receive()
        check(answer, "closed without REFUSE")
        kind, payload = answer
        check_equal(kind, T_REFUSE, "frame type")
        text = payload.decode()
        check(words in text, f"reason {text!r} without {words!r}")
        check_equal(self.receive(), None, "after REFUSE")

    def close(self):
        self.socket.close()
