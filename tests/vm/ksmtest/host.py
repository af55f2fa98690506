# SPDX-License-Identifier: GPL-2.0-or-later
"""A host that is made up, for one test case: what programs see of it."""

import json
import os
import re
import shlex
import subprocess

from .cases import Bed
from .checks import PATIENCE, check, check_equal
from .programs import program

PAGE = os.sysconf("SC_PAGESIZE")
MIB = 1 << 20
KSM_FILES = {
    "run": "0", "pages_to_scan": "100", "sleep_millisecs": "20",
    "smart_scan": "1", "use_zero_pages": "0",
    "advisor_mode": "[none] scan-time", "full_scans": "7",
    "pages_scanned": "0", "pages_sharing": "0", "pages_shared": "0",
    "ksm_zero_pages": "0", "max_page_sharing": "256",
    "merge_across_nodes": "1",
}
KSMD_PID = 50
KSMTUNED_PID = 60


class Host(Bed):
    """KSM's files, those of /proc, and a program that reads them.

    Its name in capitals and _WRAPPER in the environment, as KSMCTL_WRAPPER
    with "valgrind -q", goes before the program.
    """

    host_ksm = False

    @classmethod
    def add_options(cls, parser):
        name, = cls.programs
        parser.add_argument(name, type=program, metavar=name.upper())

    def __init__(self, arguments, directory, stack):
        super().__init__(arguments, directory, stack)
        name, = self.programs
        wrapper = f"{name.replace('-', '_').upper()}_WRAPPER"
        self.command = [*shlex.split(os.environ.get(wrapper, "")),
                        str(getattr(arguments, name))]
        self.root = directory
        self.ksm = directory / "ksm"
        self.proc = directory / "proc"
        self.runtime = directory / "run"
        self.ksm.mkdir()
        self.proc.mkdir()
        for name, value in KSM_FILES.items():
            self.set(name, value)

    def replace(self, path, text):
        """As the kernel does it: readers never see an empty file."""
        new = self.root / "new"
        new.write_text(text)
        new.rename(path)

    def set(self, name, value):
        self.replace(self.ksm / name, f"{value}\n")

    def get(self, name):
        text = (self.ksm / name).read_text().strip()
        choice = re.search(r"\[(.*)\]", text)
        return choice.group(1) if choice else text

    def set_memory(self, total, **more):
        """Bytes, by the names of /proc/meminfo."""
        self.replace(self.proc / "meminfo", "".join(
            f"{name}: {size // 1024} kB\n"
            for name, size in {"MemTotal": total, **more}.items()))


class ShownHost(Host):
    """With guests, their engines and mounts of ksmfs, for what shows them."""

    def __init__(self, arguments, directory, stack):
        super().__init__(arguments, directory, stack)
        self.ksmfs = directory / "ksmfs"
        self.roots = [f"--sysfs-root={self.ksm}",
                      f"--ksmfs-root={self.ksmfs}",
                      f"--proc-root={self.proc}",
                      f"--runtime-dir={self.runtime}"]
        self.runtime.mkdir()
        (self.proc / "self").mkdir()
        self.set_memory(1024 * MIB, MemAvailable=512 * MIB)
        self.add_process(KSMD_PID, comm="ksmd\n", cmdline="")
        self.set_ksmd_ns(0)

    def values(self):
        """All that KSM has: what a program must not change."""
        return {path.name: path.read_text().strip()
                for path in self.ksm.iterdir()}

    def set_ksmd_ns(self, ns):
        self.replace(self.proc / str(KSMD_PID) / "schedstat", f"{ns} 0 1\n")

    def hide_ksmd(self):
        """So that no time is spent on measuring it."""
        (self.proc / str(KSMD_PID) / "schedstat").unlink()

    def add_process(self, pid, **files):
        (self.proc / str(pid)).mkdir()
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            (self.proc / str(pid) / name).write_bytes(data)

    def add_guest(self, pid, name=None, resident=0, merging=None, zero=None,
                  profit=None, more=()):
        """Of what is None the kernel tells nothing; MORE arguments."""
        arguments = [b"/usr/bin/qemu-system-x86_64", b"-m", b"64", *more]
        if name is not None:
            arguments += [b"-name", b"guest=" + name]
        stat = "".join(f"{key} {value}\n" for key, value in (
            ("ksm_rmap_items", 5), ("ksm_zero_pages", zero),
            ("ksm_merging_pages", merging), ("ksm_process_profit", profit))
            if value is not None)
        self.add_process(pid, cmdline=b"\0".join(arguments) + b"\0",
                         comm="qemu-system-x86\n", ksm_stat=stat,
                         statm=f"1000 {resident} 10 1 0 100 0\n")

    def add_mount(self, device, path=None, seen_by="self", **counters):
        """A ksmfs; without a PATH, it is mounted in another namespace."""
        directory = self.ksmfs / device
        directory.mkdir(parents=True)
        for name, value in counters.items():
            (directory / name).write_text(f"{value}\n")
        if path is not None:
            (self.proc / seen_by).mkdir(exist_ok=True)
            with open(self.proc / seen_by / "mountinfo", "a") as f:
                f.write(f"90 26 {device} / {path} rw,relatime shared:9 - "
                        "ksmfs ksmfs rw,size=1024k,max_kernel_pages=7\n")

    def add_maps(self, pid, *devices):
        """It has mapped files of DEVICES, "MAJOR:MINOR" in hexadecimal."""
        (self.proc / str(pid) / "maps").write_text("".join(
            f"7f000000{i}000-7f000000{i + 1}000 rw-s 00000000 {device} 7"
            "                    /ram file\n"
            for i, device in enumerate(("00:00", *devices))))

    def start_ksmtuned(self, *engines, **more):
        self.add_process(KSMTUNED_PID, comm="ksmtuned\n")
        (self.runtime / "lock").write_text(f"{KSMTUNED_PID}\n")
        self.set_engines(*engines, **more)

    def set_engines(self, *engines, at=0, **more):
        """MORE: what ksmtuned says of itself."""
        self.set_stats(json.dumps({"clients": 3, **more,
                                   "engines": engines}), at)

    def set_stats(self, content, at=0):
        """AT, by default long ago, it was written."""
        data = content if isinstance(content, bytes) else content.encode()
        new = self.runtime / "stats.new"
        new.write_bytes(data)
        os.utime(new, (at, at))
        new.rename(self.runtime / "stats.json")

    def command_line(self, *arguments):
        return [*self.command, *self.roots, *arguments]

    def environment(self, changes=None):
        """Ours with CHANGES; None is for what is not to be there."""
        environment = {**os.environ, "LC_ALL": "C.UTF-8", **(changes or {})}
        return {name: value for name, value in environment.items()
                if value is not None}

    def run(self, *arguments, environment=None, stdin=subprocess.DEVNULL):
        return subprocess.run(self.command_line(*arguments), stdin=stdin,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=self.environment(environment),
                              timeout=PATIENCE, check=False)

    def out(self, *arguments, **options):
        """What it says, when all is well."""
        result = self.run(*arguments, **options)
        check_equal((result.returncode, result.stderr), (0, b""),
                    "status and errors")
        return result.stdout.decode()

    def fails(self, status, *arguments, **options):
        """What it says of a failure."""
        result = self.run(*arguments, **options)
        check_equal((result.returncode, result.stdout), (status, b""),
                    f"status and output of {arguments}")
        error = result.stderr.decode()
        check(error.startswith(f"{self.programs[0]}: ")
              and error.count("\n") == 1, error)
        return error

    def check_full_disk(self, *arguments):
        """What it can't print is an error."""
        with open("/dev/full", "w") as full:
            process = subprocess.run(
                self.command_line(*arguments), stdout=full,
                stderr=subprocess.PIPE, timeout=PATIENCE, check=False)
        check_equal(process.returncode, 1, "exit status")
        check(b"No space left" in process.stderr, repr(process.stderr))


def engine(pid, **more):
    """What ksmtuned writes of one."""
    return {"name": f"guest-{pid}", "pid": pid, "domain": "default",
            "ram_bytes": 6 * MIB, "state": "running",
            "backends": ["ksmd"], "full_scans": 4,
            "pages_hashed": 11, "pages_twins": 12, "pages_zero": 13,
            "pages_marked": 14, "cow_breaks": 15, "cpu_ns": 16,
            "metadata_bytes": 17, **more}
