#!/usr/bin/env python3
#
# QEMUs of one user in several cgroups, and ksmtuned's rules
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-domains.py [OPTION]... [CASE]...
#
# The cgroups are real ones, made for the case.

import grp
import os
import pwd
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, restricted  # noqa: E402
from ksmtest.checks import (  # noqa: E402
    Skipped, check, check_equal, wait_for)
from ksmtest.ksmtuned import Ksmtuned  # noqa: E402
from ksmtest.qtest import PAGE, QTest  # noqa: E402

# More than ksmtuned waits for to gather.
PAGES = 600
# Until a page without a twin would have been told one.
SETTLED = 10


class Bed(cases.Bed):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.home, self.user = restricted.ordinary_user(self.directory)
        self._root = self.directory / 'cgroup'
        self._root.mkdir()
        mounted = subprocess.run(
            ['mount', '-t', 'cgroup2', 'none', self._root], check=False,
            stderr=subprocess.PIPE, text=True)
        if mounted.returncode:
            raise Skipped(f'no cgroups: {mounted.stderr.strip()}')
        self._stack.callback(subprocess.run, ['umount', self._root],
                             check=True)
        self.name = f'ksm-test-{os.getpid()}'
        self._make('')

    def _make(self, name):
        directory = self._root / self.name / name
        directory.mkdir()
        # When what is in it has ended.
        self._stack.callback(directory.rmdir)
        return directory

    def ksmtuned(self, *rules, **options):
        """ROOT in them is the cgroup that has the others."""
        path = self.directory / 'domains'
        path.write_text('\n'.join(
            [rule.replace('ROOT', f'/{self.name}') for rule in rules] + ['']))
        user = pwd.getpwnam(restricted.ORDINARY_USER)
        group = grp.getgrgid(user.pw_gid).gr_name
        return self.enter(Ksmtuned(
            self.arguments.ksmtuned, self.home,
            self.directory / 'ksmtuned.log',
            extra=(f'--group={group}', f'--domains={path}'), **options))

    def guest(self, ksmtuned, name):
        """One that ends with the case, in a cgroup of its name."""
        cgroup = self._make(name)
        return self.enter(QTest(
            self.arguments.qemu, self.home, name,
            rendezvous=ksmtuned.socket,
            command=restricted.command(self.user, f'--cgroup={cgroup}')))


def check_user(*guests):
    user = pwd.getpwnam(restricted.ORDINARY_USER).pw_uid
    check_equal({os.stat(f'/proc/{guest.pid}').st_uid for guest in guests},
                {user}, 'users of the QEMUs')


def test_apart(bed):
    """QEMUs of one user in two cgroups learn nothing of each other"""
    ksmtuned = bed.ksmtuned('[a]', 'Cgroup=ROOT/a*', '[b]', 'Cgroup=ROOT/b')
    one, other = bed.guest(ksmtuned, 'a1'), bed.guest(ksmtuned, 'b')
    check_user(one, other)
    contents = os.urandom(PAGE * PAGES)
    for guest in one, other:
        guest.fill(contents)
        check_equal(guest.limits(), {}, 'limits')
    for guest in one, other:
        guest.passes(SETTLED)
        check_equal(guest.figures()['pages-twins'], 0,
                    f'pages-twins of {guest.name}')
    second = bed.guest(ksmtuned, 'a2')
    second.fill(contents)
    for guest in one, second:
        guest.wait_figure('pages-twins', PAGES)
    other.passes(SETTLED)
    check_equal(other.figures()['pages-twins'], 0, 'pages-twins of the other')


def test_not_let_in(bed):
    """a QEMU that no rule lets in is told so, and works alone"""
    ksmtuned = bed.ksmtuned('[a]', 'Cgroup=ROOT/a')
    guest = bed.guest(ksmtuned, 'b')
    check_user(guest)
    page = os.urandom(PAGE)
    guest.fill(page + page)
    guest.wait_figure('pages-twins', 2)
    guest.wait(lambda: 'in no domain'
               in guest.limits().get('no-rendezvous', ''), 'to be told')
    check(f'/{bed.name}/b' in (bed.directory / 'ksmtuned.log').read_text(),
          'the cgroup is not in the log')


def test_budget(bed):
    """a QEMU uses what ksmtuned grants it, or gives back what is merged"""
    ksmtuned = bed.ksmtuned(
        '[a]', 'Cgroup=ROOT/a', 'Priority=300', '[b]', 'Cgroup=ROOT/b',
        settings='KSM_POLICY=pressure\nKSM_ENGINES_CPU=8\n'
                 'KSM_MONITOR_INTERVAL=1\nKSM_RELEASE_AFTER=12\n'
                 'KSM_THRES_COEF=1\nKSM_THRES_CONST=1\n')
    guests = [bed.guest(ksmtuned, name) for name in ('a', 'b')]
    # As long as none is busy each could be the only one.
    for guest in guests:
        wait_for(lambda guest=guest: guest.ksm()['cpu-permille'] == 80,
                 'its budget')
        guest.fill(bytes(PAGE * PAGES))
        wait_for(lambda guest=guest: guest.figures()['pages-marked'] > 0,
                 'a mark')
    for guest in guests:
        wait_for(lambda guest=guest: 'released' in guest.limits(),
                 'memory to be plentiful')
        check_equal(guest.ksm()['state'], 'stopped', 'state')
        wait_for(lambda guest=guest: not guest.figures()['pages-marked'],
                 'all marks to be gone')
        guest.check_contents()


if __name__ == '__main__':
    cases.main('Keep QEMUs of one user apart.', globals(), Bed)
