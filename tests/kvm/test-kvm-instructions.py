#!/usr/bin/env python3
#
# What it costs to merge a page: ksmfs and ksmd, in the same boot
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host --count tests/kvm/test-kvm-instructions.py \
#            [CASE]...
#
# With --count a nanosecond of the emulated host is an instruction.  Counted is
# all that its only processor does, in whatever task and in interrupts, from
# the start of merging until 99 % of the pages are merged: see
# ksmtest/instructions.py.
#
# Both merge the same: guests are migrated into files, and from these into the
# memory that is merged, where zero pages are holes then, for both.  They read
# all of it, so that KVM has it mapped, and are stopped again.

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import (  # noqa: E402
    cases, instructions, ksmfs, ksmhost, linux)
from ksmtest.checks import PATIENCE, check  # noqa: E402

GUESTS = 2
FILL_MIB, UNIQUE_MIB = 12, 12
HUGE_PAGES = Path('/sys/kernel/mm/transparent_hugepage/enabled')
# What was measured is 5.2 to 5.3.
TIMES_FEWER = 5


class Bed(linux.StockBed):
    def guest(self, name, memory, **options):
        """A guest whose RAM alone is to be merged."""
        extra = ('-object', f'{memory},id=ram,size={self.memory_mib}M,merge=on',
                 *options.pop('extra', ()))
        return linux.Guest(
            self, name, ksm=False, workload='read', extra=extra,
            machine='pc,memory-backend=ram,mem-merge=off', **options)

    def states(self):
        """Guests, each in a file."""
        files = []
        for number in range(GUESTS):
            guest = self.enter(self.guest(
                f'guest-{number}', 'memory-backend-ram', number=number,
                append=f'nokaslr ksm.fill={FILL_MIB} ksm.unique={UNIQUE_MIB}'))
            guest.wait_console('guest filled', linux.BOOT_SECONDS)
            guest.execute('stop')
            files.append(self.directory / f'state-{number}')
            guest.execute('migrate', {'uri': f'file:{files[-1]}'})
            guest.wait_migration()
            guest.stop()
        return files

    def restored(self, files, memory):
        """Those guests, stopped, with RAM that MEMORY(number) describes."""
        guests = []
        for number, file in enumerate(files):
            guest = self.enter(self.guest(
                f'restored-{number}', memory(number),
                extra=('-S', '-incoming', f'file:{file}')))
            guest.wait_migration()
            guest.execute('cont')
            guest.wait_console(f'memory read: {self.memory_mib} MiB', PATIENCE)
            guest.execute('stop')
            guests.append(guest)
        return guests


def measure_ksmd(bed, files):
    guests = bed.restored(files, lambda unused: 'memory-backend-ram')
    found = instructions.of_merging(
        'ksmd', lambda: bed.enter(ksmhost.ksmd(sleep_millisecs=0)),
        lambda: ksmhost.read('pages_sharing'))
    ksmhost.write('run', 0)
    for guest in guests:
        guest.stop()
    return found


def measure_ksmfs(bed, files):
    mount = bed.enter(ksmfs.Mount(bed.directory))
    guests = bed.restored(files, lambda number: (
        f'memory-backend-file,mem-path={mount.path}/{number},share=on'))
    for guest in guests:
        guest.execute('object-add', {
            'qom-type': 'ksm', 'id': 'ksm0', 'backend': 'ksmfs', 'run': False,
            'max-cpu-percent': 100, 'sleep-millisecs': 10})

    def start():
        for guest in guests:
            guest.set_ksm('run', True)

    # KSM counts merged zero pages with the others.
    return instructions.of_merging(
        'ksmfs', start,
        lambda: mount['pages_sharing'] + mount['ksm_zero_pages'])


def test_ksmfs_costs_less(bed):
    """ksmfs merges as much as ksmd, by far fewer instructions a page"""
    # ksmd would have to split them first.
    HUGE_PAGES.write_text('never')
    files = bed.states()
    by_ksmd, ksmd_each = measure_ksmd(bed, files)
    by_ksmfs, ksmfs_each = measure_ksmfs(bed, files)
    times = ksmd_each / ksmfs_each
    print(f'# {times:.1f} times fewer')
    check(by_ksmfs >= by_ksmd,
          f'ksmfs has merged {by_ksmfs} pages, ksmd {by_ksmd}')
    check(times >= TIMES_FEWER, f'only {times:.1f} times fewer instructions')


if __name__ == '__main__':
    if not instructions.counted():
        sys.exit('its emulated host has to count instructions: --count')
    cases.main('Instructions of merging.', globals(), Bed)
