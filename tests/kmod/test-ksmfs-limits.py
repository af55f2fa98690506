#!/usr/bin/env python3
#
# Limits of ksmfs: many pages, files and sharers; memory, rights, and its end
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host tests/kmod/test-ksmfs-limits.py [CASE]...

import contextlib
import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, ksmfs  # noqa: E402
from ksmtest.checks import PATIENCE, check, check_equal, wait_for  # noqa: E402
from ksmtest.ksmfs import PAGE  # noqa: E402

NOBODY = 65534
LARGEST = (1 << 63) - 1


class Timed:
    """Says how long something took, and fails if that was too long."""

    def __init__(self, what, most=PATIENCE):
        self._what, self._most = what, most

    def __enter__(self):
        self._start = time.monotonic()

    def __exit__(self, error, *unused):
        took = time.monotonic() - self._start
        print(f'# {took:.2f} s to {self._what}')
        check(error or took < self._most, f'{took:.0f} s to {self._what}')


def merge_all(file, pages, digest=1):
    for at in range(0, pages, 1000):
        file.merge(*((n, digest) for n in range(at, min(at + 1000, pages))))


def in_child(function):
    """Runs FUNCTION in a process of its own; its number."""
    child = os.fork()
    if child:
        return child
    try:
        function()
    except BaseException as error:
        print(f'# child: {error!r}', flush=True)
        os._exit(1)
    os._exit(0)


def test_many_sharers(bed):
    """100,000 pages share one, and each can be broken and freed"""
    pages = 100000
    with bed.mount() as mount:
        with mount.file('a', pages) as file:
            contents = b'same' * (PAGE // 4)
            for at in range(0, pages, 1000):
                os.pwrite(file.fd, contents * 1000, at * PAGE)
            with Timed('merge'):
                merge_all(file, pages)
            check_equal(file.kinds(), (0, pages, 0), 'pages')
            check_equal(mount['pages_allocated'], 1, 'pages_allocated')
            for n in range(0, pages, 997):
                check_equal(file[n], contents, f'page {n}')
            file[77] = bytes(PAGE)
            check_equal(file[76], contents, 'another page')
            with Timed('split half of them'):
                file.split(0, pages // 2)
            check_equal(file.kinds(), (pages // 2, pages // 2, 0), 'pages')
            os.unlink(mount.path / 'a')
            with Timed('remove all'):
                file.close()
        ksmfs.check_empty(mount)


def test_sparse_file(bed):
    """1 TiB with a few pages costs what those do"""
    step = 1 << 20
    pages = 1 << 28
    with bed.mount() as mount:
        with mount.file('a', pages) as file, Timed('use it', 60):
            where = range(0, pages, step)
            for n in where:
                file[n] = b'some' * (PAGE // 4)
            check_equal(mount['pages_allocated'], len(where), 'allocated')
            with Timed('collect', 5):
                check_equal(file.collect()[0], [(n, n + 1) for n in where],
                            'ranges')
            file.merge(*((n, 1) for n in where))
            check_equal(mount['pages_allocated'], 1, 'merged')
            check_equal(file[step], b'some' * (PAGE // 4), 'a page')
            check_equal(file[step + 1], bytes(PAGE), 'a hole')
            with Timed('split', 5):
                check_equal(file.split(), (len(where), 1 << 52), 'split')
            with Timed('punch', 5):
                file.punch(1, pages - 1)
            check_equal(file.kinds(), (1, 0, 0), 'pages')
        os.unlink(mount.path / 'a')
        ksmfs.check_empty(mount)


def test_many_files(bed):
    """10,000 files with the same page"""
    names = [f'file{n}' for n in range(10000)]
    contents = b'same' * (PAGE // 4)
    with bed.mount() as mount:
        with Timed('make and merge them', 240):
            for name in names:
                fd = os.open(mount.path / name, os.O_RDWR | os.O_CREAT)
                os.pwrite(fd, contents, 0)
                entries = (ksmfs.MergeEntry * 1)((0, 1))
                ksmfs.ioctl(fd, ksmfs.Merge(
                    entries=ksmfs.ctypes.addressof(entries), count=1))
                os.close(fd)
        check_equal((mount['pages_allocated'], mount['pages_used']),
                    (1, len(names)), 'allocated and used')
        for name in names[::97]:
            check_equal((mount.path / name).read_bytes(), contents, name)
        with Timed('remove them', 60):
            for name in names:
                os.unlink(mount.path / name)
        ksmfs.check_empty(mount)


def test_largest_offset(bed):
    """the end of the largest file there can be is a page as any other"""
    with bed.mount() as mount:
        fd = os.open(mount.path / 'a', os.O_RDWR | os.O_CREAT)
        low, high = 0, LARGEST
        while low < high:
            middle = low + (high - low + 1) // 2
            try:
                os.ftruncate(fd, middle)
                low = middle
            except OSError as error:
                check_equal(error.errno, errno.EFBIG, 'errno')
                high = middle - 1
        print(f'# {low:#x} bytes')
        start = (low - 1) // PAGE * PAGE
        os.ftruncate(fd, low)
        os.pwrite(fd, b'x' * (low - start), start)
        result = ksmfs.libc.fallocate64(
            fd, ksmfs.FALLOC_FL_PUNCH_HOLE | ksmfs.FALLOC_FL_KEEP_SIZE,
            start + 100, 50)
        check_equal(result, 0, 'a hole in the last page')
        check(os.pread(fd, low - start, start)
              == b'x' * 100 + bytes(50) + b'x' * (low - start - 150),
              'more than the hole, or less, is 0')
        os.ftruncate(fd, start + 10)
        check_equal(os.pread(fd, 100, start), b'x' * 10, 'a shorter one')
        os.ftruncate(fd, 0)
        os.close(fd)
        os.unlink(mount.path / 'a')
        ksmfs.check_empty(mount)


@contextlib.contextmanager
def memory_cgroup(bed, limit):
    """The directory of a memory cgroup with a LIMIT."""
    groups = bed.directory / 'cgroup'
    groups.mkdir()
    subprocess.run(['mount', '-t', 'cgroup2', 'cgroup', groups], check=True)
    try:
        (groups / 'cgroup.subtree_control').write_text('+memory')
        group = groups / 'ksmfs'
        group.mkdir()
        (group / 'memory.max').write_text(str(limit))
        # It tells at length of each process that it ends.
        with ksmfs.QuietKernel():
            yield group
        group.rmdir()
    finally:
        subprocess.run(['umount', groups], check=True)


def end_in(group, function):
    """Runs FUNCTION in a process of the cgroup GROUP, if any: how it ends."""
    def enter():
        if group:
            (group / 'cgroup.procs').write_text(str(os.getpid()))
        function()
    _, status = os.waitpid(in_child(enter), 0)
    return os.waitstatus_to_exitcode(status)


def test_memory_cgroup(bed):
    """pages count for the cgroup of who made the file, and its limit holds"""
    limit, pages = 32 << 20, 16384
    with memory_cgroup(bed, limit) as group, bed.mount() as mount:
        def write():
            with mount.file('a', pages) as file:
                for n in range(pages):
                    os.pwrite(file.fd, b'x' * PAGE, n * PAGE)

        def store():
            with mount.file('b', pages) as file:
                for n in range(pages):
                    file[n] = b'x' * PAGE

        def charged():
            return int((group / 'memory.current').read_text())

        check_equal(end_in(group, write), -signal.SIGKILL, 'end of a writer')
        got = mount['pages_allocated']
        print(f'# {got} of {pages} pages within {limit // PAGE}')
        check(limit // PAGE // 2 < got <= limit // PAGE,
              f'{got} pages with room for {limit // PAGE}')
        check_equal(end_in(group, store), -signal.SIGKILL,
                    'end of one who has it mapped')
        os.unlink(mount.path / 'b')
        # One that is not in the group writes: charged all the same.
        with mount.file('a') as file:
            check(charged() >= got * PAGE, f'{charged()} bytes charged')
            merge_all(file, got)
            check_equal(mount['pages_allocated'], 1, 'merged')
            wait_for(lambda: charged() < got * PAGE // 2,
                     'merged pages to be given back')
            check_equal(file[got - 1], b'x' * PAGE, 'a merged page')
            was = charged()
            file.split(0, 1000)
            check(charged() - was > 900 * PAGE,
                  f'{charged() - was} bytes for 1000 pages')
        os.unlink(mount.path / 'a')
        ksmfs.check_empty(mount)


def test_full_cgroup_of_another(bed):
    """who writes at the cost of a cgroup with nobody to kill gets an error"""
    limit, pages = 16 << 20, 8192
    with memory_cgroup(bed, limit) as group, bed.mount() as mount:
        check_equal(end_in(group, (mount.path / 'a').touch), 0, 'touch')
        with mount.file('a', pages) as file:
            def error_of(function, *arguments):
                try:
                    function(*arguments)
                    return None
                except OSError as error:
                    return errno.errorcode[error.errno]

            def write(n):
                os.pwrite(file.fd, b'x' * PAGE, n * PAGE)

            merged = 1000
            for n in range(merged):
                write(n)
            merge_all(file, merged)
            written = next(n for n in range(merged, pages)
                           if error_of(write, n) == 'ENOMEM')
            print(f'# {written - merged + 1} pages within {limit // PAGE}')
            check(limit // PAGE // 2 < written - merged <= limit // PAGE,
                  'more, or fewer, than there is room for')
            # It was full, or nearly so.
            for n in range(written, written + 8):
                error_of(write, n)
            before = file.kinds()
            check_equal([error_of(function, *arguments)
                         for function, *arguments in (
                             (write, pages - 1), (write, 0), (file.split,),
                             (os.posix_fallocate, file.fd, (pages - 1) * PAGE,
                              PAGE))], ['ENOMEM'] * 4, 'errors')

            def store(n):
                file[n] = b'y' * PAGE

            for n, what in ((pages - 1, 'a hole'), (0, 'a merged page')):
                check_equal(end_in(None, lambda: store(n)), -signal.SIGBUS,
                            f'end of one who stores to {what}')
            check_equal(file.kinds(), before, 'pages')
            for n in range(merged):
                check_equal(file[n], b'x' * PAGE, f'page {n}')
            # It is not for ever.
            (group / 'memory.max').write_text('max')
            store(0)
            write(pages - 1)
            file.split()
            check_equal((file[0], file[1], file[pages - 1]),
                        (b'y' * PAGE, b'x' * PAGE, b'x' * PAGE), 'pages')
        os.unlink(mount.path / 'a')
        ksmfs.check_empty(mount)


def test_rights(bed):
    """who may not enter the mount, or open the file, can't"""
    def nobody(path, wanted):
        def attempt():
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            try:
                os.close(os.open(path, os.O_RDONLY))
                got = 0
            except OSError as error:
                got = error.errno
            check_equal(got, wanted, f'open of {path.name}')
        _, status = os.waitpid(in_child(attempt), 0)
        check_equal(status, 0, 'status')

    bed.directory.chmod(0o711)
    with bed.mount(name='closed') as mount, mount.file('a', 1):
        os.chmod(mount.path / 'a', 0o666)
        nobody(mount.path / 'a', errno.EACCES)
    with bed.mount('mode=755', name='open') as mount, mount.file('a', 1):
        nobody(mount.path / 'a', errno.EACCES)
        os.chmod(mount.path / 'a', 0o444)
        nobody(mount.path / 'a', 0)
    with bed.mount(f'uid={NOBODY},gid={NOBODY}', name='theirs') as mount:
        (mount.path / 'a').touch()
        os.chmod(mount.path / 'a', 0o444)
        nobody(mount.path / 'a', 0)


def remove_module():
    """Empty, or why it can't be removed."""
    return subprocess.run(['rmmod', 'ksmfs'], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True).stdout


def test_killed_in_mid_merge(bed):
    """nothing is left of those who are killed, and the module can go"""
    pages = 2048
    with bed.mount() as mount:
        def merge():
            with mount.file(f'file{os.getpid()}', pages) as file:
                os.unlink(mount.path / f'file{os.getpid()}')
                while True:
                    for n in range(pages):
                        file[n] = b'same' * (PAGE // 4)
                    file.merge(*((n, 1) for n in range(pages)))

        for round in range(12):
            children = [in_child(merge) for _ in range(2)]
            merges = mount['merges']
            wait_for(lambda: mount['merges'] > merges + pages, 'merges')
            # Anywhere in a batch.
            time.sleep(0.01 * round)
            for child in children:
                os.kill(child, signal.SIGKILL)
            for child in children:
                os.waitpid(child, 0)
        # The last references are dropped a moment after a process is gone.
        wait_for(lambda: not mount['pages_used'], 'no page to be used')
        ksmfs.check_empty(mount)
        check(remove_module(), 'the module went while it is mounted')
        check_equal((mount.path / 'still').write_bytes(b'here'), 4, 'written')
    check_equal(remove_module(), '', 'rmmod')
    check(not Path('/sys/module/ksmfs').exists(), 'it is still there')
    subprocess.run(['insmod', ksmfs.MODULE], check=True)
    with bed.mount(name='again') as mount:
        ksmfs.check_empty(mount)


if __name__ == '__main__':
    cases.main('Limits of ksmfs.', globals(), ksmfs.Bed)
