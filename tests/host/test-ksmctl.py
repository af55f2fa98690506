#!/usr/bin/env python3
#
# ksmctl: what it changes of a host, and how it is called
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-ksmctl.py KSMCTL [CASE]...
#
# KSMCTL_WRAPPER in the environment, e.g. "valgrind -q", goes before it.

import contextlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import cases, restricted  # noqa: E402
from ksmtest.checks import (  # noqa: E402
    PATIENCE, Skipped, check, check_equal)
from ksmtest.host import MIB, PAGE  # noqa: E402
from ksmtest.ksmctl import LIMIT_VARIABLE as VARIABLE, Ksmctl  # noqa: E402

# To refuse as the kernel does: -1000 to 1000 can be written there.
KERNEL_FILE = '/proc/self/oom_score_adj'


def test_options(host):
    """Wrong usage has status 2 and names the way out."""
    check(re.match(r'ksmctl \d+\.\d+', host.out('--version')), 'version')
    for command in ('start', 'stop', 'status', 'top', 'domains', 'tune',
                    'retune', 'libvirt-xml', 'unmerge'):
        check(f'  {command} ' in host.out('--help'), 'help')
        check(f'ksmctl {command}' in host.out(command, '--help'), 'help')
    before = host.values()
    for arguments in ((), ('no-such-command',), ('--no-such-option',),
                      ('start', 'x'), ('stop', 'x'), ('status', 'x'),
                      ('top', 'x'), ('domains', 'x'), ('unmerge', 'x'),
                      ('tune',), ('retune', 'x'), ('libvirt-xml',),
                      ('start', '--no-such-option'), ('status', '--watch=x'),
                      ('status', '--watch=0'), ('status', '--watch=-1'),
                      ('status', '--watch=1x'), ('status', '--watch=nan')):
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
    check(VARIABLE in said and 'only ksmtuned' in said, said)
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
    for arguments in (['start'], ['stop'], ['unmerge', '--yes'],
                      ['tune', 'pages_to_scan=1']):
        error = host.fails(1, *arguments)
        check('CONFIG_KSM=y' in error, error)
    status = host.status()
    check_equal(status['values'], {}, 'values')
    for name in 'ksmd_running', 'saved_bytes', 'profit_bytes':
        check(name not in status, f'{name}: {status}')
    text = host.out('status')
    check(re.search(r'^ksmd +- \(there is no KSM', text, re.M), text)
    check(re.search(r'^saved by KSM +-$', text, re.M), text)


def test_stop(host):
    """ksmd rests, and nothing else changes."""
    host.set('run', 1)
    before = host.values()
    host.out('stop')
    check_equal(host.values(), {**before, 'run': '0'}, 'values')


def test_tune(host):
    """Settings are set, as many as are named."""
    before = host.values()
    host.out('tune', 'pages_to_scan=1000', 'sleep_millisecs=5',
             'advisor_mode=scan-time')
    check_equal(host.values(), {**before, 'pages_to_scan': '1000',
                                'sleep_millisecs': '5',
                                'advisor_mode': 'scan-time'}, 'values')


def test_tune_refusals(host):
    """One that can't be set: nothing is, and it says what can."""
    before = host.values()
    for name, reason, status in (
            ('no_such', 'is no setting', 2), ('pages_sharing', 'a figure', 2),
            ('run', 'start, stop and unmerge', 2),
            ('../ksm/run', 'is no setting', 2),
            ('advisor_max_cpu', 'is not in this kernel', 1)):
        error = host.fails(status, 'tune', 'pages_to_scan=9', f'{name}=1')
        check(f"'{name}' " in error and reason in error, error)
        check('pages_to_scan, sleep_millisecs, merge_across_nodes, '
              'max_page_sharing, use_zero_pages, smart_scan, advisor_mode\n'
              in error, error)
        check_equal(host.values(), before, 'values')
    for argument in 'pages_to_scan', 'pages_to_scan=', '=1':
        error = host.fails(2, 'tune', 'pages_to_scan=9', argument)
        check(f"'{argument}': not NAME=VALUE" in error, error)
        check_equal(host.values(), before, 'values')


def test_tune_kernel_refusal(host):
    """A value that the kernel refuses is named, and the others put back."""
    os.unlink(host.ksm / 'max_page_sharing')
    os.symlink(KERNEL_FILE, host.ksm / 'max_page_sharing')
    before = host.values()
    error = host.fails(1, 'tune', 'pages_to_scan=9', 'advisor_mode=scan-time',
                       'max_page_sharing=99999')
    check("'99999'" in error and 'max_page_sharing' in error and
          'Invalid argument' in error, error)
    check_equal(host.values(), {**before, 'advisor_mode': 'none'}, 'values')


def test_tune_advisor(host):
    """The advisor lets nobody else set pages_to_scan: it says so."""
    os.unlink(host.ksm / 'pages_to_scan')
    os.symlink(KERNEL_FILE, host.ksm / 'pages_to_scan')
    host.set('advisor_mode', 'none [scan-time]')
    error = host.fails(1, 'tune', 'pages_to_scan=99999')
    check('advisor_mode=none' in error, error)


def set_merged(host, needed, available):
    """Separating all takes NEEDED; 5 % of 1 GiB have to be left."""
    host.set('run', 1)
    host.set('pages_sharing', needed // PAGE - 100)
    host.set('ksm_zero_pages', 100)
    host.set_memory(1000 * MIB, MemAvailable=available)


def test_unmerge(host):
    """Where memory suffices, all is separated, and ksmd rests."""
    set_merged(host, 100 * MIB, 150 * MIB + 1024)
    before = host.values()
    said = host.out('unmerge', '--yes')
    check('run is 2' in said and 'ksmd rests' in said, said)
    check_equal(host.values(), {**before, 'run': '2'}, 'values')


def test_unmerge_guard(host):
    """Else it is refused, with both figures, unless it is forced."""
    set_merged(host, 100 * MIB, 150 * MIB)
    before = host.values()
    error = host.fails(1, 'unmerge', '--yes')
    for words in '100.0 MiB', '50.0 MiB', '150.0 MiB', '--force':
        check(words in error, f'no {words} in {error}')
    check_equal(host.values(), before, 'values')
    # What is not known does not suffice.
    (host.proc / 'meminfo').write_text('MemTotal: 4096000 kB\n')
    host.fails(1, 'unmerge', '--yes')
    check_equal(host.values(), before, 'values')
    host.out('unmerge', '--yes', '--force')
    check_equal(host.values()['run'], '2', 'run')


def test_unmerge_interrupted(host):
    """It ends when memory gets short meanwhile, and says so."""
    set_merged(host, 100 * MIB, 500 * MIB)
    os.unlink(host.ksm / 'run')
    # Nobody reads it, so that the write goes on until it is interrupted.
    os.mkfifo(host.ksm / 'run')
    with subprocess.Popen(
            host.command_line('unmerge', '--yes'), stderr=subprocess.PIPE,
            text=True) as process:
        time.sleep(1)
        check_equal(process.poll(), None, 'status while memory suffices')
        host.set_memory(1000 * MIB, MemAvailable=50 * MIB)
        time.sleep(1)
        check_equal(process.poll(), None, 'status while memory suffices')
        host.set_memory(1000 * MIB, MemAvailable=50 * MIB - 1024)
        error = process.communicate(timeout=PATIENCE)[1]
    check_equal(process.returncode, 1, f'exit status, {error}')
    check('50.0 MiB' in error and 'some pages stay merged' in error, error)


def test_unmerge_asks(host):
    """Nothing is done unless somebody says so."""
    set_merged(host, 100 * MIB, 500 * MIB)
    error = host.fails(1, 'unmerge')
    check('--yes' in error, error)
    for answer, status, run in (('n', 1, '1'), ('', 1, '1'), ('y', 0, '2')):
        terminal = host.terminal('unmerge')
        terminal.wait_for('[y/N]')
        check(b'100.0 MiB of 500.0 MiB' in terminal.output,
              repr(terminal.output))
        terminal.write(answer + '\n')
        check_equal(terminal.end(), status, 'exit status')
        check_equal(host.values()['run'], run, 'run')


def test_unmerge_undone(host):
    """Someone who sets run again meanwhile: no success is claimed."""
    set_merged(host, 100 * MIB, 500 * MIB)
    os.unlink(host.ksm / 'run')
    # What is written there is not what is read.
    os.symlink('/dev/null', host.ksm / 'run')
    error = host.fails(1, 'unmerge', '--yes')
    check('no longer 2' in error, error)


class Signalled:
    """A process named NAME that says 'ready', and 'retune' when signalled."""

    def __init__(self, host, name):
        self._process = subprocess.Popen(
            ['bash', '-c', 'trap "echo retune" USR1; echo ready; '
             'while read -t 60 x || [ $? -gt 128 ]; do :; done'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        check_equal(self.heard(), 'ready', 'process')
        host.add_process(self._process.pid, comm=f'{name}\n')
        (host.runtime / 'lock').write_text(f'{self._process.pid}\n')

    def heard(self):
        return self._process.stdout.readline().strip()

    def close(self):
        """All that it has not yet been heard to say."""
        self._process.kill()
        return self._process.communicate()[0]


def test_retune(host):
    """ksmtuned, found by its lock, is signalled."""
    daemon = host.enter(contextlib.closing(Signalled(host, 'ksmtuned')))
    host.out('retune')
    check_equal(daemon.heard(), 'retune', 'the daemon')


def test_retune_nobody(host):
    """No ksmtuned: said so; what has got its number is not touched."""
    error = host.fails(1, 'retune')
    check(str(host.runtime) in error and 'systemctl start ksmtuned' in error,
          error)
    other = Signalled(host, 'sleep')
    error = host.fails(1, 'retune')
    check('does not run' in error, error)
    check_equal(other.close(), '', 'the other process')
    for content in '', 'x', '-1', '0', '1 2', '9' * 20:
        (host.runtime / 'lock').write_text(content)
        host.fails(1, 'retune')


def test_retune_not_permitted(host):
    """Another user's ksmtuned: said so."""
    if os.getuid():
        raise Skipped('needs root, to be another user')
    daemon = Signalled(host, 'ksmtuned')
    for path in (host.directory, *host.directory.rglob('*')):
        path.chmod(0o755 if path.is_dir() else 0o644)
    host.command = [*restricted.command('--user=nobody'), *host.command]
    error = host.fails(1, 'retune')
    check('not permitted' in error and 'as root' in error, error)
    check_equal(daemon.close(), '', 'the daemon')


if __name__ == '__main__':
    cases.main('Change a host that is made up with ksmctl.', globals(), Ksmctl)
