#!/usr/bin/env python3
#
# The engine where the kernel, or the user's rights, lack something
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-degraded.py [OPTION]... [CASE]...
#
# query-ksm has to name what is missing, what can be done has to be done all
# the same, and no byte of guest memory may change.

import os
import pwd
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, restricted  # noqa: E402
from ksmtest.checks import check, check_equal, wait_for  # noqa: E402
from ksmtest.ksmhost import ksmd  # noqa: E402
from ksmtest.ksmtuned import Ksmtuned  # noqa: E402
from ksmtest.qtest import NO_RENDEZVOUS, PAGE, QTest  # noqa: E402

# Pages of two kinds, so many of each.
ALIKE = 32
TWINS = 2 * ALIKE
MANY = 2000
UNIQUE = 700


def guest_on(bed, *restrictions, ordinary=False, **options):
    """A guest on a host with RESTRICTIONS; ORDINARY: not as root."""
    directory = bed.directory
    if ordinary:
        directory, user = restricted.ordinary_user(bed.directory)
        restrictions = (*restrictions, user)
    return QTest(bed.arguments.qemu, directory,
                 command=restricted.command(*restrictions), **options)


def fill(guest):
    """Some pages with twins, and many without."""
    guest.fill(os.urandom(PAGE) * ALIKE + os.urandom(PAGE) * ALIKE
               + os.urandom(PAGE * UNIQUE))
    guest.wait_figure('pages-twins', TWINS)


def check_merging(guest):
    """Twins are found, merged and written again, and nothing is lost."""
    fill(guest)
    with ksmd():
        guest.wait_frames(range(TWINS), 2)
        sharing = guest.ksm()['pages-sharing']
        check(sharing >= TWINS, f'pages-sharing is {sharing}')
        guest.check_contents()
        # The first write to each of them is to a merged page.
        guest.put(0, os.urandom(PAGE * ALIKE))
        guest.check_contents()
        guest.wait_figure('pages-twins', ALIKE)
        guest.put(ALIKE, os.urandom(PAGE))
        guest.wait_figure('pages-twins', ALIKE - 1)
        guest.check_contents()
        check_equal(len(guest.frames_of(range(TWINS))), ALIKE + 2, 'frames')


def check_full_walk(guest):
    """Memory that can't be tracked is read again, but never brought in."""
    resident = guest.resident_pages()
    check_merging(guest)
    check_equal(guest.figures()['pages-tracked'], 0, 'pages-tracked')
    guest.read_all()
    before = guest.figures()['pages-hashed']
    guest.read_all()
    hashed = guest.figures()['pages-hashed'] - before
    check(hashed >= UNIQUE, f'{hashed} pages were read again')
    # What was written may have come with the rest of a huge page.
    brought = guest.resident_pages() - resident
    check(brought <= 1024, f'{brought} pages are resident that were not')


def test_no_pagemap_scan(bed):
    """before Linux 6.7 all memory is walked, and twins are merged"""
    guest = bed.enter(guest_on(bed, '--no-pagemap-scan'))
    message = guest.limits().get('no-pagemap-scan', '')
    check('PAGEMAP_SCAN' in message and '6.7' in message, f'limit: {message}')
    check_full_walk(guest)


def test_no_userfaultfd(bed):
    """without userfaultfd all memory is walked, and twins are merged"""
    for ordinary in False, True:
        with guest_on(bed, '--no-userfaultfd', ordinary=ordinary) as guest:
            message = guest.limits().get('no-pagemap-scan', '')
            check("can't open a userfaultfd: permit it" in message
                  and 'not permitted' in message, f'limit: {message}')
            check_full_walk(guest)


def test_ordinary_user(bed):
    """a QEMU of an ordinary user lacks nothing"""
    guest = bed.enter(guest_on(bed, ordinary=True))
    check_equal(os.stat(f'/proc/{guest.pid}').st_uid,
                pwd.getpwnam(restricted.ORDINARY_USER).pw_uid, "QEMU's user")
    check_equal(list(guest.limits()), ['no-rendezvous'], 'limits')
    check_merging(guest)
    check(guest.figures()['pages-tracked'] > 0, 'nothing is tracked')


def check_no_ksm(guest):
    message = guest.limits().get('no-ksm', '')
    for words in 'no samepage merging', 'CONFIG_KSM', 'backend=null':
        check(words in message, f'limit: {message}')
    fill(guest)
    guest.passes(20)
    info = guest.ksm()
    check_equal(info['figures']['pages-marked'], 0, 'pages-marked')
    # It can't know these: absent is not 0.
    for name in 'pages-sharing', 'bytes-saved':
        check(name not in info, f'{name} is {info.get(name)}')
    guest.check_contents()


def test_no_ksm(bed):
    """without KSM twins are counted, none is marked, and the guest runs on"""
    for backend in '', ',backend=ksmd':
        with guest_on(bed, '--no-ksm', ksm=backend) as guest:
            check_no_ksm(guest)
            # What undoes merging has nothing to do, and ends.
            guest.execute('ksm-unmerge')
            guest.set_ksm('run', True)
            guest.passes(2)
            # And an object that comes when RAM is in use already.
            guest.execute('object-del', {'id': 'ksm0'})
            guest.execute('object-add', {
                'qom-type': 'ksm', 'id': 'ksm0', 'sleep-millisecs': 10,
                'max-cpu-percent': 100,
                'rendezvous': {'type': 'unix', 'path': NO_RENDEZVOUS}})
            check_no_ksm(guest)
            guest.check()


def test_no_ksm_null(bed):
    """without KSM backend=null has nothing to complain of"""
    guest = bed.enter(guest_on(bed, '--no-ksm', ksm=',backend=null'))
    check_equal(list(guest.limits()), ['no-rendezvous'], 'limits')
    fill(guest)
    guest.put(0, os.urandom(PAGE))
    guest.wait_figure('pages-twins', TWINS - 1)
    guest.check_contents()
    check_equal(guest.log.read_text(), '', 'what QEMU said')


class OrdinaryKsmtuned(Ksmtuned):
    """A ksmtuned that may not change /sys/kernel/mm/ksm."""

    def __init__(self, bed):
        directory, user = restricted.ordinary_user(bed.directory)
        super().__init__(bed.arguments.ksmtuned, directory,
                         bed.directory / 'ksmtuned.log')
        self._arguments = [*restricted.command(user), *self._arguments]


def test_ordinary_ksmtuned(bed):
    """a ksmtuned that may not drive ksmd says so, and serves engines"""
    ksmtuned = bed.enter(OrdinaryKsmtuned(bed))
    said = (bed.directory / 'ksmtuned.log').read_text()
    check('/sys/kernel/mm/ksm' in said and 'run ksmtuned as root' in said,
          f'ksmtuned said: {said}')
    # The twin of each page is in the other guest, and they are enough to wake
    # ksmd for.
    shared = os.urandom(PAGE * MANY)
    one = bed.enter(guest_on(bed, name='one', rendezvous=ksmtuned.socket))
    with guest_on(bed, name='other', rendezvous=ksmtuned.socket) as other:
        one.fill(shared)
        one.passes(5)
        check_equal(one.figures()['pages-twins'], 0, 'pages-twins of one guest')
        other.fill(shared)
        for guest in one, other:
            guest.wait_figure('pages-twins', MANY)
            check_equal(guest.limits(), {}, 'limits')
        wait_for(lambda: ksmtuned.stats().get('demand_waiting_pages', 0)
                 >= 2 * MANY, 'ksmtuned to hear of all marks')
        # Marks are good for whoever else runs ksmd.
        with ksmd():
            one.wait(lambda: one.frames_of(range(MANY))
                     == other.frames_of(range(MANY)), 'all to be merged')
            for guest in one, other:
                guest.check_contents()
    one.wait_figure('pages-twins', 0)
    one.check_contents()
    ksmtuned.check()


if __name__ == '__main__':
    cases.main('Run engines on a host that lacks something.', globals())
