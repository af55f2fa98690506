# SPDX-License-Identifier: GPL-2.0-or-later
"""ksmfs from the outside: mounts of it, and the ioctls of its files.

kmod/uapi/linux/ksmfs.h says what they do.
"""

import ctypes
import fcntl
import mmap
import os
import subprocess
from pathlib import Path

from . import cases
from .checks import check, check_equal
from .emulated import KERNEL_FAULT

MAGIC = 0xBC
COLLECT_RESTART, COLLECT_PEEK = 1, 2
PAGE = mmap.PAGESIZE
MODULE = Path("/lib/modules/ksmfs.ko")

RESULTS = (None, "merged", "already", "indexed", "changed", "busy", "limit",
           "absent")

FALLOC_FL_KEEP_SIZE, FALLOC_FL_PUNCH_HOLE = 1, 2

libc = ctypes.CDLL(None, use_errno=True)
libc.fallocate64.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64,
                             ctypes.c_int64)

u32, u64 = ctypes.c_uint32, ctypes.c_uint64


class Info(ctypes.Structure):
    number = 0
    _fields_ = [("size", u32), ("abi", u32), ("features", u64),
                ("page_size", u32), ("reserved", u32),
                ("seed", ctypes.c_uint8 * 32)]


class Range(ctypes.Structure):
    _fields_ = [("start", u64), ("end", u64)]


class Collect(ctypes.Structure):
    number = 1
    _fields_ = [("size", u32), ("flags", u32), ("start", u64), ("end", u64),
                ("ranges", u64), ("max", u32), ("count", u32), ("next", u64)]


class MergeEntry(ctypes.Structure):
    _fields_ = [("index", u64), ("digest", u64), ("result", u32),
                ("reserved", u32)]


class Merge(ctypes.Structure):
    number = 2
    _fields_ = [("size", u32), ("flags", u32), ("entries", u64),
                ("count", u32), ("done", u32)]


class Split(ctypes.Structure):
    number = 3
    _fields_ = [("size", u32), ("flags", u32), ("start", u64), ("end", u64),
                ("max", u64), ("next", u64), ("count", u64)]


class Stat(ctypes.Structure):
    number = 4
    _fields_ = [("size", u32), ("flags", u32), ("pages_private", u64),
                ("pages_sharing", u64), ("pages_zero", u64), ("merges", u64),
                ("cow_breaks", u64)]


def ioctl(fd, argument):
    """Calls the ioctl of a structure; its size is filled in if it is 0."""
    argument.size = argument.size or ctypes.sizeof(argument)
    fcntl.ioctl(fd, MAGIC << 8 | argument.number, argument)
    return argument


class File:
    """An open file of ksmfs, and a mapping of all of it."""

    def __init__(self, path, pages, flags=os.O_RDWR | os.O_CREAT):
        self.fd = os.open(path, flags, 0o600)
        if pages:
            os.ftruncate(self.fd, pages * PAGE)
        self.map = mmap.mmap(self.fd, os.fstat(self.fd).st_size)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.close()

    def close(self):
        if self.fd is not None:
            self.map.close()
            os.close(self.fd)
            self.fd = None

    def __getitem__(self, page):
        return self.map[page * PAGE:(page + 1) * PAGE]

    def __setitem__(self, page, contents):
        self.map[page * PAGE:(page + 1) * PAGE] = contents

    def merge(self, *pages):
        """Results by name for (index, digest) pairs."""
        entries = (MergeEntry * len(pages))(*pages)
        answer = ioctl(self.fd, Merge(entries=ctypes.addressof(entries),
                                      count=len(pages)))
        return [RESULTS[entry.result] for entry in entries[:answer.done]]

    def collect(self, start=0, end=1 << 52, most=1000, flags=0):
        """Ranges that were written, and where to go on."""
        ranges = (Range * most)()
        answer = ioctl(self.fd, Collect(flags=flags, start=start, end=end,
                                        max=most,
                                        ranges=ctypes.addressof(ranges)))
        return ([(r.start, r.end) for r in ranges[:answer.count]],
                answer.next)

    def split(self, start=0, end=1 << 52, most=1 << 52):
        answer = ioctl(self.fd, Split(start=start, end=end, max=most))
        return answer.count, answer.next

    def punch(self, start, end):
        """Makes a hole of the pages from START to END."""
        if libc.fallocate64(self.fd, FALLOC_FL_PUNCH_HOLE
                            | FALLOC_FL_KEEP_SIZE, start * PAGE,
                            (end - start) * PAGE):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error))

    def stat(self):
        return ioctl(self.fd, Stat())

    def kinds(self):
        """Its private, sharing and zero pages."""
        stat = self.stat()
        return stat.pages_private, stat.pages_sharing, stat.pages_zero


class Mount:
    """A mount of ksmfs below DIRECTORY; unmounted at the end."""

    def __init__(self, directory, options="", name="ksmfs"):
        self.path = Path(directory) / name
        self._options = options

    def __enter__(self):
        self.path.mkdir(exist_ok=True)
        subprocess.run(["mount", "-t", "ksmfs",
                        *(("-o", self._options) if self._options else ()),
                        "ksmfs", self.path], check=True)
        device = os.stat(self.path).st_dev
        self._sysfs = Path(f"/sys/fs/ksmfs/{os.major(device)}:"
                           f"{os.minor(device)}")
        return self

    def __exit__(self, error, *unused):
        # What failed may have left files open.
        subprocess.run(["umount", *(("-l",) if error else ()), self.path],
                       check=True)

    def remount(self, options):
        """Changes options of it; false if that is refused."""
        return subprocess.run(
            ["mount", "-o", f"remount,{options}", self.path],
            stderr=subprocess.DEVNULL).returncode == 0

    def file(self, name="file", pages=0, **options):
        return File(self.path / name, pages, **options)

    def unlink_all(self):
        for path in self.path.iterdir():
            path.unlink()

    def __getitem__(self, counter):
        return int((self._sysfs / counter).read_text())

    def __setitem__(self, counter, value):
        (self._sysfs / counter).write_text(str(value))


# Of a mount with nothing in it, all are 0.
COUNTERS = ("pages_allocated", "pages_used", "pages_shared", "pages_sharing",
            "pages_unshared", "ksm_zero_pages")


def check_empty(mount):
    """Nothing is left of its files."""
    for name in COUNTERS:
        check_equal(mount[name], 0, f"{name} without any file")


class QuietKernel:
    """Keeps from the console what the kernel says of others' faults.

    Such as a process that it has to end, or memory that it can't have.  At the
    end its log is looked through for faults of its own.
    """

    _printk = Path("/proc/sys/kernel/printk")
    _mark = "ksmtest: quiet from here on\n"

    def __enter__(self):
        self._before = self._printk.read_text()
        Path("/dev/kmsg").write_text(self._mark)
        # Errors are shown; warnings, with stacks, are not.
        self._printk.write_text("4")
        return self

    def __exit__(self, *unused):
        self._printk.write_text(self._before)
        log = subprocess.run(["dmesg"], stdout=subprocess.PIPE, check=True,
                             text=True, errors="replace").stdout
        _, mark, said = log.rpartition(self._mark)
        check(mark, "the kernel said more than its log has room for")
        check_equal([line for line in said.splitlines()
                     if KERNEL_FAULT.search(line)
                     and "Call Trace" not in line], [], "the kernel's log")


class Bed(cases.Bed):
    """What a test of the module alone needs: it runs no QEMU."""

    programs = ()
    host_ksm = False
    # A block device in memory, for direct I/O.
    device = "/dev/ram0"

    def mount(self, options="", name="ksmfs"):
        return Mount(self.directory, options, name)
