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
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, programs  # noqa: E402
from ksmtest.checks import (  # noqa: E402
    PATIENCE, Failure, Skipped, check, wait_for)
from ksmtest.ksmtuned import Ksmtuned  # noqa: E402
from ksmtest.linux import BOOT_SECONDS, MEMORY_MIB, Bed  # noqa: E402
from ksmtest.qmp import QMPError  # noqa: E402


def migrate(bed, capabilities=(), postcopy=False, background=None):
    """A guest from one QEMU to another, both with an engine."""
    source = bed.start('source')
    target = bed.start('target', extra=('-incoming', 'defer'))
    source.wait_busy()
    for guest in (source, target):
        if capabilities:
            guest.execute('migrate-set-capabilities', {'capabilities': [
                {'capability': name, 'state': True}
                for name in capabilities]})
    uri = bed.socket('migration')
    target.execute('migrate-incoming', {'uri': uri})
    if postcopy:
        # Slow at first, so that much is left for postcopy.
        source.execute('migrate-set-parameters',
                       {'max-bandwidth': 8 << 20})
    before = source.checked()
    source.execute('migrate', {'uri': uri})
    if postcopy:
        time.sleep(1)
        source.execute('migrate-start-postcopy')
        wait_for(lambda: target.execute('query-migrate').get('status')
                 == 'postcopy-active', 'postcopy to begin')
        check(target.ksm()['state'] == 'yielded',
              f'the receiving engine is {target.ksm()["state"]}')
        source.execute('migrate-set-parameters', {'max-bandwidth': 0})
    source.wait_migration()
    target.wait_running()
    # What it had printed before is on the console of the source.
    wait_for(lambda: target.check() or target.checked() >= before,
             'the guest to verify files at its target')
    target.wait_more_checked()
    target.wait_engine_works()
    source.checked()


def test_precopy(bed):
    """precopy migration over a unix socket"""
    migrate(bed)


def test_postcopy(bed):
    """postcopy migration"""
    migrate(bed, ('postcopy-ram',), postcopy=True)


def test_savevm(bed):
    """savevm and loadvm"""
    image = bed.directory / 'disk.qcow2'
    qemu_img = bed.arguments.qemu.parent / 'qemu-img'
    if programs.missing(qemu_img):
        raise Skipped(programs.missing(qemu_img))
    subprocess.run([qemu_img, 'create', '-q', '-f', 'qcow2', image, '64M'],
                   check=True)
    guest = bed.busy(extra=(
        '-blockdev', 'driver=qcow2,node-name=disk,file.driver=file,'
        f'file.filename={image}', '-device', 'virtio-blk,drive=disk'))
    for command in ('snapshot-save', 'snapshot-load'):
        guest.execute(command, {'job-id': command, 'tag': 'one',
                                'vmstate': 'disk', 'devices': ['disk']})
        guest.wait_job(command)
        if guest.execute('query-status')['status'] == 'paused':
            guest.execute('cont')
        guest.wait_more_checked()
        guest.wait_engine_works()


def test_balloon(bed):
    """balloon inflated and deflated"""
    guest = bed.busy(extra=('-device', 'virtio-balloon'))
    for _ in range(2):
        for mib in (MEMORY_MIB - 64, MEMORY_MIB):
            guest.execute('balloon', {'value': mib << 20})
            wait_for(lambda: abs(guest.size_seen() - mib) <= 1,
                     f'the balloon to leave {mib} MiB')
            guest.wait_more_checked()
    guest.wait_engine_works()


def test_hotplug(bed):
    """memory plugged and unplugged"""
    guest = bed.busy(machine='q35', memory=f'{MEMORY_MIB}M,slots=2,maxmem=1G')
    for _ in range(2):
        guest.execute('object-add', {'qom-type': 'memory-backend-ram',
                                     'id': 'more', 'size': 128 << 20})
        guest.execute('device_add', {'driver': 'pc-dimm', 'id': 'dimm',
                                     'memdev': 'more'})
        wait_for(lambda: any(block['name'].endswith('more')
                             and 'backend' in block
                             for block in guest.ksm()['ramblocks']),
                 'the engine to see the new memory')
        guest.wait_more_checked()
        guest.execute('device_del', {'id': 'dimm'})
        try:
            guest.qmp.take_event('DEVICE_DELETED', 10)
        except TimeoutError:
            raise Skipped('the guest did not give the memory back: plugged, '
                          'not unplugged')
        guest.execute('object-del', {'id': 'more'})
        # It goes with the last reference to it, some of which wait for RCU.
        wait_for(lambda: not any(block['name'].endswith('more')
                                 for block in guest.ksm()['ramblocks']),
                 'the engine to let go of the memory', 5)
        guest.wait_more_checked()
    guest.wait_engine_works()


def test_virtio_mem(bed):
    """virtio-mem grown and shrunk"""
    guest = bed.busy(
        memory=f'{MEMORY_MIB}M,maxmem=1G',
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
    # Without -no-reboot's action, which is to end.
    guest = bed.busy(extra=('-action', 'reboot=reset'))
    boots = guest.console.read_text(errors='replace').count('guest up')
    guest.execute('system_reset')
    wait_for(lambda: guest.check() or guest.console.read_text(
        errors='replace').count('guest up') > boots,
        'the guest to come up again', BOOT_SECONDS)

    def checked_anew():
        text = guest.console.read_text(errors='replace')
        guest.checked()
        return 'checked' in text.rpartition('guest up')[2] \
            and guest.checked() > 0
    wait_for(checked_anew, 'files to be verified again')
    guest.wait_more_checked()
    guest.wait_engine_works()


def test_object_del(bed):
    """object-del in mid-pass, object-add again"""
    guest = bed.busy()
    threads = guest.threads()
    for pause in (0, 0.003, 0.01, 0.03, 0.1, 0.3, 1):
        guest.execute('object-del', {'id': 'ksm0'})
        without = guest.threads()
        check(len(without) < len(threads),
              f'a thread is left behind: {without}')
        try:
            guest.ksm()
        except QMPError as error:
            check(error.error_class == 'DeviceNotFound', str(error))
        else:
            raise Failure('query-ksm answers without a ksm object')
        guest.execute('object-add', bed.ksm_properties())
        check(len(guest.threads()) <= len(threads) + 1,
              f'more threads than at first: {guest.threads()}')
        time.sleep(pause)
        guest.execute('ksm-scan')
    guest.wait_engine_works()
    guest.wait_more_checked()
    guest.execute('object-del', {'id': 'ksm0'})
    guest.wait_more_checked()


def test_background_snapshot(bed):
    """background-snapshot into a file; the engine yields meanwhile"""
    guest = bed.busy()
    guest.execute('migrate-set-capabilities', {'capabilities': [
        {'capability': 'background-snapshot', 'state': True}]})
    guest.wait_engine_works()
    state = bed.directory / 'state'
    guest.execute('migrate-set-parameters', {'max-bandwidth': 16 << 20})
    guest.execute('migrate', {'uri': f'file:{state}'})
    wait_for(lambda: guest.ksm()['state'] == 'yielded',
             'the engine to yield', 10)
    status = guest.execute('query-migrate')['status']
    check(status in ('active', 'setup'), f'the snapshot is {status}')
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
