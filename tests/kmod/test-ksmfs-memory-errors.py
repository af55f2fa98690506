#!/usr/bin/env python3
#
# Pages of ksmfs that have a memory error
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host tests/kmod/test-ksmfs-memory-errors.py [CASE]...
#
# The errors are the kernel's own simulation, MADV_HWPOISON: a page is marked,
# and its contents stay as they are.

import contextlib
import ctypes
import errno
import mmap
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, ksmfs  # noqa: E402
from ksmtest.checks import check, check_equal  # noqa: E402
from ksmtest.ksmfs import PAGE  # noqa: E402

MADV_HWPOISON = 100
# Of /proc/kpageflags, and of an entry of /proc/self/pagemap.
HWPOISON = 1 << 19
FRAME = (1 << 55) - 1
PAGES = 4


def page(number):
    """Contents that no other number has."""
    return number.to_bytes(8, 'little') * (PAGE // 8)


def number_at(path, index):
    with open(path, 'rb', buffering=0) as file:
        return int.from_bytes(os.pread(file.fileno(), 8, index * 8),
                              sys.byteorder)


def break_page(file, n):
    """Lets the memory that is mapped as page N have an error."""
    file.map[n * PAGE]
    start = ctypes.c_char.from_buffer(file.map, n * PAGE)
    address = ctypes.addressof(start)
    frame = number_at('/proc/self/pagemap', address // PAGE) & FRAME
    failed = ksmfs.libc.madvise(ctypes.c_void_p(address),
                                ctypes.c_size_t(PAGE), MADV_HWPOISON)
    error = ctypes.get_errno()
    # It can't do more than to mark it.
    check_equal(errno.errorcode[error] if failed else None, 'EBUSY',
                'error of madvise()')
    check(number_at('/proc/kpageflags', frame) & HWPOISON,
          'the page is not marked')


def error_of(function, *arguments):
    """The error with which it fails, by its name if it has one; or None."""
    try:
        function(*arguments)
        return None
    except OSError as error:
        return errno.errorcode.get(error.errno, error.errno)


def end_of(access):
    """How a process ends that maps the file anew and does ACCESS(map)."""
    child = os.fork()
    if not child:
        access()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def check_broken(file, n):
    """Page N can't be read or written by any means, and says so."""
    def load():
        with mmap.mmap(file.fd, PAGES * PAGE) as other:
            other[n * PAGE]

    def store():
        with mmap.mmap(file.fd, PAGES * PAGE) as other:
            other[n * PAGE] = 1

    at = n * PAGE
    check_equal(error_of(os.pread, file.fd, 1, at), 'EIO', 'read')
    check_equal(error_of(os.pwrite, file.fd, b'x', at), 'EIO', 'write')
    check_equal(error_of(os.pwrite, file.fd, bytes(PAGE), at), 'EIO',
                'write of all of it')
    check_equal(end_of(load), -signal.SIGBUS, 'end of a load')
    check_equal(end_of(store), -signal.SIGBUS, 'end of a store')
    # What is before it can be had.
    check_equal(os.pread(file.fd, 2 * PAGE, at - PAGE), page(n),
                'what is read from the page before on')


def check_healed(file, n):
    """Page N is a hole once it was punched, and as good as any."""
    file.punch(n, n + 1)
    check_equal(file[n], bytes(PAGE), 'a hole')
    file[n] = page(99)
    check_equal(os.pread(file.fd, PAGE, n * PAGE), page(99), 'written anew')


def fill(file):
    for n in range(PAGES):
        file[n] = page(n + 1)


@contextlib.contextmanager
def two_files(bed):
    """A mount and two files with the same pages; nothing is left of them."""
    with bed.mount() as mount:
        with mount.file('a', PAGES) as a, mount.file('b', PAGES) as b:
            for file in (a, b):
                fill(file)
            yield mount, a, b
        mount.unlink_all()
        ksmfs.check_empty(mount)


def test_private_page(bed):
    """a page of a file's own is not read, written or merged any more"""
    with two_files(bed) as (mount, a, b):
        a.merge(*((n, n) for n in range(PAGES)))
        break_page(a, 1)
        check_broken(a, 1)
        check_equal(a.merge((1, 1)), ['busy'], 'the page itself')
        check_equal(b.merge((0, 0), (1, 1), (2, 2)),
                    ['merged', 'changed', 'merged'], 'with the same contents')
        check_equal([b[n] for n in range(PAGES)],
                    [page(n + 1) for n in range(PAGES)], 'the other file')
        check_equal(a.split(), (2, 1 << 52), 'split')
        check_equal(error_of(os.ftruncate, a.fd, PAGE + 100), 'EIO',
                    'a part of it to be zeroed')
        check_healed(a, 1)
        check_equal(b.merge((1, 1)), ['indexed'], 'without it')


def test_locked_page(bed):
    """nor is one that is locked in memory"""
    with two_files(bed) as (mount, a, b):
        start = ctypes.c_char.from_buffer(a.map)
        check_equal(ksmfs.libc.mlock(ctypes.byref(start),
                                     ctypes.c_size_t(PAGES * PAGE)), 0,
                    'mlock()')
        break_page(a, 1)
        del start
        check_broken(a, 1)
        check_healed(a, 1)


def test_shared_page(bed):
    """each file that shares it has lost it, and no other does"""
    with two_files(bed) as (mount, a, b):
        for file in (a, b):
            file.merge(*((n, n) for n in range(PAGES)))
        check_equal(mount['pages_allocated'], PAGES, 'pages_allocated')
        break_page(a, 1)
        for file in (a, b):
            check_broken(file, 1)
        with mount.file('c', PAGES) as c:
            fill(c)
            check_equal(c.merge(*((n, n) for n in range(PAGES))),
                        ['merged', 'changed', 'merged', 'merged'],
                        'of the same contents')
        # Not it, and all before and behind it.
        check_equal(a.split(), (3, 1 << 52), 'split')
        check_equal(a.kinds(), (3, 1, 0), 'pages')
        check_healed(a, 1)
        check_broken(b, 1)
        check_healed(b, 1)


def test_zero_page(bed):
    """one of the 64 pages of zeros: so many holes can't be read, but written"""
    pages = 6400
    with bed.mount() as mount:
        with mount.file('a', pages) as file:
            os.posix_fallocate(file.fd, 0, pages * PAGE // 2)
            check_equal(set(file.merge(*((n, 0) for n in range(pages // 2)))),
                        {'merged'}, 'results')
            break_page(file, 7)
            broken = [n for n in range(pages)
                      if error_of(os.pread, file.fd, PAGE, n * PAGE)]
            print(f'# {len(broken)} of {pages} can not be read')
            check(7 in broken and pages // 128 < len(broken) < pages // 32,
                  'not one of 64')
            for n in broken[::2]:
                file[n] = page(n)
            for n in broken[1::2]:
                os.pwrite(file.fd, page(n), n * PAGE)
            check_equal([n for n in broken
                         if os.pread(file.fd, PAGE, n * PAGE) != page(n)], [],
                        'pages that hold something else')
            file.split()
            check_equal(file.kinds()[2], 0, 'zero pages')
        mount.unlink_all()
        ksmfs.check_empty(mount)


if __name__ == '__main__':
    cases.main('Memory errors of ksmfs.', globals(), ksmfs.Bed)
