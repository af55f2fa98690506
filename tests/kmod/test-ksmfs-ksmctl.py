#!/usr/bin/env python3
#
# ksmctl on a real kernel: its limits, its refusals, mounts of ksmfs
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host tests/kmod/test-ksmfs-ksmctl.py [CASE]...

import json
import mmap
import os
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, ksmfs  # noqa: E402
from ksmtest.checks import check, check_equal, wait_for  # noqa: E402
from ksmtest.ksmfs import PAGE  # noqa: E402

KSM = Path('/sys/kernel/mm/ksm')


class Bed(ksmfs.Bed):
    programs = ('ksmctl',)

    def ksmctl(self, *arguments, status=0, **environment):
        result = subprocess.run(
            [self.arguments.ksmctl, *arguments], text=True,
            env=dict(os.environ, **environment), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        check_equal(result.returncode, status,
                    f'status of {arguments}: {result.stderr}')
        return result.stderr if status else result.stdout

    @staticmethod
    def merged():
        return sum(int((KSM / name).read_text())
                   for name in ('pages_sharing', 'ksm_zero_pages')
                   if (KSM / name).exists())

    def status(self):
        return json.loads(self.ksmctl('status', '--json'))


def options(mount):
    """Of the mount, as the kernel says them, without the limit."""
    for line in Path('/proc/self/mountinfo').read_text().splitlines():
        fields = line.split(' ')
        if fields[4] == str(mount.path).replace(' ', '\\040'):
            own, rest = fields[5], fields[-1].split(',')
            return own, [option for option in rest
                         if not option.startswith('max_kernel_pages=')]
    return None


def test_limit(bed):
    """KSM_MAX_KERNEL_PAGES reaches each mount, and changes nothing else"""
    with bed.mount('size=1m,mode=0750,merge_across_nodes=0', 'a b') as one, \
            bed.mount('overcommit=1,max_kernel_pages=5') as other:
        subprocess.run(['mount', '-o', 'remount,bind,noatime', one.path],
                       check=True)
        before = options(one), options(other)
        check(before[0] and before[1], 'no such mounts')
        said = bed.ksmctl('start', KSM_MAX_KERNEL_PAGES='77')
        check(f'{one.path}: at most 77' in said, said)
        for mount in one, other:
            check_equal(mount['max_kernel_pages'], 77, 'limit')
        check_equal((options(one), options(other)), before, 'options')
        bed.ksmctl('start', KSM_MAX_KERNEL_PAGES='')
        check_equal(other['max_kernel_pages'], 77, 'limit')
        bed.ksmctl('start', KSM_MAX_KERNEL_PAGES=str(2 ** 63 - 1))
        check_equal(other['max_kernel_pages'], 2 ** 63 - 1, 'limit')
    bed.ksmctl('stop')
    check_equal((KSM / 'run').read_text(), '0\n', 'run')


def test_mounts(bed):
    """status tells what a mount saves"""
    with bed.mount(name='a b') as mount:
        with mount.file('file', 4) as file:
            for page in range(4):
                file[page] = b'same' * (PAGE // 4)
            file.merge(*((page, 1) for page in range(4)))
            shown = bed.status()['ksmfs']
            check_equal(shown, [{
                'device': shown[0]['device'], 'path': str(mount.path),
                'allocated_bytes': PAGE, 'used_bytes': 4 * PAGE,
                'saved_bytes': 3 * PAGE,
                'max_kernel_pages': mount['max_kernel_pages']}], 'ksmfs')
        os.unlink(mount.path / 'file')


def test_merged(bed):
    """A setting that waits for unmerge is refused until then"""
    with mmap.mmap(-1, 64 * PAGE, flags=mmap.MAP_PRIVATE |
                   mmap.MAP_ANONYMOUS) as memory:
        memory.write(b'twin' * (64 * PAGE // 4))
        memory.madvise(mmap.MADV_MERGEABLE)
        bed.ksmctl('tune', 'sleep_millisecs=0', 'pages_to_scan=1000')
        bed.ksmctl('start')
        wait_for(lambda: bed.status()['saved_bytes'] >= 60 * PAGE, 'merges')
        said = bed.ksmctl('tune', 'pages_to_scan=123', 'max_page_sharing=64',
                          status=1)
        check("'64'" in said and 'busy' in said and
              'ksmctl unmerge before' in said, said)
        check_equal(bed.status()['values']['pages_to_scan'], 1000,
                    'pages_to_scan, which was set before')
        said = bed.ksmctl('unmerge', '--yes')
        check('run is 2' in said, said)
        status = bed.status()
        check_equal((status['saved_bytes'], status['values']['run']), (0, 2),
                    'what is saved, and run')
        bed.ksmctl('tune', 'max_page_sharing=64')
        check_equal(memory[:], b'twin' * (64 * PAGE // 4), 'memory')


def free():
    """Pages; the kernel counts what is separated a process at a time."""
    meminfo = Path('/proc/meminfo').read_text()
    return int(re.search(r'MemFree: +(\d+)', meminfo)[1]) * 1024 // PAGE


def test_unmerge_guarded(bed):
    """Separating pages ends in the midst when memory gets short"""
    pages = 32768
    real = Path('/proc/meminfo').read_text()
    proc = bed.directory / 'proc'
    proc.mkdir()
    # Who opens it waits for what it is told.
    os.mkfifo(proc / 'meminfo')

    def tell_available(kib):
        (proc / 'meminfo').write_text(
            re.sub(r'MemAvailable:.*', f'MemAvailable: {kib} kB', real))

    with mmap.mmap(-1, pages * PAGE, flags=mmap.MAP_PRIVATE |
                   mmap.MAP_ANONYMOUS) as memory:
        memory.write(b'twin' * (pages * PAGE // 4))
        memory.madvise(mmap.MADV_MERGEABLE)
        bed.ksmctl('tune', 'sleep_millisecs=0', 'pages_to_scan=10000')
        bed.ksmctl('start')
        wait_for(lambda: bed.merged() >= pages * 9 // 10, 'merges')
        bed.ksmctl('stop')
        merged, before = bed.merged(), free()
        with subprocess.Popen(
                [bed.arguments.ksmctl, 'unmerge', '--yes',
                 f'--proc-root={proc}'], text=True,
                stderr=subprocess.PIPE) as process:
            tell_available(1 << 30)
            while free() > before - merged // 10:
                check_equal(process.poll(), None, 'status')
            tell_available(1)
            error = process.communicate()[1]
        check_equal(process.returncode, 1, f'status, {error}')
        check('some pages stay merged' in error, error)
        check_equal((KSM / 'run').read_text(), '0\n', 'run')
        separated = before - free()
        check(merged // 20 < separated < merged * 9 // 10,
              f'{separated} of {merged} pages are separated')
        bed.ksmctl('unmerge', '--yes')
        check_equal(bed.merged(), 0, 'merged pages')
        check_equal(memory[:], b'twin' * (pages * PAGE // 4), 'memory')


def test_advisor(bed):
    """While the advisor is active, pages_to_scan is its own"""
    # Linux 6.8 and newer have one.
    if 'advisor_mode' in bed.status()['values']:
        bed.ksmctl('tune', 'advisor_mode=scan-time')
        said = bed.ksmctl('tune', 'pages_to_scan=99', status=1)
        check('advisor_mode=none before' in said, said)
        bed.ksmctl('tune', 'advisor_mode=none')
    bed.ksmctl('tune', 'pages_to_scan=99')
    check_equal(bed.status()['values']['pages_to_scan'], 99, 'pages_to_scan')


def test_cpu(bed):
    """ksmd's CPU time is found"""
    status = bed.status()
    check(status['ksmd_cpu_ns'] >= 0 and status['ksmd_cpu_percent'] >= 0,
          str(status))


if __name__ == '__main__':
    cases.main('Run ksmctl on a kernel with KSM and ksmfs.', globals(), Bed)
