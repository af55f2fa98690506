#!/usr/bin/env python3
#
# The engine and ksmd with guests that run under real KVM
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host tests/kvm/test-kvm-ksmd.py [CASE]...
#
# TCG hides what merging does to KVM's own page tables, and this machine's
# kernel may not be able to poison pages.

import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import (  # noqa: E402
    cases, census, ksmhost, life, linux, sample, work)
from ksmtest.checks import (  # noqa: E402
    Failure, check, wait_for, wait_steady)
from ksmtest.qtest import ALL_READ, FRAME, PAGE, PRESENT  # noqa: E402

GUESTS = 4
MERGED_PAGES = 1000
BALLOON_MIB = 12
POISONED_PAGES = 10
POISON = Path('/sys/kernel/debug/hwpoison/corrupt-pfn')
IDLE_SECONDS = 10


def faults_while_idle(guest):
    """How many pages KVM has to map meanwhile."""
    before = guest.kvm_figure('pf_fixed')
    time.sleep(IDLE_SECONDS)
    return guest.kvm_figure('pf_fixed') - before


def wait_merged(guests):
    for guest in guests:
        guest.wait_merged(MERGED_PAGES)


def test_guests_are_merged(bed):
    """two guests are merged while they verify what they write"""
    guests = [bed.start(f'guest-{number}', number=number)
              for number in range(2)]
    for guest in guests:
        guest.wait_busy()
    wait_merged(guests)
    for guest in guests:
        guest.wait_more_checked()
        guest.wait_engine_works()


def test_idle_guest_takes_no_faults(bed):
    """passes don't take an idle guest's pages out of KVM's tables"""
    guests = bed.filled(2)
    wait_merged(guests)
    guest = guests[0]
    guest.set_ksm('sleep-millisecs', 10)
    # Let it come to rest.
    faults_while_idle(guest)
    passes = guest.ksm()['full-scans']
    with_passes = faults_while_idle(guest)
    passes = guest.ksm()['full-scans'] - passes
    check(passes >= 10, f'{passes} passes')
    guest.set_ksm('run', False)
    without = faults_while_idle(guest)
    said = (f'{with_passes} pages mapped with {passes} passes, {without} '
            'without any')
    print(f'# {said}')
    check(with_passes <= without + passes * work.FAULTS_A_PASS, said)


# Where ksmd is slow, as it is here beside others, ksmtuned lets a few pages wait
# for ten minutes before it wakes it for them.
TRICKLE_SECONDS = 660


def wait_all_merged(bed):
    """Nobody waits for ksmd, and it merges no more."""
    wait_steady(lambda: ksmhost.read('pages_sharing'), 5, tolerance=16)
    wait_for(lambda: not bed.ksmtuned.stats().get('demand_waiting_pages', 0),
             'ksmd to have merged all', patience=TRICKLE_SECONDS)
    return wait_steady(lambda: ksmhost.read('pages_sharing'), 5, tolerance=16)


def test_four_guests_converge(bed):
    """nearly all pages that are alike in four guests are merged"""
    guests = bed.filled(GUESTS)
    wait_merged(guests)
    saved = wait_all_merged(bed)
    print(f"# {ksmhost.read('ksm_zero_pages')} zero pages")
    census.check_merged(guests, census.of_guests(guests), lambda: saved)


def test_precopy(bed):
    """precopy migration over a unix socket"""
    source = bed.busy('source')
    target = life.migrate(bed, source)
    source.stop()
    target.wait_more_checked()


def test_balloon(bed):
    """balloon inflated and deflated"""
    guest = bed.busy(extra=('-device', 'virtio-balloon'))
    for mib in (bed.memory_mib - BALLOON_MIB, bed.memory_mib):
        life.balloon(guest, mib)
    guest.wait_engine_works()


def text_pages(guest, number):
    """Addresses in QEMU of pages with the text that fills guest's files."""
    host, end = max(sample.ram_ranges(guest), key=lambda r: r[1] - r[0])
    found = []
    with open(f'/proc/{guest.pid}/mem', 'rb') as memory:
        for at in range(host, end, PAGE):
            try:
                memory.seek(at)
                data = memory.read(PAGE)
            except OSError:
                continue
            if re.fullmatch(rb'[0-9\n]{%d}' % PAGE, data):
                found.append(at)
                if len(found) == number:
                    return found
    raise Failure(f'{len(found)} pages with the text, not {number}')


def poison(guest, address):
    """The kernel finds a memory error in the page there; false: in none."""
    with open(f'/proc/{guest.pid}/pagemap', 'rb') as pagemap:
        pagemap.seek(address // PAGE * 8)
        entry = int.from_bytes(pagemap.read(8), sys.byteorder)
    if not entry & PRESENT:
        # Merged with one that was poisoned before.
        return False
    POISON.write_text(str(entry & FRAME))
    return True


def test_poisoned_pages(bed):
    """memory errors in pages: guest and engine live on"""
    guest, = bed.filled(1)
    wait_for(lambda: guest.ksm()['figures']['pages-submitted'] > MERGED_PAGES,
             'pages to be hashed')
    poisoned = sum(poison(guest, page)
                   for page in text_pages(guest, 2 * POISONED_PAGES))
    check(poisoned >= POISONED_PAGES, f'only {poisoned} pages poisoned')
    passes = guest.ksm()['full-scans']
    # Enough to meet all of them again.  No figure counts them: the kernel has
    # taken them away by then.  See test-ksm-hasher for one that is being read.
    guest.set_ksm('sleep-millisecs', 10)
    wait_for(lambda: guest.ksm()['full-scans'] > passes + ALL_READ, 'passes')
    exits = guest.kvm_figure('exits')
    wait_for(lambda: guest.check() or guest.kvm_figure('exits') > exits + 100,
             'the processor to go on')


if __name__ == '__main__':
    cases.main('Guests under KVM, their engines and ksmd.', globals(),
               linux.KVMBed)
