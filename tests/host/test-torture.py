#!/usr/bin/env python3
#
# Guests that write, verify and rewrite pages while all is merged and split
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-torture.py [--writes=N | --seconds=N] [OPTION]... [CASE]...
#
# The guests are boot sectors, and one that is written over qtest: see
# ksmtest/writers.py, which also says what a checked write is.
#
# ksmd runs all the time, and not when ksmtuned wants it to: a demand for pages
# that are written again soon makes ksmtuned wait, longer than this test is.
# So ksmtuned is given no ksmd to control, and only tells engines their twins.
#
# Where KVM runs the boot sector fast, all boot sectors run under KVM.  Where
# it has to emulate each instruction, one does, and the others under TCG.

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases  # noqa: E402
from ksmtest.checks import Failure, check, wait_for  # noqa: E402
from ksmtest.ksmhost import ksmd  # noqa: E402
from ksmtest.ksmtuned import Ksmtuned  # noqa: E402
from ksmtest.vm import VMError  # noqa: E402
from ksmtest.writers import BootSector, Mismatch, QTestWriter  # noqa: E402

FAST = {'pages': 8192, 'hot_writes': 256}
SLOW = {'pages': 1024, 'hot_writes': 1}
# Checked writes a second: what TCG reaches is 50,000 and more, what KVM does
# that emulates is 600.
FAST_RATE = 5000
PROBE_SECONDS = 6
# To do the default number of writes in, by the slowest machine.
PATIENCE = 300


class Bed(cases.Bed):
    """What a case needs, and how long the torture goes on."""

    @classmethod
    def add_options(cls, parser):
        super().add_options(parser)
        parser.add_argument('--writes', type=int, metavar='N',
                            default=10_000_000,
                            help='checked writes, of all boot sectors '
                                 'together (default: %(default)s)')
        parser.add_argument('--seconds', type=int, metavar='N',
                            help='go on for so long instead; 0: for ever')
        parser.add_argument('--guests', type=int, metavar='N', default=3,
                            choices=range(1, 10),
                            help='boot sectors (default: %(default)s)')
        parser.add_argument('--accel', choices=('auto', 'tcg'),
                            default='auto')
        parser.add_argument('--break', type=int, metavar='N', dest='broken',
                            help='make a page of this guest wrong, to see the '
                                 'test fail; the last one is that of qtest')


def say(text):
    print(f'# {text}', flush=True)


def wait_running(writers, seconds):
    wait_for(lambda: all([writer.read() for writer in writers]),
             'guests to write', seconds)


def check_notices(writer):
    """A writer has to find a page that was made wrong."""
    wait_running([writer], 30)
    page = writer.break_page()

    def noticed():
        try:
            writer.read()
        except Mismatch as mismatch:
            check(mismatch.page == page, str(mismatch))
            return True
        return False
    wait_for(noticed, f'page {page}, which was made wrong, to be noticed', 10)


def test_boot_sector_notices(bed):
    """a boot sector notices a wrong page"""
    check_notices(bed.enter(BootSector(bed.arguments.qemu, bed.directory, 9,
                                       accel='tcg', **FAST)))


def test_qtest_notices(bed):
    """the writer over qtest notices a wrong page"""
    check_notices(bed.enter(QTestWriter(bed.arguments.qemu, bed.directory, 9)))


def probe_kvm(bed):
    """'fast', 'slow', or why KVM does not run the boot sector."""
    if bed.arguments.accel == 'tcg':
        return 'not asked for'
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return '/dev/kvm does not exist or is not permitted'
    try:
        with BootSector(bed.arguments.qemu, bed.directory, 8, accel='kvm',
                        **SLOW) as writer:
            wait_running([writer], PROBE_SECONDS)
            checked, start = writer.checked, time.monotonic()
            while writer.checked - checked < 50:
                time.sleep(0.1)
                writer.read()
                if time.monotonic() > start + PROBE_SECONDS:
                    return f'it did not write for {PROBE_SECONDS} s'
            rate = (writer.checked - checked) / (time.monotonic() - start)
            say(f'KVM does {rate:.0f} checked writes a second at first')
            # A pause may lie between two readings.
            return 'fast' if rate > FAST_RATE else 'slow'
    except (Failure, VMError) as error:
        return str(error).splitlines()[0]


def start_boot_sectors(bed, rendezvous):
    kvm = probe_kvm(bed)
    say(f'KVM: {kvm}')
    writers = []
    for number in range(bed.arguments.guests):
        under_kvm = kvm == 'fast' or (kvm == 'slow' and number == 0)
        slow = under_kvm and kvm == 'slow'
        ksm = (f'ksm,id=ksm0,sleep-millisecs={10 + 20 * number},'
               'max-cpu-percent=50,huge-split-threshold=1,'
               f'rendezvous.type=unix,rendezvous.path={rendezvous}')
        writer = bed.enter(BootSector(
            bed.arguments.qemu, bed.directory, number,
            accel='kvm' if under_kvm else 'tcg', **(SLOW if slow else FAST),
            extra=('-object', ksm)))
        if slow:
            for thread in os.listdir(f'/proc/{writer.pid}/task'):
                os.setpriority(os.PRIO_PROCESS, int(thread), 15)
        writers.append(writer)
    return writers


def pages_split():
    """KSM pages on this host that were written, ever; None if unknown."""
    for line in Path('/proc/vmstat').read_text().splitlines():
        name, value = line.split()
        if name == 'cow_ksm':
            return int(value)
    return None


def written(boot_sectors):
    """Checked writes; those over qtest count by themselves."""
    return sum(writer.checked for writer in boot_sectors)


def report(boot_sectors, over_qtest, seconds, split):
    writers = [*boot_sectors, over_qtest]
    cold = sum(writer.cold for writer in boot_sectors)
    sharing = sum(writer.sharing for writer in writers)
    breaks = sum(writer.engine['cow-breaks'] for writer in writers)
    say(f'{seconds:4.0f} s  checked writes {written(boot_sectors)} '
        f'(after a pause {cold})  over qtest {over_qtest.checked} '
        f'({over_qtest.cold})  merged now {sharing}  written again {breaks}  '
        f'split {split}')


def check_merged(writers):
    """What each has written was merged, and written again."""
    for writer in writers:
        say(f'{writer.name} ({writer.accel}): {writer.rounds} rounds, '
            f'{writer.checked} checked writes, at most '
            f'{writer.most_sharing} pages merged, '
            f'{writer.engine["cow-breaks"]} written again')
    for writer in writers:
        check(writer.most_sharing,
              f'{writer.name}: not a page was ever merged')
        check(writer.engine['cow-breaks'],
              f'{writer.name}: no marked page was written')


def is_over(arguments, checked, seconds):
    if arguments.seconds is not None:
        return arguments.seconds and seconds >= arguments.seconds
    check(checked >= arguments.writes or seconds <= PATIENCE,
          f'{checked} checked writes in {PATIENCE} s: '
          'this machine is too slow')
    return checked >= arguments.writes


def test_torture(bed):
    """no page is wrong while all is merged and split"""
    ksmtuned = bed.enter(Ksmtuned(
        bed.arguments.ksmtuned, bed.directory, bed.directory / 'ksmtuned.log',
        extra=(f'--sysfs-root={bed.directory}/none',)))
    boot_sectors = start_boot_sectors(bed, ksmtuned.socket)
    over_qtest = bed.enter(QTestWriter(
        bed.arguments.qemu, bed.directory, len(boot_sectors),
        ksm=',max-cpu-percent=50', rendezvous=ksmtuned.socket))
    writers = [*boot_sectors, over_qtest]
    wait_running(writers, 60)
    split_before = split = pages_split()
    # At most half of a core for ksmd, while there is something to do
    bed.enter(ksmd(pages_to_scan=1000, sleep_millisecs=20))
    start = said = time.monotonic()
    over = False
    while not over:
        time.sleep(0.1)
        ksmtuned.check()
        for writer in writers:
            writer.read()
            writer.read_engine()
        now = time.monotonic()
        if bed.arguments.broken is not None and now > start + 5:
            writer = writers[bed.arguments.broken]
            say(f'{writer.name}: page {writer.break_page()} made wrong')
            bed.arguments.broken = None
        over = is_over(bed.arguments, written(boot_sectors), now - start)
        if now - said >= 5 or over:
            if split is not None:
                split = pages_split() - split_before
            report(boot_sectors, over_qtest, now - start, split)
            said = now
    check_merged(writers)
    say(f'{over_qtest.name}: {over_qtest.merged} checked writes were to '
        'merged pages')
    check(over_qtest.merged, f'{over_qtest.name}: not one write was to a page '
          'that was merged in it')
    check(split != 0, 'the kernel split no page')
    hashed = over_qtest.engine['hints']['pages-hashed']
    say(f'{over_qtest.name}: {hashed} pages were looked at as it advised; '
        f'{over_qtest.never_checked} times one was not merged that is never '
        'to be')
    check(hashed, 'no hint was acted on')
    check(over_qtest.never_checked, 'no page was one never to be merged')


if __name__ == '__main__':
    cases.main('Write and verify pages while they are merged and split.',
               globals(), Bed)
