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

from ksmtest import cases, linux, sample  # noqa: E402
from ksmtest.checks import Failure, check, wait_for  # noqa: E402
from ksmtest.qtest import ALL_READ, FRAME, PAGE, PRESENT  # noqa: E402

FILL_MIB = 8
MORE_CHECKED = 8
MERGED_PAGES = 1000
POISONED_PAGES = 10
POISON = Path('/sys/kernel/debug/hwpoison/corrupt-pfn')
IDLE_SECONDS = 10
# A pass takes those pages out of KVM's tables that the guest's kernel has
# written since the last one; a region has 512.
FAULTS_A_PASS = 80


class Bed(linux.KVMBed):
    def filled(self, number):
        """A guest that idles, with memory that others have, too."""
        return self.start(f'guest-{number}', number=number, workload='idle',
                          append=f'ksm.fill={FILL_MIB}')


def kvm_figure(guest, name):
    """A figure that KVM has of the guest's processor."""
    answer, = guest.execute('query-stats', {
        'target': 'vcpu',
        'providers': [{'provider': 'kvm', 'names': [name]}]})
    return answer['stats'][0]['value']


def faults_while_idle(guest):
    """How many pages KVM has to map meanwhile."""
    before = kvm_figure(guest, 'pf_fixed')
    time.sleep(IDLE_SECONDS)
    return kvm_figure(guest, 'pf_fixed') - before


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
        guest.wait_more_checked(more=MORE_CHECKED)
        guest.wait_engine_works()


def test_idle_guest_takes_no_faults(bed):
    """passes don't take an idle guest's pages out of KVM's tables"""
    guests = [bed.filled(number) for number in range(2)]
    for guest in guests:
        guest.wait_console('guest filled', linux.BOOT_SECONDS)
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
    check(with_passes <= without + passes * FAULTS_A_PASS, said)


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
    guest = bed.filled(0)
    guest.wait_console('guest filled', linux.BOOT_SECONDS)
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
    exits = kvm_figure(guest, 'exits')
    wait_for(lambda: guest.check() or kvm_figure(guest, 'exits') > exits + 100,
             'the processor to go on')


if __name__ == '__main__':
    cases.main('Guests under KVM, their engines and ksmd.', globals(), Bed)
