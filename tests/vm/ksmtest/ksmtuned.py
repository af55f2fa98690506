# SPDX-License-Identifier: GPL-2.0-or-later
"""A ksmtuned of one's own, apart from the one that the host may run."""

import json
import os
import subprocess
import time
from pathlib import Path

from . import sample
from .vm import die_with_parent, tail


class KsmtunedError(Exception):
    """ksmtuned did not start, or ended; says why, with its last words."""


class Ksmtuned:
    """Context manager; all of its files are in DIRECTORY, its log in LOG.

    By default it does nothing but what engines want.  It changes the host's KSM
    settings: hold a ksmhost.KSMHost around it.  WRAPPER: a command that
    becomes it.
    """

    def __init__(self, binary, directory, log, extra=(),
                 settings="KSM_POLICY=demand\nKSM_ENGINES_CPU=0\n",
                 wrapper=()):
        self.socket = Path(directory) / "engine.sock"
        self._stats = Path(directory) / "stats.json"
        self._log = log
        config = Path(directory) / "ksmtuned.conf"
        config.write_text(settings)
        self._arguments = [
            *wrapper, str(binary), f"--socket={self.socket}",
            f"--runtime-dir={directory}", f"--stats-file={self._stats}",
            f"--config={config}",
            *extra]
        self._process = None

    @property
    def pid(self):
        return self._process.pid

    def __enter__(self):
        with open(self._log, "wb") as log:
            self._process = subprocess.Popen(
                self._arguments, stdin=subprocess.DEVNULL, stdout=log,
                stderr=log, start_new_session=True, preexec_fn=die_with_parent,
                # Not on the bus that this machine may have.
                env={**os.environ, "DBUS_SYSTEM_BUS_ADDRESS":
                     f"unix:path={self.socket.parent}/bus"})
        try:
            deadline = time.monotonic() + 10
            while not self.socket.exists():
                self.check()
                if time.monotonic() > deadline:
                    raise KsmtunedError(
                        f"ksmtuned made no {self.socket} in 10 s\n"
                        + tail(self._log))
                time.sleep(0.05)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *unused):
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def check(self):
        """Raises KsmtunedError if it has ended."""
        if self._process.poll() is not None:
            raise KsmtunedError(f"ksmtuned ended with status "
                                f"{self._process.returncode}\n{tail(self._log)}")

    def cpu_seconds(self):
        return sample.cpu_seconds(self.pid)

    def stats(self):
        """Its own figures; empty until it has written some."""
        try:
            return json.loads(self._stats.read_text())
        except (FileNotFoundError, ValueError):
            return {}
