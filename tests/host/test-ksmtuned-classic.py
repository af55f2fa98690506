#!/usr/bin/env python3
#
# ksmtuned.conf, and ksmtuned's policies that go by the host's memory
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-ksmtuned-classic.py KSMTUNED [CASE]...
#
# ksmtuned is a real one, its host is made up: see ksmtest/daemon.py.

import os
import re
import signal
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import cases  # noqa: E402
from ksmtest.checks import check, check_equal, wait_for  # noqa: E402
from ksmtest.daemon import Daemon  # noqa: E402
from ksmtest.wire import RELEASE, TAKES_BUDGET  # noqa: E402

PAGE_KIB = os.sysconf('SC_PAGESIZE') // 1024
GIB = 1 << 20
TOTAL = 16 * GIB
# What the settings are by default, with so much memory: 20 %.
RESERVE = TOTAL // 5
# What a first decision to run gives.
FIRST = {'run': '1', 'pages_to_scan': '300', 'sleep_millisecs': '10'}


class Bed(Daemon):
    def configure(self, *lines):
        super().configure('KSM_POLICY=classic', *lines)

    def memory(self, available, free=0):
        Path(self.proc, 'meminfo').write_text(
            f'MemTotal: {TOTAL} kB\nMemFree: {free} kB\n'
            f'MemAvailable: {available} kB\nBuffers: 0 kB\nCached: 0 kB\n')

    def guest(self, pid, resident, merged=0,
              arguments=('/usr/bin/qemu-system-x86_64', '-name', 'guest=a')):
        """A process with so many KiB, of which MERGED are by KSM."""
        directory = Path(self.proc, str(pid))
        directory.mkdir()
        (directory / 'cmdline').write_text('\0'.join(arguments) + '\0')
        (directory / 'statm').write_text(
            f'{2 * resident // PAGE_KIB} {resident // PAGE_KIB} 1 1 0 1 0\n')
        (directory / 'ksm_stat').write_text(
            f'ksm_rmap_items 1\nksm_zero_pages 0\n'
            f'ksm_merging_pages {merged // PAGE_KIB}\n')

    def decisions(self):
        """How many have been carried out, not only taken."""
        return len(re.findall(r'ksmd (?:runs: \d+ pages, then|rests$)',
                              self.log(), re.MULTILINE))

    def retune(self):
        before = self.decisions()
        self.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: self.decisions() > before, 'a decision')

    def check_set(self, **wanted):
        check_equal({name: self.get(name) for name in wanted}, wanted, 'set')


def test_pressure_and_relief(bed):
    """ksmd runs harder while memory is short, less then, and then as it was"""
    bed.configure()
    bed.memory(available=RESERVE - 1)
    bed.start()
    bed.retune()
    bed.check_set(**FIRST)
    bed.retune()
    bed.check_set(**{**FIRST, 'pages_to_scan': '600'})
    bed.memory(available=RESERVE + 1)
    bed.guest(100, TOTAL - RESERVE + PAGE_KIB)
    bed.retune()
    bed.check_set(**{**FIRST, 'pages_to_scan': '550'})
    (Path(bed.proc) / '100/statm').write_text('1 1 1 1 0 1 0\n')
    bed.retune()
    bed.check_set(run='0', pages_to_scan='100', sleep_millisecs='20')
    check(not os.path.exists(bed.state), 'the state file is left')


def test_interval(bed):
    """it decides by itself, too"""
    bed.configure('KSM_MONITOR_INTERVAL=1')
    bed.memory(available=0)
    bed.start()
    check_equal(bed.decisions(), 0, 'decisions at the start')
    wait_for(lambda: bed.decisions() == 2, 'two decisions')
    bed.check_set(**{**FIRST, 'pages_to_scan': '600'})


def test_merged_pages_count_once(bed):
    """merged pages are no second time in the guests' memory"""
    bed.configure()
    bed.memory(available=TOTAL)
    held = GIB * 6
    bed.set('pages_shared', held // 4 // PAGE_KIB)
    for pid in 100, 101:
        bed.guest(pid, held, merged=held // 2)
    bed.start()
    bed.retune()
    bed.check_set(run='0')
    check(f'({2 * held - held + held // 4} KiB of' in bed.log(), bed.log())


def test_absurd_figures(bed):
    """what KSM can't have merged doesn't count, nor does memory nobody has"""
    bed.configure()
    bed.memory(available=RESERVE - 1)
    bed.guest(100, 8 * GIB, merged=4 * GIB)
    bed.set('pages_shared', 2 ** 63 - 1)
    bed.start()
    bed.retune()
    bed.wait_log(f'{8 * GIB} KiB of {TOTAL} committed')
    bed.set('pages_shared', -1)
    bed.memory(available=2 ** 64 - 1)
    bed.retune()
    bed.wait_log(f'{4 * GIB} KiB of {TOTAL} committed, {2 ** 50} free')


def test_guests(bed):
    """all ways to call a QEMU, and nothing else"""
    bed.configure()
    bed.memory(available=TOTAL)
    for pid, program in enumerate((
            '/usr/bin/qemu-system-x86_64', 'qemu-system-aarch64',
            '/usr/libexec/qemu-kvm', '/usr/bin/kvm', '/opt/kvmtool',
            'qemu-img', '/usr/bin/python3'), 100):
        bed.guest(pid, 1 << (pid - 80), arguments=(program, '-enable-kvm'))
    bed.start()
    bed.retune()
    found = sum(1 << (pid - 80) for pid in range(100, 104))
    check(f'({found} KiB of' in bed.log(), bed.log())


def test_reserve_in_mib(bed):
    """KSM_THRES_CONST is in MiB"""
    bed.configure('KSM_THRES_COEF=0', 'KSM_THRES_CONST=1024')
    bed.memory(available=GIB + 1)
    bed.start()
    bed.retune()
    bed.check_set(run='0')
    bed.memory(available=GIB - 1)
    bed.retune()
    bed.check_set(run='1')


def test_not_ours_is_not_stopped(bed):
    """who started ksmd finds it running when memory is plentiful again"""
    bed.configure()
    bed.set('run', 1)
    bed.memory(available=0)
    bed.start()
    bed.retune()
    bed.check_set(**FIRST)
    bed.memory(available=TOTAL)
    bed.retune()
    bed.check_set(run='1', pages_to_scan='100')


def test_strict_stops_all(bed):
    """the original's way stops it, but puts it back at the end"""
    bed.configure('KSM_POLICY=classic-strict')
    bed.set('run', 1)
    bed.memory(available=0, free=TOTAL)
    bed.start()
    bed.retune()
    bed.check_set(run='0')
    bed.stop()
    bed.check_set(run='1')


def test_max_kernel_pages(bed):
    """ksmd rests while as many pages are shared as may be"""
    bed.configure()
    bed.memory(available=0)
    bed.set('pages_shared', 999)
    bed.start(environment={**os.environ, 'KSM_MAX_KERNEL_PAGES': '0x3e8'})
    bed.retune()
    bed.check_set(run='1')
    bed.wait_stats(max_kernel_pages=1000)
    bed.set('pages_shared', 1000)
    # It would never learn that guests have left.
    for run in ('0',) * 9 + ('1',) + ('0',) * 2:
        bed.retune()
        bed.check_set(run=run)


def test_max_kernel_pages_strict(bed):
    """the original knows no such limit"""
    bed.configure('KSM_MAX_KERNEL_PAGES=1', 'KSM_POLICY=classic-strict')
    bed.memory(available=0)
    bed.set('pages_shared', 1000)
    bed.start()
    bed.retune()
    bed.check_set(run='1')


def test_someone_stops_it(bed):
    """an administrator who stops ksmd is left in peace, until a retune"""
    bed.configure('KSM_MONITOR_INTERVAL=1')
    bed.memory(available=0)
    bed.start()
    wait_for(lambda: bed.get('run') == '1', 'ksmd to run')
    bed.set('run', 0)
    bed.wait_log('someone else stopped ksmd')
    decided = bed.decisions()
    wait_for(lambda: bed.decisions() >= decided + 2, 'two more decisions')
    bed.check_set(run='0', pages_to_scan='100')
    bed.retune()
    bed.check_set(run='1')


def test_killed_between_settings(bed):
    """any value of ours is known after kill -9, and what others set stays"""
    bed.configure()
    bed.memory(available=0)
    before = bed.settings()
    bed.start()
    bed.retune()
    bed.retune()
    bed.process.send_signal(signal.SIGKILL)
    bed.process.wait()
    bed.process = None
    # As if it had been killed before the last write.
    bed.set('pages_to_scan', 300)
    bed.set('sleep_millisecs', 77)
    check_equal(bed.run('--restore').returncode, 0, 'exit status')
    check_equal(bed.settings(), {**before, 'sleep_millisecs': '77'},
                'settings')


def test_wrong_lines(bed):
    """what makes no sense is named by its line, and changes nothing"""
    bed.configure('# KSM_NPAGES_BOOST=1', 'KSM_NPAGES_BOOST=many',
                  'KSM_NPAGES_MIN=-1', 'KSM_NPAGES_MAXX=5',
                  'KSM_SLEEP_MSEC=$((5 + 5))', 'rm -rf /nowhere',
                  "KSM_THRES_COEF='20", 'export KSM_NPAGES_DECAY="-1" # one',
                  'KSM_SLEEP_MSEC=', 'KSM_POLICY=best')
    bed.memory(available=0)
    bed.start()
    log = bed.log()
    for line, words in ((3, "KSM_NPAGES_BOOST='many'"),
                        (4, "KSM_NPAGES_MIN='-1' is not from 1"),
                        (5, "unknown key 'KSM_NPAGES_MAXX'"),
                        (6, 'no variable is expanded'),
                        (7, "'rm -rf /nowhere' is ignored"),
                        (8, 'KSM_THRES_COEF'),
                        (11, "KSM_POLICY='best' is none of auto")):
        check(any(f'ksmtuned.conf:{line}: ' in said and words in said
                  for said in log.splitlines()), f'line {line}: {log}')
    check_equal(log.count('ksmtuned.conf:'), 7, f'warnings: {log}')
    bed.retune()
    bed.check_set(**FIRST)
    bed.memory(available=RESERVE + 1)
    bed.guest(100, TOTAL)
    bed.retune()
    bed.check_set(pages_to_scan='299')


def test_unreadable_configuration(bed):
    """defaults are used, and it is said why"""
    Path(bed.config).write_bytes(b'KSM_NPAGES_BOOST=1\n\0\xff')
    bed.start()
    bed.wait_log('not a text file')
    bed.stop()
    os.unlink(bed.config)
    os.mkdir(bed.config)
    bed.start()
    bed.wait_log('Is a directory')


def test_environment(bed):
    """values are taken from there, as the original does, before the file's"""
    bed.configure('KSM_NPAGES_BOOST=7')
    bed.memory(available=0)
    bed.start(environment={**os.environ, 'KSM_NPAGES_BOOST': '9',
                           'KSM_NPAGES_MIN': '5', 'KSM_SLEEP_MSEC': 'x'})
    check("environment: KSM_SLEEP_MSEC='x'" in bed.log(), bed.log())
    bed.retune()
    bed.check_set(pages_to_scan='7')


def test_logfile(bed):
    """debug lines go to LOGFILE, and elsewhere when the disk is full"""
    log = Path(bed.root, 'debug')
    bed.configure('DEBUG=1', f'LOGFILE={log}')
    bed.memory(available=0)
    bed.start()
    bed.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: log.exists() and 'KiB of' in log.read_text(), 'a line')
    check('KiB of' not in bed.log(), bed.log())
    log.rename(str(log) + '.1')
    bed.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: log.exists() and 'KiB of' in log.read_text(), 'another')
    log.unlink()
    log.symlink_to('/dev/full')
    bed.retune()
    bed.retune()
    check_equal(bed.log().count('No space left'), 1, bed.log())


def test_engines_take_over(bed):
    """by default, demand decides as long as engines are there"""
    bed.configure('KSM_POLICY=auto', 'KSM_MONITOR_INTERVAL=1')
    bed.memory(available=0)
    bed.start()
    wait_for(lambda: bed.get('run') == '1', 'ksmd to run')
    engine = bed.engine()
    wait_for(lambda: bed.get('run') == '0', 'demand to decide')
    decided = bed.decisions()
    engine.close()
    wait_for(lambda: bed.get('run') == '1', 'ksmd to run again')
    wait_for(lambda: bed.decisions() > decided, 'its decision in the log')


def test_pressure(bed):
    """policy pressure looks at stalls, too, and often"""
    bed.configure('KSM_POLICY=pressure')
    bed.memory(available=TOTAL)
    stalls = Path(bed.proc, 'pressure/memory')
    stalls.parent.mkdir()
    stalls.write_text('some avg10=0.99 avg60=9.00 avg300=9.00 total=9\n'
                      'full avg10=9.00 avg60=9.00 avg300=9.00 total=9\n')
    bed.start()
    bed.process.send_signal(signal.SIGUSR1)
    bed.wait_log('0.99 % stalled')
    bed.check_set(run='0')
    stalls.write_text('some avg10=5.00 avg60=0.00 avg300=0.00 total=9\n')
    bed.process.send_signal(signal.SIGUSR1)
    bed.wait_log('ksmd runs')
    bed.check_set(run='1', pages_to_scan=str((64 + 1250) // 2))
    # By itself, before long.
    stalls.write_text('some avg10=0.00 avg60=0.00 avg300=0.00 total=9\n')
    wait_for(lambda: bed.get('pages_to_scan') == '64', 'it to go on gently')
    bed.check_set(run='1')


def test_pressure_lets_go(bed):
    """engines give back what is merged while memory is plentiful"""
    bed.configure('KSM_POLICY=pressure', 'KSM_MONITOR_INTERVAL=1',
                  'KSM_RELEASE_AFTER=1', 'KSM_ENGINES_CPU=0')
    merged = GIB
    bed.set('pages_sharing', merged // 2 // PAGE_KIB)
    # Half of it is merged on ksmfs.
    mount = Path(bed.root, 'ksmfs/0:50')
    mount.mkdir(parents=True)
    (mount / 'pages_sharing').write_text(f'{merged // 2 // PAGE_KIB}\n')
    bed.memory(available=2 * RESERVE + merged - 1)
    bed.start(f'--ksmfs-root={mount.parent}')
    engine = bed.engine(features=TAKES_BUDGET)
    bed.retune()
    time.sleep(2)
    engine.check_silent()
    bed.memory(available=2 * RESERVE + merged)
    check_equal(engine.budget(), (1000, RELEASE), 'budget')
    bed.memory(available=RESERVE * 3 // 2 - 1)
    check_equal(engine.budget(), (1000, 0), 'budget')
    # One that comes meanwhile is told, too.
    bed.memory(available=TOTAL)
    check_equal(engine.budget(), (1000, RELEASE), 'budget')
    other = bed.engine(features=TAKES_BUDGET)
    check_equal(other.budget(), (1000, RELEASE), 'budget of another')


def test_pressure_without_ksm(bed):
    """engines on ksmfs can be told so also where there is no KSM"""
    bed.configure('KSM_POLICY=pressure', 'KSM_MONITOR_INTERVAL=1',
                  'KSM_RELEASE_AFTER=1', 'KSM_ENGINES_CPU=0')
    bed.memory(available=TOTAL)
    bed.start(f'--sysfs-root={bed.root}/none')
    engine = bed.engine(features=TAKES_BUDGET)
    check_equal(engine.budget(), (1000, RELEASE), 'budget')


if __name__ == '__main__':
    cases.main("ksmtuned's classic policy.", globals(), Bed)
