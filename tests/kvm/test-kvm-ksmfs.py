#!/usr/bin/env python3
#
# Guests under real KVM whose RAM is on ksmfs
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host tests/kvm/test-kvm-ksmfs.py [CASE]...

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, census, ksmfs, linux  # noqa: E402
from ksmtest.checks import (  # noqa: E402
    check, check_equal, wait_for, wait_steady)
from ksmtest.linux import ram_on_ksmfs  # noqa: E402

GUESTS = 4
MERGED_PAGES = 1000


def wait_merged(guests, pages=MERGED_PAGES):
    for guest in guests:
        ram_on_ksmfs(guest)
        guest.wait_merged(pages)


def test_guests_are_merged(bed):
    """guests on ksmfs are merged while they verify what they write"""
    # The module finds the twins.
    os.kill(bed.ksmtuned.pid, signal.SIGTERM)
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
    check_equal(ram_on_ksmfs(guests[0])['pages-sharing'], 0,
                'pages after a while')
    guests[0].set_ksm('run', True)
    wait_merged(guests)
    check_equal(guests[0].ksm()['limits'], [], 'limits')


def set_merge(guest, value):
    guest.execute('qom-set', {'path': '/objects/ram', 'property': 'merge',
                              'value': value})


def test_merge_off(bed):
    """merge=off gives a guest pages of its own at once, merge=on merges them"""
    guests = bed.filled(2)
    wait_merged(guests)
    with bed.mount.file('guest-0') as file:
        set_merge(guests[0], False)
        check_equal(file.kinds()[1:], (0, 0), 'merged pages')
        scans = guests[1].ksm()['full-scans']
        wait_for(lambda: guests[1].ksm()['full-scans'] > scans + 5, 'passes')
        check_equal(file.kinds()[1:], (0, 0), 'merged pages after a while')
    set_merge(guests[0], True)
    wait_merged(guests)


def test_limit_is_raised(bed):
    """what max_kernel_pages kept from being merged is merged once it may be"""
    bed.mount['max_kernel_pages'] = 10
    guests = bed.filled(2)
    wait_for(lambda: ram_on_ksmfs(guests[1])['merge-results']['limit'] >
             MERGED_PAGES, 'pages to be refused')
    # Zero pages are not limited, and not in these.
    check(bed.mount['pages_shared'] <= 10, 'too many are shared')
    check(bed.mount['pages_sharing'] < MERGED_PAGES, 'too many are merged')
    bed.mount['max_kernel_pages'] = 0

    def merged():
        guests[1].execute('ksm-scan')
        return bed.mount['pages_sharing'] > MERGED_PAGES
    wait_for(merged, 'them to be merged')


def test_four_guests_converge(bed):
    """nearly all pages that are alike in four guests are merged"""
    guests = bed.filled(GUESTS)
    wait_merged(guests)
    # Until no more pages are merged: some were written often, and have to rest.
    wait_steady(lambda: bed.mount['pages_sharing'], 10, tolerance=16)
    print(f"# {bed.mount['pages_used']} pages used, "
          f"{bed.mount['pages_allocated']} allocated, "
          f"{bed.mount['ksm_zero_pages']} zero")
    for guest in guests:
        print(f"# {guest.name}: {ram_on_ksmfs(guest)['merge-results']}")
    census.check_merged(guests, census.of_mount(bed.mount),
                        lambda: bed.mount['pages_sharing'])


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
