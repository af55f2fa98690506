#!/usr/bin/env python3
#
# What happens to virtual machines, while the engine is busy with them
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-lifecycle.py [OPTION]... [CASE]...
#
# Linux guests write, verify and rewrite files (see tests/vm/guest-init) while
# the engine takes as much of a core as it may get.  In each test they have to
# go on verifying afterwards, and find all as they wrote it.

import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, ksmhost, life  # noqa: E402
from ksmtest.checks import (  # noqa: E402
    PATIENCE, check, check_equal, wait_for)
from ksmtest.ksmtuned import Ksmtuned  # noqa: E402
from ksmtest.linux import Bed  # noqa: E402


def test_precopy(bed):
    """precopy migration over a unix socket"""
    life.migrate(bed, bed.busy('source'))


def test_postcopy(bed):
    """postcopy migration"""
    life.migrate(bed, bed.busy('source'), ('postcopy-ram',), postcopy=True)


def test_savevm(bed):
    """savevm and loadvm"""
    guest = bed.busy()
    life.add_snapshot_disk(guest, bed.directory / 'disk.qcow2')
    for command in ('snapshot-save', 'snapshot-load'):
        life.take_snapshot(guest, command)


def test_balloon(bed):
    """balloon inflated and deflated"""
    guest = bed.busy(extra=('-device', 'virtio-balloon'))
    for _ in range(2):
        for mib in (bed.memory_mib - 64, bed.memory_mib):
            life.balloon(guest, mib)
    guest.wait_engine_works()


def test_free_page_hinting(bed):
    """a guest names free pages while it migrates; they are forgotten"""
    balloon = ('-object', 'iothread,id=io0', '-device',
               'virtio-balloon,free-page-hint=on,iothread=io0')
    source = bed.busy('source', extra=balloon)
    life.migrate(bed, source, extra=balloon)
    hints = source.ksm()['hints']
    check(hints['pages-freed'], f'no page was called free: {hints}')


DISK_MIB = 256


def test_disk_reads(bed):
    """guests read one disk, more than they have room for, and verify it"""
    image = bed.directory / 'disk.img'
    image.write_bytes(os.urandom(DISK_MIB << 20))
    disk = ('-drive', f'if=none,id=disk,format=raw,readonly=on,file={image}',
            '-device', 'virtio-blk-pci,drive=disk')
    guests = [bed.busy(f'guest-{number}', number=number,
                       workload='verify-disk', extra=disk)
              for number in range(2)]
    bed.enter(ksmhost.ksmd(1000, 20))
    for guest in guests:
        guest.wait_merged(1000)
    for _ in range(3):
        for guest in guests:
            guest.wait_more_checked()
    for guest in guests:
        check(guest.ksm()['hints']['pages-hashed'] > 1000,
              f"{guest.name}: hints {guest.ksm()['hints']}")
        guest.wait_engine_works()


def test_hotplug(bed):
    """memory plugged and unplugged"""
    guest = bed.busy(machine='q35',
                     memory=f'{bed.memory_mib}M,slots=2,maxmem=1G')
    for _ in range(2):
        life.plug(bed, guest)
        life.unplug(guest)
    guest.wait_engine_works()


def test_virtio_mem(bed):
    """virtio-mem grown and shrunk"""
    guest = bed.busy(
        memory=f'{bed.memory_mib}M,maxmem=1G',
        extra=('-object', 'memory-backend-ram,id=vmem,size=256M',
               '-device', 'virtio-mem-pci,id=vm0,memdev=vmem'))
    for mib in (128, 0, 128):
        guest.execute('qom-set', {'path': '/machine/peripheral/vm0',
                                  'property': 'requested-size',
                                  'value': mib << 20})
        wait_for(lambda: guest.execute('qom-get', {
            'path': '/machine/peripheral/vm0', 'property': 'size'})
            == mib << 20, f'virtio-mem to be of {mib} MiB')
        guest.wait_more_checked()
    guest.wait_engine_works()


def test_reset(bed):
    """system_reset"""
    life.reset(bed.busy(extra=life.MAY_RESET))


def test_object_del(bed):
    """object-del in mid-pass, object-add again"""
    life.renew_engine(bed, bed.busy(), (0, 0.003, 0.01, 0.03, 0.1, 0.3, 1))


def check_nothing_merged(guest):
    """While a snapshot is taken nothing is marked, and nothing merged anew."""
    merged = []
    while len(merged) < 30:
        info = guest.ksm()
        status = guest.execute('query-migrate')['status']
        check(status in ('setup', 'active'),
              f'the snapshot was {status} after {len(merged)} looks')
        if status == 'active':
            check_equal(info['figures']['pages-marked'], 0, 'marked pages')
            # KSM counts what was separated until ksmd comes by.
            merged.append(info['pages-sharing'])
        time.sleep(0.1)
    check_equal(merged, sorted(merged, reverse=True), 'merged pages')
    check_equal(merged[-1], 0, 'merged pages at the end')


def test_background_snapshot(bed):
    """background-snapshot into a file; the engine yields meanwhile"""
    guest = bed.busy()
    life.set_capabilities(guest, 'background-snapshot')
    guest.wait_engine_works()
    wait_for(lambda: guest.ksm()['pages-sharing'], 'pages to be merged')
    state = bed.directory / 'state'
    guest.execute('migrate', {'uri': f'file:{state}'})
    wait_for(lambda: guest.ksm()['state'] == 'yielded',
             'the engine to yield', 10)
    # At the start it is without a limit.
    guest.execute('migrate-set-parameters', {'max-bandwidth': 8 << 20})
    # The kernel forgets the protection of a page that it merges.
    wait_for(lambda: not guest.ksm()['figures']['pages-marked'],
             'marks to be withdrawn')
    with ksmhost.ksmd(20000, 1):
        check_nothing_merged(guest)
    guest.wait_more_checked()
    guest.execute('migrate-set-parameters', {'max-bandwidth': 0})
    guest.wait_migration()
    guest.wait_engine_works()
    guest.wait_more_checked()
    # What was saved while the engine yielded is whole.
    guest.stop()
    restored = bed.start('restored', extra=('-incoming', f'file:{state}'))
    restored.wait_running()
    wait_for(lambda: restored.check() or restored.checked() > 0,
             'the restored guest to verify files')
    restored.wait_more_checked()
    restored.wait_engine_works()


def test_kill(bed):
    """kill -9 of a QEMU and of ksmtuned while others run on"""
    guests = [bed.start(f'guest-{number}', number=number)
              for number in range(2)]
    for guest in guests:
        guest.wait_busy()
    wait_for(lambda: all(g.ksm()['figures']['pages-twins'] for g in guests),
             'twins')
    guests[0].kill()
    guests[1].wait_more_checked()
    guests[1].wait_engine_works()
    os.kill(bed.ksmtuned.pid, signal.SIGKILL)

    def limited():
        return any(limit['limit'] == 'no-rendezvous'
                   for limit in guests[1].ksm()['limits'])
    wait_for(limited, 'the engine to say that ksmtuned is gone')
    guests[1].qmp.take_event('KSM_BACKEND_LOST', PATIENCE)
    guests[1].wait_more_checked()
    guests[1].wait_engine_works()
    # A new one at the same place: it puts right what the killed one left.
    again = Ksmtuned(bed.arguments.ksmtuned, bed.directory,
                     bed.directory / 'ksmtuned-2.log')
    bed.ksmtuned.socket.unlink(missing_ok=True)
    with again:
        wait_for(lambda: not limited(), 'the engine to find the new ksmtuned',
                 60)
        guests[1].wait_more_checked()
        again.check()


if __name__ == '__main__':
    cases.main('Migrate, save, balloon, plug, reset and kill guests while the '
               'engine is busy with them.', globals(), Bed)
