#!/usr/bin/env python3
#
# What happens to virtual machines on ksmfs, while the engine is busy with them
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host tests/kvm/test-kvm-ksmfs-life.py [CASE]...
#
# As tests/host/test-lifecycle.py, under real KVM: what becomes of the memory on
# the mount is looked at, too.

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, ksmfs, life, linux  # noqa: E402
from ksmtest.checks import Failure, check, check_equal, wait_for  # noqa: E402
from ksmtest.ksmfs import PAGE  # noqa: E402
from ksmtest.linux import ram_on_ksmfs  # noqa: E402
from ksmtest.qmp import QMPError  # noqa: E402

MIB = 1 << 20
# A guest's file has a twin in it for every other page of some MiB.
MERGED_PAGES = 200
BALLOON_MIB = 12


class Bed(linux.KsmfsBed):
    # As busy as those on private memory; and all files are verified again.
    ksm = linux.KVMBed.ksm
    more_checked = linux.Bed.more_checked


def wait_gone(mount, name, but):
    """Waits until a file's memory is given back, and there is another's."""
    (mount.path / name).unlink()
    # As if nothing was merged.
    rest = os.stat(mount.path / but).st_blocks * 512 // PAGE
    wait_for(lambda: mount['pages_used'] == rest,
             f'only {rest} pages to be used, without {name}')


def wait_merged(guest, name='ram'):
    wait_for(lambda: guest.check() or
             ram_on_ksmfs(guest, name)['pages-sharing'] > MERGED_PAGES,
             f'pages of {name} to be merged')


def check_refused(guest, capability, *words):
    try:
        life.set_capabilities(guest, capability)
    except QMPError as error:
        print(f'# {error}')
        for word in words:
            check(word in str(error), f'{error}, and not a word of {word}')
    else:
        raise Failure(f'{capability} is permitted on ksmfs')


def test_precopy(bed):
    """precopy migration from ksmfs to ksmfs; the source's memory is free"""
    source = bed.busy('source')
    wait_merged(source)
    # It serves only anonymous memory, tmpfs and hugetlbfs.
    check_refused(source, 'background-snapshot',
                  'guest memory configuration')
    said = "userfaultfd refuses RAMBlock 'ram': Invalid argument"
    check(said in source.log.read_text(), f'no "{said}" in the log')
    source.wait_engine_works()
    target = life.migrate(bed, source)
    source.stop()
    wait_merged(target)
    target.execute('stop')
    wait_gone(bed.mount, 'source', but='target')
    check(bed.mount['pages_sharing'] > MERGED_PAGES,
          f"{bed.mount['pages_sharing']} pages saved at the target")
    target.execute('cont')
    target.wait_more_checked()
    target.stop()
    bed.mount.unlink_all()
    ksmfs.check_empty(bed.mount)


def test_postcopy_refused(bed):
    """a destination of postcopy is refused before anything is migrated"""
    target = bed.start('target', extra=('-incoming', 'defer'))
    check_refused(target, 'postcopy-ram', 'TMPFS or HUGETLBFS')
    check_equal(target.execute('query-status')['status'], 'inmigrate',
                'the target')


def test_savevm(bed):
    """savevm and loadvm"""
    guest = bed.busy()
    life.add_snapshot_disk(guest, bed.directory / 'disk.qcow2')
    for command in ('snapshot-save', 'snapshot-load'):
        life.take_snapshot(guest, command)
        wait_merged(guest)


def test_balloon(bed):
    """the balloon takes its pages from the file, most of them merged"""
    guest = bed.busy(extra=('-device', 'virtio-balloon'),
                     append=f'ksm.freed={BALLOON_MIB}')
    pages = BALLOON_MIB * MIB // PAGE
    wait_for(lambda: guest.check() or bed.mount['pages_sharing'] > pages / 2,
             'what the guest has freed to be merged')
    used, sharing = bed.mount['pages_used'], bed.mount['pages_sharing']
    life.balloon(guest, bed.memory_mib - BALLOON_MIB)
    # The guest goes on writing, and fills a hole now and then.
    punched = used - bed.mount['pages_used']
    unshared = sharing - bed.mount['pages_sharing']
    print(f'# of {pages} pages {punched} are holes now, of {used}; '
          f'of {sharing} that were merged {unshared} are no more')
    check(punched > pages / 2, f'{punched} of {pages} pages are holes')
    life.balloon(guest, bed.memory_mib)
    guest.wait_engine_works()


def test_hotplug(bed):
    """memory plugged, merged and unplugged; nothing is left of it"""
    guest = bed.busy(machine='q35',
                     memory=f'{bed.memory_mib}M,slots=2,maxmem=1G')
    life.plug(bed, guest)
    wait_merged(guest, 'more')
    print(f"# {ram_on_ksmfs(guest, 'more')['merge-results']}")
    life.unplug(guest)
    guest.execute('stop')
    wait_gone(bed.mount, 'more', but='guest')
    guest.execute('cont')
    guest.wait_engine_works()


def test_reset(bed):
    """system_reset"""
    guest = bed.busy(extra=life.MAY_RESET)
    wait_merged(guest)
    life.reset(guest)
    wait_merged(guest)


def test_object_del(bed):
    """object-del in mid-pass, object-add again"""
    guest = bed.busy()
    life.renew_engine(bed, guest, (0, 0.01, 0.1, 1))


if __name__ == '__main__':
    cases.main('Migrate, save, balloon, plug and reset guests on ksmfs while '
               'the engine is busy with them.', globals(), Bed)
