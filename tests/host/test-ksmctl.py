#!/usr/bin/env python3
#
# ksmctl: each of its commands, on a host that is made up
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-ksmctl.py KSMCTL [CASE]...
#
# KSMCTL_WRAPPER in the environment, e.g. "valgrind -q", goes before it.

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import cases  # noqa: E402
from ksmtest.cases import Bed  # noqa: E402
from ksmtest.checks import PATIENCE, check, check_equal  # noqa: E402
from ksmtest.daemon import KSM_FILES  # noqa: E402
from ksmtest.programs import program  # noqa: E402

PAGE = os.sysconf('SC_PAGESIZE')
MIB = 1 << 20
KSMD_PID = 50
VARIABLE = 'KSM_MAX_KERNEL_PAGES'


class Host(Bed):
    """What ksmctl sees of a host, and ksmctl itself."""

    programs = ('ksmctl',)
    host_ksm = False

    @classmethod
    def add_options(cls, parser):
        parser.add_argument('ksmctl', type=program, metavar='KSMCTL')

    def __init__(self, arguments, directory, stack):
        super().__init__(arguments, directory, stack)
        self.ksm = directory / 'ksm'
        self.ksmfs = directory / 'ksmfs'
        self.proc = directory / 'proc'
        self.command = [*shlex.split(os.environ.get('KSMCTL_WRAPPER', '')),
                        str(arguments.ksmctl)]
        self.roots = [f'--sysfs-root={self.ksm}',
                      f'--ksmfs-root={self.ksmfs}',
                      f'--proc-root={self.proc}']
        self.ksm.mkdir()
        (self.proc / 'self').mkdir(parents=True)
        for name, value in KSM_FILES.items():
            self.set(name, value)
        self.set_memory(1024 * MIB, 512 * MIB)
        self.add_process(KSMD_PID, comm='ksmd\n', cmdline='')
        self.set_ksmd_ns(0)

    def set(self, name, value):
        (self.ksm / name).write_text(f'{value}\n')

    def values(self):
        """All that KSM has: what a command must not change."""
        return {path.name: path.read_text().strip()
                for path in self.ksm.iterdir()}

    def set_memory(self, total, available):
        (self.proc / 'meminfo').write_text(
            f'MemTotal:       {total // 1024} kB\n'
            f'MemAvailable:   {available // 1024} kB\n')

    def set_ksmd_ns(self, ns):
        path = self.proc / str(KSMD_PID) / 'schedstat'
        new = path.with_suffix('.new')
        new.write_text(f'{ns} 0 1\n')
        new.rename(path)

    def add_process(self, pid, **files):
        (self.proc / str(pid)).mkdir()
        for name, content in files.items():
            data = content if isinstance(content, bytes) else content.encode()
            (self.proc / str(pid) / name).write_bytes(data)

    def add_mount(self, device, path=None, **counters):
        """A ksmfs; without a PATH, it is mounted in another namespace."""
        directory = self.ksmfs / device
        directory.mkdir(parents=True)
        for name, value in counters.items():
            (directory / name).write_text(f'{value}\n')
        if path is not None:
            with open(self.proc / 'self/mountinfo', 'a') as f:
                f.write(f'90 26 {device} / {path} rw,relatime shared:9 - '
                        'ksmfs ksmfs rw,size=1024k,max_kernel_pages=7\n')

    def limit(self, device):
        return (self.ksmfs / device / 'max_kernel_pages').read_text().strip()

    def command_line(self, *arguments):
        return [*self.command, *self.roots, *arguments]

    def run(self, *arguments, environment=None, stdin=subprocess.DEVNULL):
        """ENVIRONMENT: more than ours, or None for what is not to be there."""
        return subprocess.run(self.command_line(*arguments), stdin=stdin,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=changed_environment(environment),
                              timeout=PATIENCE, check=False)

    def out(self, *arguments, **options):
        """What it says, when all is well."""
        result = self.run(*arguments, **options)
        check_equal((result.returncode, result.stderr), (0, b''),
                    'status and errors')
        return result.stdout.decode()

    def fails(self, status, *arguments, **options):
        """What it says of a failure."""
        result = self.run(*arguments, **options)
        check_equal((result.returncode, result.stdout), (status, b''),
                    f'status and output of {arguments}')
        error = result.stderr.decode()
        check(error.startswith('ksmctl: ') and error.count('\n') == 1, error)
        return error


def changed_environment(changes):
    environment = dict(os.environ, LC_ALL='C.UTF-8')
    environment.pop(VARIABLE, None)
    environment.update(changes or {})
    return {name: value for name, value in environment.items()
            if value is not None}


def test_options(host):
    """Wrong usage has status 2 and names the way out."""
    check(re.match(r'ksmctl \d+\.\d+', host.out('--version')), 'version')
    for command in 'start', 'stop':
        check(f'  {command} ' in host.out('--help'), 'help')
        check(f'ksmctl {command}' in host.out(command, '--help'), 'help')
    before = host.values()
    for arguments in ((), ('no-such-command',), ('--no-such-option',),
                      ('start', 'x'), ('stop', 'x'),
                      ('start', '--no-such-option')):
        check('--help' in host.fails(2, *arguments), str(arguments))
    check('start, stop' in host.fails(2, 'no-such-command'), 'commands')
    check_equal(host.values(), before, 'values')


def test_options_after_command(host):
    """Where the host is may be said after the command, too."""
    host.roots, roots = ['--sysfs-root=/none'], host.roots
    host.out('start', *roots)
    check_equal(host.values()['run'], '1', 'run')


def test_start(host):
    """Unless a limit is set, all else stays as it is."""
    host.add_mount('0:50', '/a', max_kernel_pages=7)
    for environment in None, {VARIABLE: ''}:
        host.set('run', 0)
        before = host.values()
        host.out('start', environment=environment)
        check_equal(host.values(), {**before, 'run': '1'}, 'values')
        check_equal(host.limit('0:50'), '7', 'limit')


def test_start_kernel_limit(host):
    """Where the kernel has a limit, it is set: to half of memory, if unset."""
    host.add_mount('0:50', '/a', max_kernel_pages=7)
    half = str(1024 * MIB // PAGE // 2)
    for value, limit in ((None, half), ('', half), ('1000', '1000'),
                         ('0', '0'), ('0x10', '16')):
        host.set('max_kernel_pages', 5)
        host.out('start', environment={VARIABLE: value})
        check_equal(host.values()['max_kernel_pages'], limit, 'limit')
        check_equal(host.values()['run'], '1', 'run')
    check_equal(host.limit('0:50'), '7', 'limit of ksmfs')


def test_start_ksmfs_limit(host):
    """Else it is that of each ksmfs of the host."""
    host.add_mount('0:50', '/srv/a\\040b', max_kernel_pages=7)
    host.add_mount('0:51', max_kernel_pages=7)
    said = host.out('start', environment={VARIABLE: '1000'})
    check_equal((host.limit('0:50'), host.limit('0:51')), ('1000', '1000'),
                'limits')
    check('/srv/a b: at most 1000 pages' in said and
          '0:51: at most 1000 pages' in said, said)
    check_equal(host.values()['run'], '1', 'run')
    said = host.out('start', environment={VARIABLE: '0'})
    check('any number' in said, said)
    check_equal(host.limit('0:50'), '0', 'limit')


def test_start_no_limit(host):
    """A limit that nothing has is no error, but it is said."""
    said = host.out('start', environment={VARIABLE: '1000'})
    check(VARIABLE in said and 'no effect' in said, said)
    check_equal(host.values()['run'], '1', 'run')


def test_start_bad_limit(host):
    """No number: variable, value and way out; nothing is changed."""
    host.add_mount('0:50', '/a', max_kernel_pages=7)
    host.set('max_kernel_pages', 5)
    before = host.values()
    for value in '12x', '-1', '1 2', ' ', '1e3', '0x', '9' * 20, 'half':
        error = host.fails(1, 'start', environment={VARIABLE: value})
        check(f"{VARIABLE}='{value}'" in error and
              '/etc/default/ksm' in error, error)
        check_equal(host.values(), before, 'values')
        check_equal(host.limit('0:50'), '7', 'limit')
    error = host.fails(1, 'start', environment={VARIABLE: '\x1b[2J'})
    check('\\x1b[2J' in error, error)


def test_start_refused_limit(host):
    """A limit that can't be set: KSM is not started without it."""
    host.add_mount('0:50', '/a')
    error = host.fails(1, 'start', environment={VARIABLE: '1000'})
    check('0:50/max_kernel_pages' in error and "'1000'" in error, error)
    check_equal(host.values()['run'], '0', 'run')


def test_without_ksm(host):
    """A kernel without KSM: each command says what is missing."""
    for path in host.ksm.iterdir():
        path.unlink()
    for arguments in ['start'], ['stop']:
        error = host.fails(1, *arguments)
        check('CONFIG_KSM=y' in error, error)


def test_stop(host):
    """ksmd rests, and nothing else changes."""
    host.set('run', 1)
    before = host.values()
    host.out('stop')
    check_equal(host.values(), {**before, 'run': '0'}, 'values')


if __name__ == '__main__':
    cases.main('Run ksmctl on a host that is made up.', globals(), Host)
