#!/usr/bin/env python3
#
# Files of ksmfs: what they hold before, during and after merges
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host tests/kmod/test-ksmfs-files.py [CASE]...

import contextlib
import errno
import itertools
import mmap
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, ksmfs  # noqa: E402
from ksmtest.checks import check, check_equal, wait_steady  # noqa: E402
from ksmtest.ksmfs import PAGE  # noqa: E402

EVERYTHING = 1 << 52
# Pages are compared by vectors, where the processor has them.
VECTORS = Path('/sys/module/ksmfs/parameters/vectors')


def page(number):
    """Contents that no other number has."""
    return number.to_bytes(8, 'little') * (PAGE // 8)


def two_files(mount, pages=4):
    """Two files with the same pages, merged."""
    files = [mount.file(name, pages) for name in 'ab']
    for file in files:
        for n in range(pages):
            file[n] = page(n + 1)
    check_equal(files[0].merge(*((n, n) for n in range(pages))),
                ['indexed'] * pages, 'first file')
    check_equal(files[1].merge(*((n, n) for n in range(pages))),
                ['merged'] * pages, 'second file')
    return files


def test_merge_shares_one_page(bed):
    """two pages that are alike use one, and read as before"""
    with bed.mount() as mount:
        with contextlib.ExitStack() as stack:
            a, b = map(stack.enter_context, two_files(mount))
            check_equal(a.kinds(), (0, 4, 0), 'pages of a')
            check_equal(b.kinds(), (0, 4, 0), 'pages of b')
            check_equal(mount['pages_allocated'], 4, 'pages_allocated')
            check_equal(mount['pages_used'], 8, 'pages_used')
            check_equal((mount['pages_shared'], mount['pages_sharing']),
                        (4, 4), 'shared and sharing')
            for n in range(4):
                check(a[n] == b[n] == page(n + 1), f'page {n} differs')
            check_equal(a.merge((0, 0)), ['already'], 'again')


def test_write_breaks_a_share(bed):
    """a write to a merged page is seen in that file only"""
    with bed.mount() as mount:
        with contextlib.ExitStack() as stack:
            a, b = map(stack.enter_context, two_files(mount))
            a[1] = page(100)
            check_equal(a[1], page(100), 'what was written')
            check_equal(b[1], page(2), 'the other file')
            check_equal((a.kinds(), b.kinds()), ((1, 3, 0), (0, 4, 0)),
                        'pages')
            os.pwrite(b.fd, b'x', 2 * PAGE + 5)
            check_equal(b[2][:7], page(3)[:5] + b'x' + page(3)[6:7],
                        'what was written by write(2)')
            check_equal(a[2], page(3), 'the other file')
            check_equal((a.stat().cow_breaks, b.stat().cow_breaks), (1, 1),
                        'breaks')


def test_second_mapping_never_stale(bed):
    """each mapping of a file sees every write of the others"""
    with bed.mount() as mount:
        with contextlib.ExitStack() as stack:
            a, b = map(stack.enter_context, two_files(mount))
            second = mmap.mmap(a.fd, 4 * PAGE)
            private = mmap.mmap(a.fd, 4 * PAGE, flags=mmap.MAP_PRIVATE)
            for n in range(4):
                at = n * PAGE
                check_equal(second[at:at + PAGE], page(n + 1), 'second')
                check_equal(private[at:at + PAGE], page(n + 1), 'private')
            for step, change in enumerate((
                    lambda: a.split(), lambda: a.merge((0, 0)),
                    lambda: a.collect(), lambda: b.split())):
                change()
                a[0] = page(1000 + step)
                check_equal(second[:PAGE], page(1000 + step), 'second')
                check_equal(private[:PAGE], page(1000 + step), 'private')
                second[:PAGE] = page(1)
                check_equal(a[0], page(1), 'first')
            private[:PAGE] = page(7)
            check_equal(a[0], page(1), 'a private write seen by the file')
            private.close()
            second.close()


def test_split_pages_get_no_twins(bed):
    """what was split, or waited for a twin, is merged when it is asked for"""
    with bed.mount() as mount:
        with mount.file('a', 4) as a, mount.file('b', 4) as b:
            for n in range(4):
                a[n] = b[n] = page(n + 1)
            pages = [(n, n + 1) for n in range(4)]
            check_equal(a.merge(*pages), ['indexed'] * 4, 'a')
            check_equal(b.merge(*pages[:2]), ['merged'] * 2, 'half of b')
            check_equal(a.split(), (2, 1 << 52), 'split of a')
            check_equal(mount['pages_unshared'], 0, 'pages_unshared')
            check_equal(b.split(), (2, 1 << 52), 'split of b')
            check_equal(b.merge(*pages), ['indexed'] * 4, 'b again')
            check_equal(a.kinds(), (4, 0, 0), 'pages of a')
            check_equal(a.merge(*pages), ['merged'] * 4, 'a again')
            check_equal([a[n] for n in range(4)], [b[n] for n in range(4)],
                        'contents')


def test_zero_pages_merge_into_one(bed):
    """a page of zeros uses no memory once merged"""
    with bed.mount() as mount, mount.file('a', 4) as a:
        for n in range(4):
            a[n] = page(1)
            a[n] = bytes(PAGE)
        check_equal(a.merge(*((n, n) for n in range(4))), ['merged'] * 4,
                    'results')
        check_equal(a.kinds(), (0, 0, 4), 'pages')
        check_equal(mount['pages_allocated'], 0, 'pages_allocated')
        check_equal(a[2], bytes(PAGE), 'a page')
        a[2] = page(2)
        check_equal(a[2], page(2), 'a page that was written')
        check_equal(a[1], bytes(PAGE), 'another')
        check_equal(a.split(), (3, EVERYTHING), 'split')
        check_equal(a.kinds(), (4, 0, 0), 'pages')


def test_hole_read_allocates_nothing(bed):
    """a read of a hole uses no memory, and a write is seen after it"""
    with bed.mount() as mount, mount.file('a', 1 << 20) as a:
        second = mmap.mmap(a.fd, PAGE)
        for n in range(0, 1 << 20, 4099):
            check_equal(a[n], bytes(PAGE), f'page {n}')
        check_equal(second[:PAGE], bytes(PAGE), 'second mapping')
        check_equal(os.pread(a.fd, PAGE, 17 * PAGE), bytes(PAGE), 'read(2)')
        check_equal(mount['pages_allocated'], 0, 'pages_allocated')
        a[0] = page(1)
        check_equal(second[:PAGE], page(1), 'second mapping')
        second.close()


def test_near_identical_pages(bed):
    """pages that differ in the last byte only are not merged"""
    with bed.mount() as mount, mount.file('a', 64) as a:
        for n in range(64):
            a[n] = bytes([7]) * (PAGE - 1) + bytes([n])
        a.collect()
        results = a.merge(*((n, 1) for n in range(64)))
        check_equal(results.count('merged'), 0, 'merged')
        check_equal(results.count('indexed'), 8, 'indexed of one digest')
        for n in range(64):
            check_equal(a[n][-1], n, f'last byte of page {n}')


def test_every_byte_counts(bed):
    """pages that differ in one byte, wherever it is, are not merged"""
    with (bed.mount() as mount, mount.file('a', 1) as a,
          mount.file('b', PAGE) as b):
        for way, base in itertools.product('NY', (page(1), bytes(PAGE))):
            VECTORS.write_text(way)
            a[0] = base
            a.merge((0, 1))
            for n in range(PAGE):
                b[n] = base[:n] + bytes([base[n] ^ 0x80]) + base[n + 1:]
            results = b.merge(*((n, 1) for n in range(PAGE)))
            check_equal(results.count('merged'), 0, 'merged')
            for n in range(PAGE):
                check_equal(b[n][n], base[n] ^ 0x80, f'byte {n} of page {n}')


def test_digests_may_lie(bed):
    """where nothing was written, digests are believed, but for merging"""
    with (bed.mount() as mount, mount.file('a', 3) as a,
          mount.file('b', 5) as b):
        for n in range(3):
            a[n] = page(n)
        for n in range(5):
            b[n] = page(n % 4 + 1)
        for file in a, b:
            file.collect()
        check_equal(a.merge((0, 9), (1, 9), (2, 9)),
                    ['merged', 'indexed', 'indexed'], 'a page of zeros, two')
        # Twins of pages of a, two that have none, and one of b's first page.
        check_equal(b.merge(*((n, 9) for n in range(5))),
                    ['merged', 'merged', 'indexed', 'indexed', 'merged'],
                    'pages of b')
        for n in range(5):
            check_equal(b[n], page(n % 4 + 1), f'page {n} of b')
        # One that was written since has been given another digest.
        a[0] = page(3)
        check_equal(a.merge((0, 9)), ['merged'], 'a page that was written')
        b[2] = page(7)
        check_equal(b.merge((2, 9)), ['changed'], 'a page that has changed')
        check_equal((a[0], b[2]), (page(3), page(7)), 'pages')


def test_collect_reports_every_write(bed):
    """what was written is reported once, however it was written"""
    with bed.mount() as mount, mount.file('a', 64) as a:
        check_equal(a.collect()[0], [], 'an empty file')
        a[3] = a[4] = a[9] = page(1)
        check_equal(a.collect()[0], [(3, 5), (9, 10)], 'first writes')
        check_equal(a.collect()[0], [], 'nothing written')
        a[4] = page(2)
        os.pwrite(a.fd, b'x' * (PAGE + 1), 20 * PAGE)
        second = mmap.mmap(a.fd, 64 * PAGE)
        second[9 * PAGE] = 1
        check_equal(a.collect()[0], [(4, 5), (9, 10), (20, 22)], 'writes')
        a.collect()
        second[9 * PAGE] = 2
        a[9] = page(3)
        check_equal(a.collect()[0], [(9, 10)], 'two mappings')
        second.close()


def test_collect_reaches_each_mapping(bed):
    """a mapping that can't write keeps no write of another from being seen"""
    with bed.mount() as mount, mount.file('a', 4) as a:
        a[0] = page(1)
        readable = os.open(mount.path / 'a', os.O_RDONLY)
        others = (mmap.mmap(a.fd, 4 * PAGE, mmap.MAP_PRIVATE),
                  mmap.mmap(readable, 4 * PAGE, mmap.MAP_SHARED,
                            mmap.PROT_READ))
        # The kernel finds it behind them.
        last = mmap.mmap(a.fd, 4 * PAGE)
        for number in range(2, 5):
            last[:PAGE] = page(number)
            check_equal(a.collect()[0], [(0, 1)], f'write {number}')
            check_equal(a.collect()[0], [], f'after write {number}')
        for other in others:
            check(other[:PAGE] == last[:PAGE], 'it shows an old page')
            other.close()
            last[:PAGE] = page(5)
            check_equal(a.collect()[0], [(0, 1)], 'without one')
        last.close()
        os.close(readable)


def test_collect_peek_and_restart(bed):
    """to peek reports again and again; to restart, all pages once more"""
    with bed.mount() as mount, mount.file('a', 64) as a:
        a[3] = a[5] = page(1)
        for _ in range(2):
            check_equal(a.collect(flags=ksmfs.COLLECT_PEEK)[0],
                        [(3, 4), (5, 6)], 'peeked')
        check_equal(a.collect(4, 64)[0], [(5, 6)], 'collected')
        check_equal(a.collect(flags=ksmfs.COLLECT_PEEK)[0], [(3, 4)],
                    'peeked')
        check_equal(a.collect(flags=ksmfs.COLLECT_RESTART, most=0)[0], [],
                    'restarted')
        check_equal(a.collect()[0], [(3, 4), (5, 6)], 'all')


def test_collect_full_output(bed):
    """with no room for all, only what is reported is taken as seen"""
    with bed.mount() as mount, mount.file('a', 64) as a:
        for n in range(0, 64, 2):
            a[n] = page(n)
        seen, at = [], 0
        while at < 64:
            ranges, at = a.collect(at, 64, most=5)
            check(len(ranges) <= 5, f'{len(ranges)} ranges')
            seen += ranges
        check_equal(seen, [(n, n + 1) for n in range(0, 64, 2)], 'ranges')
        a[0] = a[62] = page(1)
        check_equal(a.collect(0, 64, most=1), ([(0, 1)], 62), 'the first')
        check_equal(a.collect(0, 64, most=1), ([(62, 63)], 64), 'the last')


def test_collect_one_collector(bed):
    """a second collector is refused, and starts anew after the first"""
    with bed.mount() as mount:
        with mount.file('a', 4) as a:
            a[0] = page(1)
            check_equal(a.collect()[0], [(0, 1)], 'first')
            with mount.file('a') as other:
                try:
                    other.collect()
                    check(False, 'two collectors')
                except OSError as error:
                    check_equal(error.errno, errno.EBUSY, 'errno')
                a.close()
                check_equal(other.collect()[0], [(0, 1)], 'the next one')


def test_punch_and_truncate(bed):
    """holes and a shorter file free their pages, and read as zeros"""
    with bed.mount() as mount:
        with contextlib.ExitStack() as stack:
            a, b = map(stack.enter_context, two_files(mount))
            second = mmap.mmap(a.fd, 4 * PAGE)
            check_equal(second[PAGE:2 * PAGE], page(2), 'mapped')
            a.punch(1, 2)
            check_equal(a[1], bytes(PAGE), 'the hole')
            check_equal(second[PAGE:2 * PAGE], bytes(PAGE), 'mapped hole')
            check_equal(b[1], page(2), 'the other file')
            second.close()
            a.map.close()
            os.ftruncate(a.fd, 2 * PAGE + 100)
            os.ftruncate(a.fd, 4 * PAGE)
            check_equal(os.pread(a.fd, 2 * PAGE, 2 * PAGE),
                        page(3)[:100] + bytes(2 * PAGE - 100), 'the tail')
            check_equal(a.kinds(), (1, 1, 0), 'pages')
            check_equal([b[n] for n in range(4)],
                        [page(n + 1) for n in range(4)], 'the other file')


def test_bad_arguments(bed):
    """wrong arguments are refused as the interface says"""
    def refused(number, fd, argument):
        try:
            ksmfs.ioctl(fd, argument)
            check(False, f'not refused: {argument}')
        except OSError as error:
            check_equal(error.errno, number, f'errno of {argument}')

    with bed.mount() as mount, mount.file('a', 1) as a:
        refused(errno.EINVAL, a.fd, ksmfs.Stat(size=4))
        refused(errno.E2BIG, a.fd, ksmfs.Stat(size=(1 << 32) - 1))
        refused(errno.EINVAL, a.fd, ksmfs.Stat(flags=1))
        refused(errno.EINVAL, a.fd, ksmfs.Collect(end=1))
        refused(errno.EINVAL, a.fd, ksmfs.Collect(end=1, max=1, flags=3))
        refused(errno.EINVAL, a.fd, ksmfs.Collect(start=2, end=1, max=1))
        refused(errno.EINVAL, a.fd, ksmfs.Split(end=1))
        refused(errno.EFAULT, a.fd, ksmfs.Merge(entries=8, count=1))
        readable = os.open(mount.path / 'a', os.O_RDONLY)
        refused(errno.EBADF, readable, ksmfs.Split(end=1, max=1))
        ksmfs.ioctl(readable, ksmfs.Stat())
        os.close(readable)


def test_freed_is_what_was_allocated(bed):
    """files that are gone leave nothing behind"""
    with bed.mount() as mount:
        files = two_files(mount)
        temporary = os.open(mount.path, os.O_TMPFILE | os.O_RDWR)
        os.pwrite(temporary, page(1), 0)
        for file in files:
            os.unlink(mount.path / 'ab'[files.index(file)])
        check_equal(files[0][0], page(1), 'an unlinked file')
        for file in files:
            file.close()
        os.close(temporary)
        ksmfs.check_empty(mount)


def test_mounts_are_domains(bed):
    """pages of two mounts are never merged"""
    with bed.mount(name='one') as one, bed.mount(name='two') as two:
        with one.file('a', 1) as a, two.file('a', 1) as b:
            a[0] = b[0] = page(1)
            check_equal(a.merge((0, 1)), ['indexed'], 'one')
            check_equal(b.merge((0, 1)), ['indexed'], 'two')


def test_limit_of_shared_pages(bed):
    """max_kernel_pages bounds shared pages, and no more"""
    with bed.mount('max_kernel_pages=1') as mount:
        with mount.file('a', 4) as a, mount.file('b', 4) as b:
            for n in range(4):
                a[n] = b[n] = page(n % 2 + 1)
            check_equal(a.merge((0, 1), (1, 2)), ['indexed'] * 2, 'first')
            check_equal(b.merge((0, 1), (1, 2), (2, 1)),
                        ['merged', 'limit', 'merged'], 'results')
            mount['max_kernel_pages'] = 0
            check_equal(b.merge((1, 2)), ['merged'], 'unlimited')


def test_limit_of_size(bed):
    """size= counts pages as if unmerged: breaking a share never fails"""
    with bed.mount(f'size={8 * PAGE}') as mount:
        with contextlib.ExitStack() as stack:
            a, b = map(stack.enter_context, two_files(mount))
            check_equal(os.statvfs(mount.path).f_bfree, 4, 'free blocks')
            check_equal(os.statvfs(mount.path).f_bavail, 0, 'available')
            with mount.file('c', 1) as c:
                try:
                    os.pwrite(c.fd, b'x', 0)
                    check(False, 'a page beyond size=')
                except OSError as error:
                    check_equal(error.errno, errno.ENOSPC, 'errno')
            for n in range(4):
                a[n] = page(200 + n)
            check_equal([a[n] for n in range(4)],
                        [page(200 + n) for n in range(4)], 'broken shares')


def test_remount(bed):
    """a remount changes the limits, and nothing else"""
    with bed.mount(f'size={8 * PAGE}') as mount:
        with mount.file('a', 8) as a:
            for n in range(6):
                a[n] = page(n)
            mount.remount(f'size={7 * PAGE},max_kernel_pages=5')
            check_equal(os.statvfs(mount.path).f_blocks, 7, 'blocks')
            check_equal(mount['max_kernel_pages'], 5, 'max_kernel_pages')
            for options in (f'size={5 * PAGE}', 'overcommit=1',
                            'merge_across_nodes=0', 'mode=0777', 'uid=5',
                            'size=much'):
                check(not mount.remount(options), f'{options} was taken')
            check_equal(os.statvfs(mount.path).f_blocks, 7, 'blocks')
        check(mount.remount('ro'), 'ro was refused')
        try:
            mount.file('b')
            check(False, 'a file was made')
        except OSError as error:
            check_equal(error.errno, errno.EROFS, 'errno')


def test_memory_rises_by_what_is_merged(bed):
    """the host's free memory rises as the counters say"""
    def available():
        text = Path('/proc/meminfo').read_text()
        return int(text.split('MemAvailable:')[1].split()[0]) * 1024

    # What a processor keeps for itself does not count as free: keep little.
    Path('/proc/sys/vm/percpu_pagelist_high_fraction').write_text('1000000')
    pages = 32768
    with bed.mount() as mount:
        with mount.file('a', pages) as a, mount.file('b', pages) as b:
            for file in (a, b):
                for n in range(pages):
                    file[n] = page(n + 1)
            before = wait_steady(available, 2, tolerance=64 * PAGE)
            for file in (a, b):
                for at in range(0, pages, 1024):
                    file.merge(*((n, n) for n in range(at, at + 1024)))
            after = wait_steady(available, 2, tolerance=64 * PAGE)
            gained = (after - before) / PAGE
            check_equal(mount['pages_sharing'], pages, 'pages_sharing')
            print(f'# {gained:.0f} pages gained of {pages}')
            check(abs(gained - pages) < pages * 0.02,
                  f'{gained} pages, not {pages}')


if __name__ == '__main__':
    cases.main('Files of ksmfs.', globals(), ksmfs.Bed)
