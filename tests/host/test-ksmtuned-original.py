#!/usr/bin/env python3
#
# Policy classic-strict decides as the distribution's ksmtuned does
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-ksmtuned-original.py KSMTUNED [CASE]...
#
# The original is a shell script that has /proc, /sys and /etc built in, so both
# run in namespaces of their own, on a host that is made up.  Its guests are
# processes that only look like QEMU, and whose figures are ours.

import contextlib
import os
import random
import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import cases  # noqa: E402
from ksmtest.checks import check, check_equal, wait_for  # noqa: E402
from ksmtest.daemon import Daemon  # noqa: E402

ORIGINAL = TOP / 'build/original-ksmtuned/ksmtuned'
INSIDE = 'KSM_TEST_IN_NAMESPACES'
ROUNDS = 1000
ROUNDS_A_BOOT = 50
SEED = 20150326
PAGE_KIB = os.sysconf('SC_PAGESIZE') // 1024
# What guests are called, and whether the original counts them.
GUESTS = [
    (['qemu-system-x86_64', '-name', 'a', '-enable-kvm'], True),
    (['qemu-system-i386', '-enable-kvm', '-m', '2048'], True),
    (['qemu-system-x86_64', '-accel', 'kvm'], False),
    (['/usr/bin/qemu-system-x86_64', '-enable-kvm'], False),
    (['kvm', '-name', 'b', '-enable-kvm'], False),
    (['not-qemu-system-x86_64', '-enable-kvm'], False),
]


def write(path, text):
    """In place: something may be mounted there."""
    with open(path, 'w') as f:
        f.write(text)


class LikeAGuest:
    """A process with ARGUMENTS, and figures that are made up."""

    def __init__(self, arguments, directory, stack):
        # It waits for the end of its input; what follows is for show.
        self._process = subprocess.Popen(
            [arguments[0], '-c', 'read nothing', *arguments[1:]],
            executable='/bin/bash', stdin=subprocess.PIPE)
        stack.callback(self._process.wait)
        stack.callback(self._process.stdin.close)
        self.pid = self._process.pid
        self._files = {}
        for name in 'stat', 'statm', 'status':
            real = f'/proc/{self.pid}/{name}'
            mine = directory / f'{self.pid}.{name}'
            self._files[name] = mine, Path(real).read_text()
            mine.write_text(self._files[name][1])
            mount('--bind', mine, real)

    def set_resident(self, pages):
        mine, text = self._files['stat']
        head, _, tail = text.rpartition(')')
        fields = tail.split()
        fields[21] = str(pages)
        write(mine, f"{head}) {' '.join(fields)}\n")
        mine, text = self._files['statm']
        size, _, *others = text.split()
        write(mine, ' '.join([size, str(pages), *others]) + '\n')
        mine, text = self._files['status']
        write(mine, re.sub(r'(?m)^VmRSS:.*$',
                           f'VmRSS:\t{pages * PAGE_KIB} kB', text))


def mount(*arguments):
    subprocess.run(['mount', *arguments], check=True)


class Bed(Daemon):
    """Both on one host: each has a /sys/kernel/mm/ksm of its own."""

    def __init__(self, arguments, directory, stack):
        super().__init__(arguments, directory, stack)
        self.guests = [LikeAGuest(argv, directory, stack)
                       for argv, _ in GUESTS]
        for guest in self.guests:
            os.symlink(f'/proc/{guest.pid}', f'{self.proc}/{guest.pid}')
        # Each round of the original reads it once, and begins with that.
        self.meminfo_fifo = directory / 'meminfo'
        os.mkfifo(self.meminfo_fifo)
        mount('--bind', self.meminfo_fifo, '/proc/meminfo')
        self.original_ksm = directory / 'mm/ksm'
        self.original_ksm.mkdir(parents=True)
        mount('--bind', directory / 'mm', '/sys/kernel/mm')
        awk = os.path.realpath('/usr/bin/awk')
        mount('-t', 'tmpfs', 'none', '/etc')
        # Where Debian tells which awk it is.
        os.mkdir('/etc/alternatives')
        os.symlink(awk, '/etc/alternatives/awk')
        self.debug_log = directory / 'original.log'

    def reset(self):
        for name, value in (('run', 0), ('pages_to_scan', 100),
                            ('sleep_millisecs', 20)):
            write(self.original_ksm / name, f'{value}\n')
            self.set(name, value)

    @contextlib.contextmanager
    def original(self):
        pid_file = self.directory / 'original.pid'
        self.debug_log.write_text('')
        process = subprocess.Popen(
            ['bash', ORIGINAL], start_new_session=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, 'PIDFILE': str(pid_file), 'LC_ALL': 'C'})
        try:
            yield
        finally:
            process.wait()
            # With it the awk that waits for a writer, and its sleep.
            os.killpg(process.pid, 9)
            wait_for(lambda: not group_lives(process.pid), 'its end')


def group_lives(group):
    """Are there processes of the group that are no zombies?"""
    try:
        while os.waitpid(-group, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def configuration(chance):
    """A ksmtuned.conf that is a bit different each time."""
    values = {
        'KSM_SLEEP_MSEC': chance.choice([10, 0, 1, 200]),
        'KSM_NPAGES_BOOST': chance.choice([300, 1, 5000, -7]),
        'KSM_NPAGES_DECAY': chance.choice([-50, -1, -3000, 20]),
        'KSM_NPAGES_MIN': chance.choice([64, 1, 1000]),
        'KSM_NPAGES_MAX': chance.choice([1250, 900, 100000]),
        'KSM_THRES_COEF': chance.choice([20, 0, 1, 33, 99]),
        'KSM_THRES_CONST': chance.choice([2048, 0, 3000000]),
    }
    said = [f'{key}={value}' for key, value in values.items()
            if chance.random() < 0.7]
    return '\n'.join(['# Made up', *said, ''])


def meminfo(chance, total):
    free, buffers, cached = (int(total * chance.random() ** 3 / 3)
                             for _ in range(3))
    return (f'MemTotal:       {total} kB\nMemFree:  {free} kB\n'
            f'MemAvailable:    {free // 3} kB\nBuffers:    {buffers} kB\n'
            f'Cached:      {cached} kB\nSwapCached:      {free} kB\n')


def decided(directory):
    return {name: int(Path(directory, name).read_text())
            for name in ('run', 'pages_to_scan', 'sleep_millisecs')}


def run_boot(bed, chance, counts):
    """Both start, and decide ROUNDS_A_BOOT times."""
    total = chance.choice([1000000, 4 << 20, 16 << 20, 100000003, 1 << 30])
    conf = configuration(chance)
    bed.reset()
    write('/etc/ksmtuned.conf', conf + 'KSM_MONITOR_INTERVAL=0\nDEBUG=1\n'
          f'LOGFILE={bed.debug_log}\n')
    write(bed.config, conf + 'KSM_MONITOR_INTERVAL=86400\n'
          'KSM_POLICY=classic-strict\n')
    write(f'{bed.proc}/meminfo', meminfo(chance, total))
    bed.start()
    told = bed.log().count('ksmd r')
    with bed.original():
        # The first line of its log that matters is of its first round.
        write(bed.meminfo_fifo, meminfo(chance, total))
        for number in range(1, ROUNDS_A_BOOT + 1):
            text = meminfo(chance, total)
            for guest in bed.guests:
                guest.set_resident(int(total / PAGE_KIB
                                       * chance.random() ** 2))
            write(f'{bed.proc}/meminfo', text)
            bed.process.send_signal(10)
            write(bed.meminfo_fifo, text)
            said = wait_for(lambda: decisions(bed.debug_log, number),
                            'the original')
            wait_for(lambda: bed.log().count('ksmd r') == told + number,
                     'ours')
            original, ours = decided(bed.original_ksm), decided(bed.ksm)
            check_equal(ours, original,
                        f'round {number} with {total} kB, {conf!r}, {text!r}; '
                        f'the original said {said!r}')
            counts[original['run']] += 1
    bed.stop()


def decisions(log, number):
    """The last of NUMBER that the original has told, or None."""
    found = re.findall(r'.*(?:stop ksm|KSMCTL start.*)$', log.read_text(),
                       re.M)
    return found[-1] if len(found) == number else None


def test_decisions(bed):
    """the same readings lead to the same settings, a thousand times"""
    chance = random.Random(SEED)
    counts = [0, 0]
    for _ in range(ROUNDS // ROUNDS_A_BOOT):
        run_boot(bed, chance, counts)
    print(f'# ksmd was to rest {counts[0]} times, and to run {counts[1]}')
    check(min(counts) > ROUNDS / 10, f'one-sided: {counts}')


def main():
    if not ORIGINAL.exists():
        print(f'1..0 # SKIP {ORIGINAL} is missing: run '
              'make original-ksmtuned')
        sys.exit(cases.SKIP)
    if os.getuid():
        print('1..0 # SKIP not root: no mount can be made')
        sys.exit(cases.SKIP)
    if INSIDE not in os.environ:
        os.environ[INSIDE] = '1'
        os.execvp('unshare', ['unshare', '--mount', '--pid', '--fork',
                              '--kill-child', '--mount-proc',
                              sys.executable, *sys.argv])
    cases.main("The decisions of the distribution's ksmtuned.", globals(), Bed)


if __name__ == '__main__':
    main()
