#!/usr/bin/env python3
#
# Mappings of ksmfs: what a second one sees, and how the kernel gets at pages
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host --processors=2 \
#            tests/kmod/test-ksmfs-mappings.py [--rounds=N] [CASE]...

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import struct
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, ksmfs, programs  # noqa: E402
from ksmtest.checks import check, check_equal  # noqa: E402
from ksmtest.ksmfs import PAGE, libc  # noqa: E402

TRACING = Path('/sys/kernel/tracing')

# linux/userfaultfd.h
SYS_USERFAULTFD = 323
UFFD_API, UFFDIO_API, UFFDIO_REGISTER = 0xaa, 0xc018aa3f, 0xc020aa00
UFFD_MODES = {'missing': 1, 'write-protect': 2, 'minor': 4}


class Bed(ksmfs.Bed):
    @classmethod
    def add_options(cls, parser):
        super().add_options(parser)
        parser.add_argument('--rounds', type=int, default=1000000)
        parser.add_argument('--seconds', type=int, default=60)


def test_second_mapping_never_stale(bed):
    """a change by one process is seen by another at once"""
    with bed.mount() as mount:
        counts = programs.count('stale', mount.path,
                                f'--rounds={bed.arguments.rounds}',
                                f'--seconds={bed.arguments.seconds}')
        # Else nothing was at stake.
        check(counts['merged'] > counts['rounds'] / 10, 'few merges')
        check(counts['changed-reads'] > counts['rounds'] / 1000,
              'few reads after a change')


@contextlib.contextmanager
def probe(function):
    """Counts calls of a kernel's FUNCTION, in the file that it yields."""
    if not (TRACING / 'kprobe_events').exists():
        subprocess.run(['mount', '-t', 'tracefs', 'tracefs', TRACING],
                       check=True)
    (TRACING / 'kprobe_events').write_text(f'p:ksmfs/slow {function}')
    enable = TRACING / 'events/ksmfs/slow/enable'
    enable.write_text('1')
    try:
        yield TRACING / 'kprobe_profile'
    finally:
        enable.write_text('0')
        (TRACING / 'kprobe_events').write_text('')


def test_gup_is_fast(bed):
    """direct I/O takes mapped pages from the page tables alone"""
    with bed.mount() as mount:
        with probe('__get_user_pages') as profile:
            counts = programs.count('gup', 'fast', mount.path, bed.device,
                                    profile)
        for name in ('private-read', 'shared-read', 'private-written'):
            check_equal(counts[name], 0, f'slow GUPs of pages {name}')
        check(counts['unmapped-read'] > 0, 'the probe counts nothing')


def test_faults_need_no_mmap_lock(bed):
    """a fault takes the lock of its mapping, and not that of all of memory"""
    half = 1000
    # Where there is no such lock, all faults begin with the other.
    fast = 'lock_vma_under_rcu' in Path('/proc/kallsyms').read_text()
    with bed.mount() as mount, mount.file(pages=2 * half) as file, \
            probe('lock_mm_and_find_vma') as profile:
        check_equal({file[page][0] for page in range(half)}, {0}, 'holes')
        for page in range(2 * half):
            file[page] = (page % half + 1).to_bytes(8, 'little') * (PAGE // 8)
        results = file.merge(*((page, page % half) for page
                               in range(2 * half)))
        check_equal(results[half:], half * ['merged'], 'of the second half')
        for page in range(half // 2):
            check_equal(file[page], file[half + page], f'page {page}')
        for page in range(half):
            file.map[page * PAGE] = 0
        slow = int(profile.read_text().split()[1])
        # Some are of other memory, and of tables of pages.
        check(slow < half // 10 if fast else slow > half,
              f'{slow} faults took the mmap_lock')


def test_long_pins_are_refused(bed):
    """a registered buffer of io_uring is refused, and keeps no page unmerged"""
    with bed.mount() as mount:
        programs.count('gup', 'long', mount.path)


def test_futex_does_not_hang(bed):
    """a futex in any kind of page answers, also where it can't be written"""
    with bed.mount() as mount:
        programs.count('gup', 'futex', mount.path)


def register(mapping, mode):
    """The error of userfaultfd on a mapping, or 0."""
    start = ctypes.addressof(ctypes.c_char.from_buffer(mapping))
    fd = libc.syscall(SYS_USERFAULTFD, os.O_CLOEXEC)
    check(fd >= 0, os.strerror(ctypes.get_errno()))
    try:
        fcntl.ioctl(fd, UFFDIO_API, struct.pack('QQQ', UFFD_API, 0, 0))
        fcntl.ioctl(fd, UFFDIO_REGISTER, struct.pack(
            'QQQQ', start, len(mapping), mode, 0))
    except OSError as error:
        return error.errno
    finally:
        os.close(fd)
    return 0


def test_userfaultfd_is_refused(bed):
    """userfaultfd, and so postcopy and background snapshots, get EINVAL"""
    with bed.mount() as mount, mount.file(pages=4) as file, \
            mmap.mmap(-1, 4 * PAGE, mmap.MAP_PRIVATE) as anonymous:
        for name in ('missing', 'write-protect'):
            check_equal(register(anonymous, UFFD_MODES[name]), 0,
                        f'{name} of anonymous memory')
        for name, mode in UFFD_MODES.items():
            check_equal(register(file.map, mode), errno.EINVAL, name)


if __name__ == '__main__':
    cases.main('Mappings of ksmfs.', globals(), Bed)
