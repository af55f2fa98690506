#!/usr/bin/env python3
#
# ksm-census on guests that are QEMUs, and on a host whose ksmd merges
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-census.py [OPTION]... [CASE]...
#
# All else of it is in test-ksm-census.py.  Those of a stock QEMU are in
# tests/kvm/test-kvm-stock.py.

import json
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases  # noqa: E402
from ksmtest.checks import Skipped, check, check_equal  # noqa: E402
from ksmtest.ksmhost import ksmd  # noqa: E402
from ksmtest.programs import BUILT  # noqa: E402
from ksmtest.qtest import BASE, HUGE, MEMORY_MIB, PAGE, QTest  # noqa: E402
from ksmtest.vm import VM  # noqa: E402

MIB = 1 << 20
REGION_PAGES = HUGE // PAGE
# Default of huge-split-threshold.
THRESHOLD = 32


def census(*guests, options=()):
    process = subprocess.run(
        [BUILT['ksm-census'], '--json', *options,
         *(str(guest.pid) for guest in guests)], check=True,
        stdout=subprocess.PIPE)
    return json.loads(process.stdout)


def guest(bed, name):
    """Its engine marks nothing by itself, and nor does QEMU."""
    return bed.enter(QTest(bed.arguments.qemu, bed.directory, name,
                           ksm=',run=off'))


def growth(before, after):
    return {name: after['private']['saved'][name] - count
            for name, count in before['private']['saved'].items()}


def test_twins(bed):
    """two guests: what was written is found, of each kind"""
    guests = [guest(bed, name) for name in ('one', 'two')]
    for each in guests:
        # So that huge pages come with contents of their own.
        each.fill(os.urandom(4 * HUGE))
    before = census(*guests)
    both, alike = os.urandom(300 * PAGE), os.urandom(PAGE)
    guests[0].put(0, both)
    guests[1].put(700, both)
    guests[0].put(600, alike * 51)
    guests[1].put(1100, bytes(70 * PAGE))
    after = census(*guests)
    check_equal(growth(before, after),
                {'pages': 420, 'zero_pages': 70, 'within_pages': 50,
                 'between_pages': 300, 'merged_pages': 0}, 'more is saved')
    for each, found in zip(guests, after['guests']):
        check_equal((found['pid'], found['name']), (each.pid, each.name),
                    'guest')
        check_equal(max(mapping['pages'] for mapping in found['mappings']),
                    MEMORY_MIB * MIB // PAGE, 'pages of its RAM')
    twins = [max(found['mappings'], key=lambda mapping: mapping['pages'])
             ['twins_of_parts'] for found in after['guests']]
    # A part is 2 MiB; the guests write from BASE on.
    first = BASE // HUGE
    check_equal([parts[first:first + 4] for parts in twins],
                [[300, 51, 0, 0], [0, 300, 70, 0]], 'twins of parts')


def test_holes(bed):
    """a guest has as much in memory as before, in private and shared memory"""
    private = guest(bed, 'private')
    private.put_parts((page, 0, os.urandom(PAGE))
                      for page in range(0, 2 * REGION_PAGES, 7))
    shared = bed.enter(VM(
        bed.arguments.qemu, bed.directory, 'shared', accel='tcg',
        memory_mib=64, machine='pc,memory-backend=ram', extra=(
            '-S', '-object', 'memory-backend-memfd,id=ram,size=64M')))
    before = private.resident_pages(), shmem_kib(shared)
    found = census(private, shared)
    check_equal((private.resident_pages(), shmem_kib(shared)), before,
                'in memory')
    check(before[0] > 2 * REGION_PAGES // 7, before)
    mappings = found['guests'][1]['mappings']
    check_equal([mapping['pages'] for mapping in mappings
                 if mapping['memory'] == 'shared'], [64 * MIB // PAGE],
                'mappings that are shared')


def shmem_kib(each):
    """What a process has of shared memory."""
    with open(f'/proc/{each.pid}/status') as lines:
        return next(line for line in lines if line.startswith('RssShmem'))


def by_engine(found):
    return found['private']['saved_by_engine']['pages']


def test_huge_pages(bed):
    """with few twins a huge page stays whole, and saves nothing"""
    each = guest(bed, 'huge')
    each.fill(os.urandom(4 * HUGE))
    before = census(each)
    if before['guests'][0]['huge_bytes'] < 4 * HUGE:
        raise Skipped('the kernel gives no huge pages')
    if 'huge_pages' not in before['private']:
        raise Skipped('Linux before 6.7 does not tell what is huge')
    alike = os.urandom(PAGE)
    each.put(0, alike * (THRESHOLD - 1))
    few = census(each)
    check_equal(growth(before, few)['pages'], THRESHOLD - 2, 'saved by all')
    check_equal(by_engine(few), by_engine(before), 'saved by the engine')
    # So do zeros.
    each.put(2 * REGION_PAGES, bytes((THRESHOLD - 1) * PAGE))
    zeros = census(each)
    check_equal(growth(few, zeros)['zero_pages'], THRESHOLD - 1,
                'zeros saved by all')
    check_equal(by_engine(zeros), by_engine(before), 'saved by the engine')
    # One more: and those of the other huge page have their twins in it.
    each.put(REGION_PAGES, alike * (THRESHOLD + 10))
    many = census(each)
    check_equal(growth(zeros, many)['pages'], THRESHOLD + 10,
                'saved by all')
    check_equal(by_engine(many) - by_engine(before), THRESHOLD + 9,
                'saved by the engine')
    check_equal(before['private']['huge_pages_whole']
                - many['private']['huge_pages_whole'], 1, 'split')
    lower = census(each,
                   options=[f'--huge-split-threshold={THRESHOLD - 1}'])
    check_equal(by_engine(lower) - by_engine(before), 3 * THRESHOLD + 7,
                'with a lower threshold')


def test_merged(bed):
    """what ksmd has merged stays so, and is told"""
    each = bed.enter(QTest(bed.arguments.qemu, bed.directory))
    each.fill(os.urandom(PAGE) * 100 + os.urandom(100 * PAGE))
    with ksmd():
        each.wait_frames(range(100), 1)
    each.set_ksm('run', False)
    found = census(each)['private']['saved']
    check_equal(len(each.frames_of(range(100))), 1, 'frames afterwards')
    check_equal(found['within_pages'], 99, 'saved')
    check(found['merged_pages'] >= 99, f'{found}')
    check_equal(census(each)['private']['saved'], found, 'the next time')


if __name__ == '__main__':
    cases.main('What ksm-census finds in QEMUs.', globals())
