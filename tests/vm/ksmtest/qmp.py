# SPDX-License-Identifier: GPL-2.0-or-later
"""A QMP client: one connection, used from one thread."""

import json
import time


class QMPError(Exception):
    """QEMU answered a command with an error."""

    def __init__(self, command, error):
        super().__init__(f"{command}: {error['desc']}")
        self.error_class = error["class"]
        self.description = error["desc"]


class QMPClosed(Exception):
    """QEMU closed the connection: it has ended, or died."""


class QMP:
    """The monitor at the other end of a connected socket.

    Events that arrive while an answer is waited for are kept in 'events',
    in order, until take_event() or the caller removes them.
    """

    def __init__(self, connection, timeout=30):
        self.events = []
        self._socket = connection
        self._timeout = timeout
        self._buffer = b""

    def connect(self):
        """Exchanges greetings; to be called once, before any command."""
        self._message(time.monotonic() + self._timeout)
        self.execute("qmp_capabilities")

    def execute(self, command, arguments=None):
        """Runs a command and returns what it returned.

        Raises QMPError, QMPClosed, or TimeoutError.
        """
        request = {"execute": command}
        if arguments:
            request["arguments"] = arguments
        try:
            self._socket.sendall(json.dumps(request).encode() + b"\n")
        except BrokenPipeError as error:
            raise QMPClosed(command) from error
        deadline = time.monotonic() + self._timeout
        while True:
            message = self._message(deadline)
            if "event" in message:
                self.events.append(message)
            elif "error" in message:
                raise QMPError(command, message["error"])
            else:
                return message["return"]

    def human(self, line):
        """Runs a line of the human monitor and returns its output."""
        return self.execute("human-monitor-command", {"command-line": line})

    def take_event(self, name, timeout):
        """Removes and returns the first event NAME, waiting for it."""
        deadline = time.monotonic() + timeout
        while True:
            for event in self.events:
                if event["event"] == name:
                    self.events.remove(event)
                    return event
            self.events.append(self._message(deadline))

    def close(self):
        self._socket.close()

    def _message(self, deadline):
        while b"\n" not in self._buffer:
            # 0 would make the socket non-blocking
            self._socket.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = self._socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                raise QMPClosed("QEMU closed its monitor")
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)
