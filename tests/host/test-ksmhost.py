#!/usr/bin/env python3
#
# The host's KSM settings have one user at a time, and are put back
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-ksmhost.py [CASE]...
#
# Users of ksmtest/ksmhost.py, processes of their own, change all settings and
# end in all ways.  They are real settings, and so this test is itself a user:
# those that it starts have a lock of their own, below the host's.

import fcntl
import json
import mmap
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, ksmhost  # noqa: E402
from ksmtest.checks import PATIENCE, check, check_equal, wait_for  # noqa: E402

MERGED_PAGES = 64


class Bed(cases.Bed):
    programs = ()


def settings():
    return {name: value for name, value in ksmhost.read_all().items()
            if value is not None}


def other(name, value):
    """Another value that a setting may have."""
    if name == 'advisor_mode':
        return 'scan-time' if value == 'none' else 'none'
    if name == 'ksmd_processors':
        return value[-1:]
    if name in ('run', 'smart_scan', 'use_zero_pages'):
        return 0 if value else 1
    return value - 1 if value > 1 else 2


def change(name, value):
    if name in ksmhost.OF_KSMD:
        ksmhost.OF_KSMD[name][1](ksmhost.ksmd_pid(), value)
    else:
        ksmhost.write(name, value)


def be_user():
    """What a user does: changes all, says so, and ends when it is told to."""
    with ksmhost.KSMHost() as host:
        found = settings()
        if found.get('advisor_mode', 'none') != 'none':
            # It refuses what it sets by itself.
            ksmhost.write('advisor_mode', 'none')
        for name, value in found.items():
            change(name, other(name, value))
        print(json.dumps({'found': found, 'keeper': host.keeper.pid}),
              flush=True)
        if sys.stdin.readline() == 'raise\n':
            raise RuntimeError('as it was told')


class User:
    """A user of the settings; once it has told so, they are all changed."""

    def __init__(self, bed, command=()):
        environment = dict(os.environ, KSM_HOST_LOCKS=str(bed.directory))
        environment.pop(ksmhost.HELD, None)
        self.errors = bed.directory / 'user.log'
        with open(self.errors, 'wb') as errors:
            self.process = subprocess.Popen(
                [*command, sys.executable, __file__, '--user'],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                env=environment)
        self.found = self.keeper = None

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.kill()
        self.process.communicate()

    def is_inside(self, seconds=PATIENCE):
        """Whether it has changed the settings, or does so in SECONDS."""
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            return False
        said = json.loads(self.process.stdout.readline())
        self.found, self.keeper = said['found'], said['keeper']
        return True

    def end(self, how):
        """Lets it end; returns its exit status."""
        self.process.stdin.write(f'{how}\n'.encode())
        self.process.stdin.flush()
        return self.process.wait(PATIENCE)

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        check_equal(self.process.wait(PATIENCE), -number, 'exit status')


def start(bed, **options):
    """A user that has changed the settings."""
    before = settings()
    user = bed.enter(User(bed, **options))
    check(user.is_inside(), 'the user does not get the settings')
    check_equal(user.found, before, 'what it found')
    now = settings()
    # Unlike all others, what the advisor sets may be what it was; and there
    # may be one processor only.
    alike = [name for name in now if now[name] == before[name]
             and name not in ('pages_to_scan', *ksmhost.OF_KSMD)]
    check(not alike, f'nothing has changed {alike}')
    return user, before


def is_free(bed):
    """Whether the lock is."""
    with open(bed.directory / 'ksm-host.lock', 'wb') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def check_back(bed, before):
    """All has to be as it was, and nothing to be left."""
    check_equal(settings(), before, 'settings')
    check(is_free(bed), 'something still holds the lock')
    check_equal(list(bed.directory.glob('*.saved')), [], 'files left')


def wait_back(bed, before):
    """The keeper may do it later than its user ends."""
    wait_for(lambda: is_free(bed), 'the lock to be free')
    check_back(bed, before)


def test_end(bed):
    """all is put back when the user is done"""
    user, before = start(bed)
    check_equal(user.end('end'), 0, 'exit status')
    check_back(bed, before)


def test_exception(bed):
    """all is put back when the user fails"""
    user, before = start(bed)
    check_equal(user.end('raise'), 1, 'exit status')
    check('as it was told' in user.errors.read_text(), 'it did not fail')
    check_back(bed, before)


def test_sigterm(bed):
    """all is put back after SIGTERM"""
    user, before = start(bed)
    user.kill(signal.SIGTERM)
    wait_back(bed, before)


def test_kill(bed):
    """all is put back after kill -9"""
    user, before = start(bed)
    user.kill()
    wait_back(bed, before)


def test_group(bed):
    """what a terminal sends to all processes keeps no keeper from its work"""
    user, before = start(bed)
    changed = settings()
    for number in signal.SIGINT, signal.SIGTERM, signal.SIGHUP:
        os.kill(user.keeper, number)
    time.sleep(0.2)
    check(not is_free(bed), 'the keeper is gone')
    check_equal(settings(), changed, 'settings')
    check_equal(user.end('end'), 0, 'exit status')
    check_back(bed, before)


def test_kill_keeper(bed):
    """all is put back by a user whose keeper was killed"""
    user, before = start(bed)
    os.kill(user.keeper, signal.SIGKILL)
    check_equal(user.end('end'), 0, 'exit status')
    check_back(bed, before)


def test_kill_both(bed):
    """after kill -9 of user and keeper the next user puts all back"""
    user, before = start(bed)
    changed = settings()
    os.kill(user.keeper, signal.SIGKILL)
    user.kill()
    wait_for(lambda: is_free(bed), 'the lock to be free')
    check_equal(settings(), changed, 'settings that nobody puts back')
    following = bed.enter(User(bed))
    check(following.is_inside(), 'the next user does not get the settings')
    check_equal(following.found, before, 'what the next user found')
    following.kill()
    wait_back(bed, before)


def test_second_user(bed):
    """a second user waits, says what for, and finds all as it was"""
    user, before = start(bed)
    second = bed.enter(User(bed))
    wait_for(lambda: 'waiting' in second.errors.read_text(),
             'the second user to say that it waits')
    check(str(bed.directory / 'ksm-host.lock') in second.errors.read_text(),
          f'it says: {second.errors.read_text()}')
    check(not second.is_inside(0.5), 'there are two users at a time')
    user.kill()
    check(second.is_inside(), 'the second user does not get the settings')
    check_equal(second.found, before, 'what the second user found')
    check_equal(second.end('end'), 0, 'exit status')
    check_back(bed, before)


def test_command(bed):
    """as a command it guards another one, that may be a user itself"""
    command = (sys.executable, ksmhost.__file__)
    user, before = start(bed, command=command)
    check_equal(user.end('end'), 0, 'exit status')
    wait_back(bed, before)
    user, before = start(bed, command=command)
    user.kill()
    wait_back(bed, before)


def test_unsaved(bed):
    """where settings can't be saved, none is changed"""
    before = settings()
    (bed.directory / 'ksm-host.new').mkdir()
    user = bed.enter(User(bed))
    check_equal(user.process.wait(PATIENCE), 1, 'exit status')
    check(f'is {bed.directory} writable?' in user.errors.read_text(),
          f'it says: {user.errors.read_text()}')
    check_back(bed, before)


def merging_pages():
    return int(Path('/proc/self/ksm_merging_pages').read_text())


def test_unmerge(bed):
    """where ksmd had not run, what it has merged is unmerged"""
    ksmhost.write('run', 0)
    with mmap.mmap(-1, MERGED_PAGES * mmap.PAGESIZE,
                   mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
        memory.write(os.urandom(mmap.PAGESIZE) * MERGED_PAGES)
        memory.madvise(mmap.MADV_MERGEABLE)
        user, before = start(bed)
        # The advisor would take its time.
        with ksmhost.ksmd():
            wait_for(lambda: merging_pages() == MERGED_PAGES,
                     'pages to be merged')
        user.kill()
        wait_back(bed, before)
        check_equal(merging_pages(), 0, 'merged pages')


if __name__ == '__main__':
    if sys.argv[1:] == ['--user']:
        be_user()
    else:
        cases.main("Use the host's KSM settings, and end in all ways.",
                   globals(), Bed)
