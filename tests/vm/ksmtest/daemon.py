# SPDX-License-Identifier: GPL-2.0-or-later
"""A ksmtuned on a host that is made up, for one test case."""

import contextlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

from .checks import PATIENCE, Failure, check, check_equal, wait_for
from .engine import Engine
from .host import Host

SETTINGS = ("run", "pages_to_scan", "sleep_millisecs", "smart_scan",
            "use_zero_pages", "advisor_mode")


class Daemon(Host):
    """A ksmtuned, and what it sees of the host."""

    programs = ("ksmtuned",)

    def __init__(self, arguments, directory, stack):
        super().__init__(arguments, directory, stack)
        self.socket = os.path.join(self.runtime, "engine.sock")
        self.state = os.path.join(self.runtime, "ksmd-settings")
        self.config = os.path.join(self.root, "ksmtuned.conf")
        self.cgroups = os.path.join(self.root, "cgroup")
        self.domains = os.path.join(self.root, "ksmtuned-domains.conf")
        # Not the one that this machine may have.
        self.bus = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={self.root}/bus"}
        # None: where it is by default.
        self.stats_file = os.path.join(self.root, "stats.json")
        self.log_path = os.path.join(self.root, "ksmtuned.log")
        self.process = None
        stack.callback(self.finish)
        self.set_memory(1 << 30, SwapTotal=0)

    def settings(self):
        return {name: self.get(name) for name in SETTINGS}

    def command_line(self, *more):
        return (self.command +
                [f"--runtime-dir={self.runtime}", f"--sysfs-root={self.ksm}",
                 f"--proc-root={self.proc}", f"--config={self.config}",
                 f"--cgroup-root={self.cgroups}", "--debug",
                 *([f"--domains={self.domains}"]
                   if os.path.lexists(self.domains) else []), *more])

    def start(self, *more, environment=None, stderr=None):
        """STDERR: where the log goes, if not into a file."""
        self.launch(*more, environment=environment, stderr=stderr)
        wait_for(self.listens, "the socket")
        return self

    def launch(self, *more, environment=None, stderr=None):
        """As start(), but doesn't wait until it listens."""
        arguments = self.command_line(
            *([f"--stats-file={self.stats_file}"] if self.stats_file else []),
            *more)
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen(
                arguments, stderr=stderr or log,
                env={**(environment or os.environ), **self.bus},
                stdin=subprocess.DEVNULL)

    def listens(self):
        check(self.process.poll() is None, "ksmtuned ended: " + self.log())
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
            return probe.connect_ex(self.socket) == 0

    def run(self, *more):
        return subprocess.run(self.command_line(*more), stderr=subprocess.PIPE,
                              text=True, timeout=PATIENCE, check=False)

    def stop(self, number=signal.SIGTERM, status=0):
        if self.process is None:
            return
        self.process.send_signal(number)
        got = self.process.wait(timeout=PATIENCE)
        self.process = None
        check_equal(got, status, "exit status (log: " + self.log() + ")")

    def configure(self, *lines):
        """What ksmtuned.conf holds."""
        Path(self.config).write_text("\n".join([*lines, ""]))

    def rules(self, *lines):
        """What ksmtuned-domains.conf holds."""
        Path(self.domains).write_text("\n".join([*lines, ""]))

    def describe(self, pid, cgroup=None, label=None):
        """What /proc says of PID from now on."""
        directory = Path(self.proc, str(pid))
        (directory / "attr").mkdir(parents=True, exist_ok=True)
        for name, text in ("cgroup", cgroup), ("attr/current", label):
            path = directory / name
            path.unlink(missing_ok=True)
            if text is not None:
                path.write_bytes(os.fsencode(text + "\n"))

    def engine(self, **options):
        return self.enter(contextlib.closing(Engine(self.socket, **options)))

    def log(self):
        with open(self.log_path, errors="replace") as f:
            return f.read()

    def wait_log(self, words):
        wait_for(lambda: words in self.log(), f"{words!r} in the log")

    def stats(self):
        with open(self.stats_file
                  or os.path.join(self.runtime, "stats.json")) as f:
            return json.load(f)

    def wait_stats(self, **wanted):
        def reached():
            try:
                stats = self.stats()
            except FileNotFoundError:
                return False
            return all(stats[key] == value for key, value in wanted.items())
        try:
            wait_for(reached, f"statistics {wanted}")
        except Failure as failure:
            raise Failure(f"{failure}: {self.stats()}") from failure

    def full_scan(self):
        self.set("pages_scanned", int(self.get("pages_scanned")) + 1000)
        self.set("full_scans", int(self.get("full_scans")) + 1)

    def finish(self):
        """Ends it, at the end of the case."""
        try:
            if self.process and self.process.poll() is None:
                self.stop()
            elif self.process:
                raise Failure(f"ksmtuned ended by itself, status "
                              f"{self.process.returncode}: " + self.log())
        finally:
            if self.process and self.process.poll() is None:
                self.process.kill()
                self.process.wait()
