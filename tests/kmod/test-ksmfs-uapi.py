#!/usr/bin/env python3
#
# The ioctls of ksmfs: what they refuse, and how
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host tests/kmod/test-ksmfs-uapi.py \
#            [--calls=N] [--seed=N] [CASE]...

import ctypes
import errno
import fcntl
import mmap
import os
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, ksmfs, programs  # noqa: E402
from ksmtest.checks import check, check_equal  # noqa: E402
from ksmtest.ksmfs import PAGE  # noqa: E402

STRUCTURES = (ksmfs.Info, ksmfs.Collect, ksmfs.Merge, ksmfs.Split, ksmfs.Stat)
# An address of the first page is never mapped.
UNMAPPED = 8


class Bed(ksmfs.Bed):
    @classmethod
    def add_options(cls, parser):
        super().add_options(parser)
        parser.add_argument('--calls', type=int, default=1000000)
        parser.add_argument('--seed', type=int,
                            default=random.SystemRandom().getrandbits(31))


def good(structure):
    """An argument that is taken; the buffer that it needs stays with it."""
    argument = structure()
    if structure is ksmfs.Collect:
        argument.buffer = (ksmfs.Range * 4)()
        argument.end, argument.max = 1 << 52, 4
        argument.ranges = ctypes.addressof(argument.buffer)
    elif structure is ksmfs.Merge:
        argument.buffer = (ksmfs.MergeEntry * 2)()
        argument.buffer[1].index = 1
        argument.count = 2
        argument.entries = ctypes.addressof(argument.buffer)
    elif structure is ksmfs.Split:
        argument.end = argument.max = 1 << 52
    argument.size = ctypes.sizeof(argument)
    return argument


def check_refused(fd, argument, wanted, what):
    try:
        ksmfs.ioctl(fd, argument)
    except OSError as error:
        name = type(argument).__name__
        check_equal(errno.errorcode[error.errno], errno.errorcode[wanted],
                    f'{name}, {what}')
    else:
        check(False, f'{type(argument).__name__}, {what}: not refused')


def raw_ioctl(fd, number, buffer):
    """An ioctl with any bytes, which it may change."""
    fcntl.ioctl(fd, ksmfs.MAGIC << 8 | number, buffer)


def raw_errno(fd, number, buffer):
    try:
        raw_ioctl(fd, number, buffer)
        return 0
    except OSError as error:
        return error.errno


def test_good_arguments_are_taken(bed):
    """what the other cases spoil is right before"""
    with bed.mount() as mount, mount.file('a', 4) as file:
        file[0] = bytes(PAGE)
        for structure in STRUCTURES:
            ksmfs.ioctl(file.fd, good(structure))


def test_sizes(bed):
    """a size tells versions apart: too small, and more than is known"""
    with bed.mount() as mount, mount.file('a', 4) as file:
        for structure in STRUCTURES:
            name = structure.__name__
            size = ctypes.sizeof(structure)
            for small in (1, 4, 8, size - 1):
                argument = good(structure)
                argument.size = small
                check_refused(file.fd, argument, errno.EINVAL, f'size {small}')
            for tail, wanted in ((bytes(8), 0), (bytes(PAGE - size), 0),
                                 (b'\1' + bytes(7), errno.E2BIG),
                                 (bytes(99) + b'\1', errno.E2BIG)):
                argument = good(structure)
                argument.size += len(tail)
                buffer = bytearray(bytes(argument) + tail)
                check_equal(raw_errno(file.fd, structure.number, buffer),
                            wanted, f'{name} with {len(tail)} bytes more')
                if not wanted:
                    check_equal(int.from_bytes(buffer[:4], sys.byteorder),
                                argument.size, f'{name}: size afterwards')
            # Beyond a page nothing is looked for.
            argument = good(structure)
            argument.size = PAGE + 1
            buffer = bytearray(bytes(argument) + bytes(2 * PAGE))
            check_equal(raw_errno(file.fd, structure.number, buffer),
                        errno.E2BIG, f'{name} of more than a page')
            argument = good(structure)
            argument.size = 0
            buffer = bytearray(bytes(argument))
            check_equal(raw_errno(file.fd, structure.number, buffer),
                        errno.EINVAL, f'{name} of size 0')


def test_fields(bed):
    """flags, reserved fields, ranges and maxima that can't be"""
    with bed.mount() as mount, mount.file('a', 4) as file:
        def refused(structure, wanted=errno.EINVAL, **fields):
            argument = good(structure)
            for field, value in fields.items():
                setattr(argument, field, value)
            check_refused(file.fd, argument, wanted, fields)

        for flag in range(32):
            for structure in STRUCTURES[2:]:
                refused(structure, flags=1 << flag)
            if flag > 1:
                refused(ksmfs.Collect, flags=1 << flag)
        refused(ksmfs.Collect, flags=3)
        for structure in (ksmfs.Collect, ksmfs.Split):
            refused(structure, start=3, end=2)
            refused(structure, start=1, end=0)
            refused(structure, start=(1 << 64) - 1, end=1)
            refused(structure, max=0)
        argument = good(ksmfs.Merge)
        argument.buffer[1].reserved = 1
        check_refused(file.fd, argument, errno.EINVAL, 'reserved')


def test_pointers(bed):
    """arrays that are not there, or only in part, or not aligned"""
    with bed.mount() as mount, mount.file('a', 4) as file:
        file[0] = file[1] = bytes(PAGE)
        for structure, field in ((ksmfs.Collect, 'ranges'),
                                 (ksmfs.Merge, 'entries')):
            for address in (0, UNMAPPED, (1 << 64) - 8, 1 << 63,
                            0xffff888000000000):
                argument = good(structure)
                setattr(argument, field, address)
                check_refused(file.fd, argument, errno.EFAULT,
                              f'{field} at {address:#x}')
        # More than is there: what is there is worked on.
        argument = good(ksmfs.Merge)
        argument.count = (1 << 32) - 1
        argument.entries = 1 << 46
        check_refused(file.fd, argument, errno.EFAULT, 'a huge count')
        for structure in STRUCTURES:
            check_equal(raw_address_errno(file.fd, structure, UNMAPPED),
                        errno.EFAULT, f'{structure.__name__} that is unmapped')
        # Any address will do.
        area = mmap.mmap(-1, 2 * PAGE)
        base = ctypes.addressof(ctypes.c_char.from_buffer(area))
        for shift in range(1, 8):
            argument = good(ksmfs.Merge)
            ctypes.memmove(base + shift, argument.buffer,
                           ctypes.sizeof(argument.buffer))
            argument.entries = base + shift
            ksmfs.ioctl(file.fd, argument)
            check_equal(argument.done, 2, f'entries at {shift}')
            for structure in STRUCTURES:
                argument = good(structure)
                ctypes.memmove(base + shift, ctypes.addressof(argument),
                               argument.size)
                check_equal(raw_address_errno(file.fd, structure,
                                              base + shift), 0,
                            f'{structure.__name__} at {shift}')


def raw_address_errno(fd, structure, address):
    ksmfs.libc.ioctl.argtypes = (ctypes.c_int, ctypes.c_ulong,
                                 ctypes.c_void_p)
    if ksmfs.libc.ioctl(fd, ksmfs.MAGIC << 8 | structure.number, address):
        return ctypes.get_errno()
    return 0


def test_descriptors(bed):
    """files that can't be changed, and what is no file of ksmfs"""
    with bed.mount() as mount, mount.file('a', 4) as file:
        readable = os.open(mount.path / 'a', os.O_RDONLY)
        path = os.open(mount.path / 'a', os.O_PATH)
        directory = os.open(mount.path, os.O_RDONLY)
        foreign = os.open(bed.directory / 'foreign', os.O_RDWR | os.O_CREAT)
        fifo = mount.path / 'fifo'
        os.mkfifo(fifo)
        special = os.open(fifo, os.O_RDWR)
        for structure in STRUCTURES:
            writes = structure not in (ksmfs.Info, ksmfs.Stat)
            if writes:
                check_refused(readable, good(structure), errno.EBADF,
                              'read-only')
            else:
                ksmfs.ioctl(readable, good(structure))
            check_refused(path, good(structure), errno.EBADF, 'O_PATH')
            for fd, what in ((directory, 'a directory'), (special, 'a fifo'),
                             (foreign, 'a file elsewhere')):
                check_refused(fd, good(structure), errno.ENOTTY, what)
        for number in (5, 6, 100, 255):
            check_equal(raw_errno(file.fd, number, bytearray(64)),
                        errno.ENOTTY, f'ioctl {number}')
        for fd in (readable, path, directory, foreign, special):
            os.close(fd)


def test_random_arguments(bed):
    """a million calls with any arguments change no contents"""
    print(f'# seed {bed.arguments.seed}')
    with bed.mount() as mount:
        counts = programs.count('fuzz', 'random', mount.path,
                                str(bed.arguments.calls),
                                str(bed.arguments.seed))
        # Else only the first checks were met.
        check(counts['succeeded'] > counts['calls'] / 10, 'few calls went on')
        check(counts['merges'] > counts['calls'] / 1000, 'few merges')


def test_32_bit_callers(bed):
    """a 32-bit program is answered as any other"""
    with bed.mount() as mount:
        programs.count('fuzz', 'compat', mount.path)


if __name__ == '__main__':
    cases.main('Ioctls of ksmfs.', globals(), Bed)
