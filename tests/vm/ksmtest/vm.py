# SPDX-License-Identifier: GPL-2.0-or-later
"""One QEMU process with a guest in it."""

import ctypes
import os
import re
import signal
import socket
import subprocess
import time
from pathlib import Path

from .checks import PATIENCE
from .qmp import QMP, QMPClosed, QMPError

GUEST_UP = "guest up"

# Where Debian's packages put firmware: the repacked source has none.
FIRMWARE = ("/usr/share/seabios", "/usr/lib/ipxe/qemu", "/usr/share/qemu")

# Names of those that are not called as they are.
KEYS = {" ": "spc", "-": "minus", ".": "dot", "/": "slash", "=": "equal"}

PROBE_SECONDS = PATIENCE / 5
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)


class VMError(Exception):
    """A VM did not do what it has to; says why, with QEMU's last words."""


def die_with_parent():
    """For preexec_fn: no process of ours outlives us, however we end."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def written(path):
    """What is in a text file so far, which may not exist yet."""
    try:
        return Path(path).read_text(errors="replace")
    except FileNotFoundError:
        return ""


def tail(path, lines=8):
    """The last lines of a text file that may not exist."""
    return "\n".join(written(path).splitlines()[-lines:])


def whole_lines(console):
    """What a guest has printed so far to a file, up to the last newline."""
    text = written(console)
    return text[:text.rfind("\n") + 1]


class VM:
    """A QEMU process; also a context manager that ends it.

    COMMAND, if there is one, runs it.  Its output goes to DIRECTORY/NAME.log,
    the guest's console to DIRECTORY/NAME.console.  The monitor is a socket
    pair: nothing in the file system that could be in the way or be left behind.
    """

    def __init__(self, qemu, directory, name, *, accel="tcg,thread=multi",
                 cpu=None, memory_mib=256, machine="pc", kernel=None,
                 initrd=None, append="", command=(), extra=()):
        self.name = name
        self.console = Path(directory) / f"{name}.console"
        self.log = Path(directory) / f"{name}.log"
        self.qmp = None
        self.process = None
        self._ended = False
        self._arguments = [
            *command, str(qemu), *firmware_options(), "-name", name,
            "-machine", machine, "-accel", accel,
            "-cpu", cpu or ("host" if accel == "kvm" else "max"),
            "-m", f"{memory_mib}M", "-smp", "1", "-nodefaults",
            "-display", "none", "-no-reboot", "-serial", f"file:{self.console}",
        ]
        if kernel:
            self._arguments += [
                "-kernel", str(kernel), "-initrd", str(initrd),
                "-append", f"console=ttyS0 quiet panic=-1 {append}"]
        self._arguments += extra

    @property
    def pid(self):
        return self.process.pid

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *unused):
        self.stop()

    def start(self):
        """Starts QEMU and connects to its monitor."""
        self.console.unlink(missing_ok=True)
        ours, theirs = socket.socketpair()
        with theirs, open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*self._arguments,
                 "-chardev", f"socket,id=monitor,fd={theirs.fileno()}",
                 "-mon", "chardev=monitor,mode=control"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=[theirs.fileno()], preexec_fn=die_with_parent,
                # Ctrl-C is for us, who end QEMU in good order.
                start_new_session=True)
        self.qmp = QMP(ours)
        self._guarded(self.qmp.connect)

    def execute(self, command, arguments=None):
        """A QMP command; VMError if QEMU has died."""
        return self._guarded(self.qmp.execute, command, arguments)

    def ksm(self):
        return self.execute("query-ksm")

    def set_ksm(self, name, value):
        """Sets a property of its ksm object."""
        self.execute("qom-set", {"path": "/objects/ksm0", "property": name,
                                 "value": value})

    def passes(self, number=1):
        """Lets NUMBER passes begin and end."""
        until = self.ksm()["full-scans"] + number + 1
        while self.ksm()["full-scans"] < until:
            self.execute("ksm-scan")
            time.sleep(0.005)

    def kvm_figure(self, name):
        """A figure that KVM has of its processor."""
        answer, = self.execute("query-stats", {
            "target": "vcpu",
            "providers": [{"provider": "kvm", "names": [name]}]})
        return answer["stats"][0]["value"]

    def host_address(self, address):
        """Where in QEMU an address of the guest's RAM is."""
        answer = self.qmp.human(f"gpa2hva {address:#x}")
        return int(re.search(r"is (0x[0-9a-f]+)", answer)[1], 16)

    def check(self):
        """Raises VMError if QEMU has ended or its guest has crashed."""
        if self.process.poll() is not None:
            raise self._error(f"QEMU ended with status {self.process.returncode}")
        status = self.execute("query-status")["status"]
        if status not in ("running", "paused", "prelaunch"):
            raise self._error(f"the guest is in state '{status}'")

    def console_has(self, text):
        return text in written(self.console)

    def press(self, key):
        """Presses and releases a key of its keyboard."""
        self.execute("send-key", {"keys": [{"type": "qcode", "data": key}]})

    def type(self, text):
        """Types small letters, digits and some signs, and ends the line."""
        for key in text:
            self.press(KEYS.get(key, key))
        self.press("ret")

    def console_text(self):
        """What it has printed, but for a line that it is in the middle of."""
        return whole_lines(self.console)

    def file_sums(self):
        """Checksums of its files, one for each time that it was asked."""
        return re.findall(r"^files (\w+)", self.console_text(), re.M)

    def disk_sum(self):
        """The checksum that it said last of what it has read; or None."""
        return (re.findall(r"^disk sum (\w+)", self.console_text(), re.M)
                or [None])[-1]

    def wait_console(self, text, timeout):
        """Waits until the guest has printed TEXT; VMError if it doesn't."""
        deadline = time.monotonic() + timeout
        while not self.console_has(text):
            self.check()
            if time.monotonic() > deadline:
                raise self._error(f"no '{text}' on its console in {timeout} s")
            time.sleep(0.05)

    def stop(self):
        """Ends QEMU: by its monitor, by SIGTERM, by SIGKILL.  Repeatable."""
        if not self.process or self._ended:
            return
        try:
            self.qmp.execute("quit")
        except (QMPClosed, QMPError, OSError):
            self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.qmp.close()
        self._ended = True

    def kill(self):
        """kill -9, as the kernel does it when memory is out."""
        self.process.kill()
        self.process.wait()
        self.qmp.close()
        self._ended = True

    def _guarded(self, function, *arguments):
        try:
            return function(*arguments)
        except (QMPClosed, TimeoutError) as error:
            if isinstance(error, QMPClosed):
                self.process.wait(10)
            else:
                self.process.poll()
            raise self._error(
                "its monitor does not answer" if self.process.returncode is None
                else f"QEMU ended with status {self.process.returncode}"
            ) from error

    def _error(self, what):
        said = tail(self.log) or tail(self.console) or "(QEMU said nothing)"
        return VMError(f"{self.name}: {what}\n{said}")


def firmware_options():
    return [word for directory in FIRMWARE if os.path.isdir(directory)
            for word in ("-L", directory)]


def probe_kvm(qemu, directory, kernel, initrd):
    """Tells whether a guest boots under KVM; None, or why it doesn't.

    /dev/kvm proves nothing: nested inside some hypervisors it opens and
    then fails on the first instruction that it would have to emulate.
    """
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "/dev/kvm does not exist or is not permitted"
    probe = VM(qemu, directory, "kvm-probe", accel="kvm", memory_mib=128,
               kernel=kernel, initrd=initrd)
    try:
        with probe:
            probe.wait_console(GUEST_UP, PROBE_SECONDS)
    except VMError as error:
        return str(error).splitlines()[0].removeprefix("kvm-probe: ")
    return None
