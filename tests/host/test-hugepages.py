#!/usr/bin/env python3
#
# Transparent huge pages under the engine
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-hugepages.py [OPTION]... [CASE]...
#
# Huge pages stay whole where nothing merges, and new ones can be made: in
# memory that the engine only reads, and in what it has given back.

import contextlib
import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases  # noqa: E402
from ksmtest.checks import (  # noqa: E402
    Skipped, check, check_equal, linux_version)
from ksmtest.ksmhost import ksmd  # noqa: E402
from ksmtest.qtest import BASE, HUGE, MEMORY_MIB, PAGE, QTest  # noqa: E402

REGIONS = 8
REGION_PAGES = HUGE // PAGE
REGION_KIB = HUGE >> 10
# Default of huge-split-threshold.
THRESHOLD = 32
# Fewer than KSM's max_page_sharing.
ALIKE = 128

THP = Path('/sys/kernel/mm/transparent_hugepage')
KHUGEPAGED = {'scan_sleep_millisecs': 10, 'alloc_sleep_millisecs': 10,
              'pages_to_scan': 65536}

PROCESS_MADVISE = 440
MADV_COLD, MADV_COLLAPSE = 20, 25


class IOVec(ctypes.Structure):
    _fields_ = [('base', ctypes.c_void_p), ('length', ctypes.c_size_t)]


_libc = ctypes.CDLL(None, use_errno=True)


class Guest(QTest):
    """It begins with REGIONS huge pages, where no two pages are alike."""

    def __init__(self, bed):
        super().__init__(bed.arguments.qemu, bed.directory, ksm=',run=off')

    def start(self):
        super().start()
        if 'no-pagemap-scan' in self.limits():
            raise Skipped('the engine can\'t tell huge pages before Linux 6.7')
        before = self.huge_kib()
        self.fill(os.urandom(REGIONS * HUGE))
        self.whole = self.huge_kib()
        if self.whole != before + REGIONS * REGION_KIB:
            raise Skipped(f'of {REGIONS * REGION_KIB} KiB only '
                          f'{self.whole - before} came as huge pages: '
                          f'{THP}/enabled must not be never')

    def mappings(self):
        """Of its RAM: how many, and KiB of huge pages in them."""
        start = self.ram
        end = start + (MEMORY_MIB << 20)
        count = huge = 0
        with open(f'/proc/{self.pid}/smaps') as smaps:
            for line in smaps:
                head = re.match(r'([0-9a-f]+)-([0-9a-f]+) ', line)
                if head:
                    inside = int(head[1], 16) < end and int(head[2], 16) > start
                    count += inside
                elif inside and line.startswith('AnonHugePages:'):
                    huge += int(line.split()[1])
        return count, huge

    def huge_kib(self):
        return self.mappings()[1]

    def check_whole(self, after):
        check_equal(self.huge_kib(), self.whole, f'AnonHugePages {after}')

    def check_unarmed(self):
        figures = self.figures()
        for name in 'pages-tracked', 'pages-marked':
            check_equal(figures[name], 0, name)

    def advise(self, region, size, advice):
        """As madvise(2) in QEMU: the error's text, or None."""
        vector = IOVec(self.ram + BASE + region * HUGE, size)
        process = os.pidfd_open(self.pid)
        try:
            done = _libc.syscall(PROCESS_MADVISE, process,
                                 ctypes.byref(vector), ctypes.c_ulong(1),
                                 advice, 0)
        finally:
            os.close(process)
        return os.strerror(ctypes.get_errno()) if done < 0 else None

    def split(self):
        """Splits its huge pages: what is advised in part has to be."""
        for region in range(REGIONS):
            error = self.advise(region, PAGE, MADV_COLD)
            check(not error, f'MADV_COLD: {error}')
        check_equal(self.huge_kib(), self.whole - REGIONS * REGION_KIB,
                    'AnonHugePages after MADV_COLD')

    def collapse(self, region):
        error = self.advise(region, HUGE, MADV_COLLAPSE)
        check(not error, f'MADV_COLLAPSE of region {region}: {error}')

    def wait_known(self):
        """Until the engine has read it all twice, and submitted it."""
        pages = REGIONS * REGION_PAGES
        self.wait(lambda: self.figures()['pages-submitted'] >= pages,
                  f'{pages} pages to be submitted')


@contextlib.contextmanager
def khugepaged():
    """It runs fast meanwhile; settings are put back even if we are killed."""
    directory = THP / 'khugepaged'
    restore = 'trap "" INT TERM HUP; read line; cd "$0"'
    for name in KHUGEPAGED:
        restore += f'; echo {int((directory / name).read_text())} > {name}'
    keeper = subprocess.Popen(['sh', '-c', restore, directory],
                              stdin=subprocess.PIPE, start_new_session=True)
    try:
        for name, value in KHUGEPAGED.items():
            (directory / name).write_text(str(value))
        yield
    finally:
        keeper.stdin.close()
        keeper.wait()


def test_no_twins(bed):
    """a guest without twins keeps its huge pages"""
    guest = bed.enter(Guest(bed))
    guest.set_ksm('run', True)
    with ksmd():
        guest.wait_known()
        guest.read_all()
        guest.check_whole('after passes')
        guest.check_unarmed()
        # Too few twins to be worth a huge page.
        twin = os.urandom(PAGE)
        for page in range(0, THRESHOLD * 2 - 2, 2):
            guest.put(page, twin)
        guest.wait_figure('pages-twins', THRESHOLD - 1)
        guest.read_all()
        guest.check_whole('with few twins')
        guest.check_unarmed()
        # One more, and it is split: that one alone.
        guest.put(THRESHOLD * 2 - 2, twin)
        guest.wait_frames(range(0, THRESHOLD * 2, 2), 1)
        check_equal(guest.huge_kib(), guest.whole - REGION_KIB,
                    'AnonHugePages with one region merged')
        guest.check_contents()


def test_zeros(bed):
    """zero pages that a split leaves to the kernel are not marked"""
    if linux_version() < (6, 12):
        raise Skipped('the kernel leaves zero pages of what it splits alone '
                      'before Linux 6.12')
    guest = bed.enter(Guest(bed))
    guest.put(0, os.urandom(PAGE) * ALIKE)
    guest.put(ALIKE, bytes(HUGE - ALIKE * PAGE))
    guest.set_ksm('run', True)
    with ksmd():
        guest.wait_frames(range(ALIKE), 1)
        # It is looked at again because of this one page.
        guest.put(0, os.urandom(PAGE))
        guest.wait_figure('pages-twins', ALIKE - 1)
        guest.read_all()
        figures = guest.figures()
        check_equal(figures['pages-zero-shared'], figures['pages-zero'],
                    'pages-zero-shared')
        check(figures['pages-marked'] <= ALIKE,
              f'{figures["pages-marked"]} pages are marked')
        guest.check_contents()


def test_collapse(bed):
    """a huge page can be made of small ones that the engine knows"""
    guest = bed.enter(Guest(bed))
    guest.split()
    guest.set_ksm('run', True)
    guest.wait_known()
    # Small pages are armed until it is known that none has a twin.
    guest.wait_figure('pages-tracked', 0)
    for region in range(REGIONS):
        guest.collapse(region)
    guest.check_whole('after MADV_COLLAPSE')
    guest.read_all()
    guest.check_whole('after more passes')
    guest.check_unarmed()
    guest.check_contents()


def test_khugepaged(bed):
    """khugepaged makes huge pages of small ones that the engine knows"""
    guest = bed.enter(Guest(bed))
    guest.split()
    guest.set_ksm('run', True)
    guest.wait_known()
    # It takes pages only that were in use lately.
    guest.check_contents()
    with khugepaged():
        guest.wait(lambda: guest.huge_kib() == guest.whole,
                   f'AnonHugePages to be {guest.whole} again')
    guest.check_unarmed()
    guest.check_contents()


def test_demoted(bed):
    """a region whose twins are gone can be a huge page again"""
    guest = bed.enter(Guest(bed))
    mappings, _ = guest.mappings()
    for page in range(0, REGION_PAGES, ALIKE):
        guest.put(page, os.urandom(PAGE) * ALIKE)
    guest.set_ksm('run', True)
    with ksmd():
        guest.wait_frames(range(REGION_PAGES), REGION_PAGES // ALIKE)
        check_equal(guest.figures()['pages-tracked'], REGION_PAGES,
                    'pages-tracked')
        check_equal(guest.huge_kib(), guest.whole - REGION_KIB,
                    'AnonHugePages with one region merged')
        guest.put(0, os.urandom(HUGE))
        guest.wait_figure('pages-tracked', 0)
        guest.check_unarmed()
        check_equal(guest.mappings(), (mappings, guest.whole - REGION_KIB),
                    'mappings and AnonHugePages')
        guest.collapse(0)
        guest.read_all()
        guest.check_whole('after MADV_COLLAPSE')
        guest.check_contents()


if __name__ == '__main__':
    cases.main('Keep, split and make huge pages under an engine.', globals())
