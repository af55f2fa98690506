#!/usr/bin/env python3
#
# ksmd is nice while it runs on demand, and as before afterwards
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-nice.py [OPTION]... [CASE]...
#
# It is the host's ksmd, which finds little to do.

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, ksmhost  # noqa: E402
from ksmtest.checks import (  # noqa: E402
    PATIENCE, Skipped, check, check_equal, wait_for)
from ksmtest.engine import Engine  # noqa: E402
from ksmtest.ksmtuned import Ksmtuned  # noqa: E402
from ksmtest.wire import demand  # noqa: E402

NICE = 10


class Bed(cases.Bed):
    programs = ('ksmtuned',)

    def __init__(self, arguments, directory, stack):
        super().__init__(arguments, directory, stack)
        self.ksmd = ksmhost.ksmd_pid()
        if not self.ksmd:
            raise Skipped('no ksmd to be seen')
        ksmhost.write('run', 0)
        self.before = self.nice()
        check(self.before != NICE, f'ksmd has a nice value of {NICE} before')

    def nice(self):
        return ksmhost.get_nice(self.ksmd)

    def ksmtuned(self, wrapper=()):
        return Ksmtuned(self.arguments.ksmtuned, self.directory,
                        self.directory / 'ksmtuned.log', wrapper=wrapper)

    @contextlib.contextmanager
    def boosted(self, ksmtuned):
        """Meanwhile an engine wants what ksmd never gets done with."""
        with contextlib.closing(Engine(str(ksmtuned.socket))) as engine:
            engine.send(demand(100000, 100000))
            wait_for(lambda: ksmhost.read('run') == 1, 'ksmd to run')
            yield


def test_demand(bed):
    """ksmd is nice while it runs on demand"""
    with bed.ksmtuned() as ksmtuned:
        check_equal(bed.nice(), bed.before, 'nice value without demand')
        with bed.boosted(ksmtuned):
            check_equal(bed.nice(), NICE, 'nice value on demand')
    check_equal(ksmhost.read('run'), 0, 'run')
    check_equal(bed.nice(), bed.before, 'nice value after the end')


def test_killed(bed):
    """and as before, once what a killed ksmtuned left is put back"""
    with bed.ksmtuned() as ksmtuned, bed.boosted(ksmtuned):
        os.kill(ksmtuned.pid, signal.SIGKILL)
        wait_for(lambda: bed.nice() == NICE, 'ksmd to be nice')
        subprocess.run([bed.arguments.ksmtuned, '--restore',
                        f'--runtime-dir={bed.directory}'], check=True,
                       timeout=PATIENCE)
        check_equal(bed.nice(), bed.before, 'nice value')
        check_equal(ksmhost.read('run'), 0, 'run')


def test_unprivileged(bed):
    """it is left alone by who could not put it back"""
    with bed.ksmtuned(wrapper=('setpriv', '--bounding-set=-sys_nice',
                               '--inh-caps=-sys_nice')) as ksmtuned, \
            bed.boosted(ksmtuned):
        check_equal(bed.nice(), bed.before, 'nice value')


if __name__ == '__main__':
    cases.main('ksmd is nice while it runs on demand.', globals(), Bed)
