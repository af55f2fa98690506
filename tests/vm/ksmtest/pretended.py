# SPDX-License-Identifier: GPL-2.0-or-later
"""A process that looks like a QEMU, with RAM that holds what a test says."""

import subprocess
import sys

from .vm import die_with_parent

PAGE = 4096

# RAM is a list of (KIND, PAGES, CONTENTS, READ).
PROGRAM = r"""
import ctypes, mmap, os, sys, threading, time

PAGE = 4096
SYS_MEMFD_SECRET = 447
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
held = []


def private(size):
    return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def reserved(size):
    MAP_NORESERVE = 0x4000      # not in mmap before Python 3.12
    return mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
                     | MAP_NORESERVE)


# As the engine's marks do: each page is a mapping of its own.
def split(size):
    ram = private(size)
    for start in range(0, size, 2 * PAGE):
        ram.madvise(mmap.MADV_RANDOM, start, PAGE)
    return ram


def memfd(size):
    fd = os.memfd_create('ram')
    os.ftruncate(fd, size)
    return mmap.mmap(fd, size)


def memfd_twice(size):
    fd = os.memfd_create('ram')
    os.ftruncate(fd, size)
    held.append(mmap.mmap(fd, size))
    held[-1].madvise(mmap.MADV_DONTFORK)
    guard()
    return mmap.mmap(fd, size)


def file(size):
    fd = os.memfd_create('ram')
    os.ftruncate(fd, size)
    return mmap.mmap(fd, size, mmap.MAP_PRIVATE)


def secret(size):
    fd = libc.syscall(SYS_MEMFD_SECRET, 0)
    if fd < 0:
        print('no memfd_secret', flush=True)
        sys.exit()
    os.ftruncate(fd, size)
    return mmap.mmap(fd, size)


# As QEMU does it: no mapping of RAM next to the one before.
def guard():
    libc.mmap(None, ctypes.c_size_t(PAGE), 0, 0x22, -1, 0)


for kind, pages, contents, read in eval(sys.argv[-1]):
    guard()
    ram = globals()[kind](pages * PAGE)
    ram.madvise(mmap.MADV_DONTFORK)
    for page, number, data in contents:
        for i in range(page, page + number):
            part = (data or b'%d ' % os.getpid() + b'%d.' % i) * PAGE
            ram[i * PAGE:(i + 1) * PAGE] = part[:PAGE]
    held.append(ram)
    for page in read:
        for each in held:
            each[page * PAGE]
guard()
for i in range(int(sys.argv[-2])):
    threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
print('up', flush=True)
sys.stdin.read()
"""


class PretendedGuest:
    """A context manager: it has RAM, a list of calls of ram().

    THREADS more run in it.  COMMAND goes in front, see ksmtest.restricted.
    """

    def __init__(self, *ram, name="guest", threads=0, command=()):
        # It is Python, called as QEMU is.
        self._command = [*command, sys.executable, "-c",
                         "import os, sys; os.execv('/proc/self/exe', "
                         "['qemu-system-x86_64', *sys.argv[1:]])",
                         "-c", PROGRAM, "-name", name, str(threads),
                         repr(list(ram))]

    @property
    def pid(self):
        return self._process.pid

    def __enter__(self):
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True, preexec_fn=die_with_parent)
        self.said = self._process.stdout.readline().strip()
        return self

    def __exit__(self, *unused):
        self.kill()
        self._process.stdin.close()
        self._process.stdout.close()

    def kill(self):
        self._process.kill()
        self._process.wait()

    def resident(self):
        """Pages that are in memory: of all, and of files."""
        with open(f"/proc/{self.pid}/statm") as statm:
            return [int(word) for word in statm.read().split()[1:3]]


def ram(pages, *contents, kind="private", read=()):
    """A mapping.  CONTENTS are (PAGE, NUMBER, DATA), where DATA is repeated in
    each page, and empty for pages that are like no others.  The pages in READ
    are read afterwards, of this mapping and of those before.
    """
    return kind, pages, contents, read
