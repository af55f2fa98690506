#!/usr/bin/env python3
#
# Guests under real KVM whose RAM is on ksmfs
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host tests/kvm/test-kvm-ksmfs.py [CASE]...

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, census, ksmfs, linux, work  # noqa: E402
from ksmtest.checks import check, wait_for, wait_steady  # noqa: E402
from ksmtest.linux import ram_on_ksmfs  # noqa: E402

GUESTS = 4
MERGED_PAGES = 1000
# Of the identical pages that a census finds.
SHARE_MERGED = 0.95


def wait_merged(guests, pages=MERGED_PAGES):
    for guest in guests:
        ram_on_ksmfs(guest)
        guest.wait_merged(pages)


def test_guests_are_merged(bed):
    """guests on ksmfs are merged while they verify what they write"""
    guests = [bed.start(f'guest-{number}', number=number)
              for number in range(2)]
    for guest in guests:
        guest.wait_busy()
    wait_merged(guests)
    for guest in guests:
        guest.wait_more_checked()
        guest.wait_engine_works()
    guests[0].execute('ksm-unmerge')
    wait_for(lambda: ram_on_ksmfs(guests[0])['pages-sharing'] == 0,
             'all pages to be split')
    for guest in guests:
        guest.wait_more_checked()
    guests[0].set_ksm('run', True)
    wait_merged(guests)
    check(guests[1].checked() > 0, 'nothing checked')


def test_four_guests_converge(bed):
    """nearly all pages that are alike in four guests are merged"""
    guests = bed.filled(GUESTS)
    wait_merged(guests)
    # Until no more pages are merged.
    wait_steady(lambda: bed.mount['pages_sharing'], 5, tolerance=16)
    for guest in guests:
        guest.execute('stop')
    pages, alike = census.count(census.of_mount(bed.mount))
    saved = bed.mount['pages_sharing']
    print(f"# {pages} pages that are not zero, {alike} could be saved, {saved} "
          f"are; {bed.mount['pages_used']} used, "
          f"{bed.mount['pages_allocated']} allocated, "
          f"{bed.mount['ksm_zero_pages']} zero")
    for guest in guests:
        print(f"# {guest.name}: {ram_on_ksmfs(guest)['merge-results']}")
    check(saved >= SHARE_MERGED * alike,
          f'{saved} of {alike} pages are merged')
    for guest in guests:
        guest.execute('cont')
        guest.check()


def test_guest_works_on(bed):
    """a guest does nearly as much work with passes as without"""
    guest, other = bed.filled(2, workload='compare')
    other.execute('stop')
    wait_merged([guest, other])
    other.set_ksm('run', False)
    wait_steady(lambda: ram_on_ksmfs(guest)['pages-sharing'], 5, tolerance=16)
    work.check_ratios(guest)


def test_nothing_left_behind(bed):
    """a QEMU that is killed in mid-merge leaves nothing behind"""
    guests = [bed.start(f'guest-{number}', number=number)
              for number in range(2)]
    for guest in guests:
        guest.wait_busy()
    wait_merged(guests, 100)
    guests[0].kill()
    guests[1].wait_more_checked()
    guests[1].stop()
    bed.mount.unlink_all()
    ksmfs.check_empty(bed.mount)


if __name__ == '__main__':
    cases.main('Guests under KVM on ksmfs.', globals(), linux.KsmfsBed)
