#!/usr/bin/env python3
#
# What ksmtuned grants engines
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-ksmtuned-budgets.py KSMTUNED [CASE]...
#
# ksmtuned is a real one, its host is made up: see ksmtest/daemon.py.

import os
import signal
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import cases  # noqa: E402
from ksmtest.checks import Skipped, check_equal  # noqa: E402
from ksmtest.daemon import Daemon  # noqa: E402
from ksmtest.wire import TAKES_BUDGET, report  # noqa: E402

# Of CPU time between two reports: more than a hundredth of a CPU.
BUSY_NS = 10**9
# Longer than ksmtuned gathers news before it shares anew.
SETTLED = 1.5


class Bed(Daemon):
    def weigh(self, path, weight):
        """Of a cgroup; what is above it weighs as before."""
        directory = Path(self.cgroups + path)
        directory.mkdir(parents=True, exist_ok=True)
        (directory / 'cpu.weight').write_text(f'{weight}\n')

    def connect(self, cgroup='/', features=TAKES_BUDGET):
        self.describe(os.getpid(), f'0::{cgroup}')
        return self.engine(features=features)


def use(engine, *cpu_ns):
    """The engine reports CPU times, and ksmtuned can tell them apart."""
    for each in cpu_ns:
        time.sleep(0.01)
        engine.send(report(*[0] * 8, each, 0))


def await_budgets(engines, *permilles):
    """The last that each of them is told, if it is told others before."""
    for engine, permille in zip(engines, permilles):
        while engine.budget() != (permille, 0):
            pass


def test_no_limit(bed):
    """without a limit nothing is said of one"""
    bed.configure('KSM_ENGINES_CPU=0')
    bed.start()
    engine = bed.connect()
    use(engine, 1, BUSY_NS)
    time.sleep(SETTLED)
    engine.check_silent()


def test_old_engine(bed):
    """a QEMU that knows no budgets gets none, but counts"""
    bed.configure('KSM_ENGINES_CPU=10')
    bed.start()
    old, new = bed.connect(features=0), bed.connect()
    use(old, 1, BUSY_NS)
    check_equal(new.budget(), (50, 0), 'budget')
    old.check_silent()


def test_busy(bed):
    """those that are busy share; the others may begin at once"""
    bed.configure('KSM_ENGINES_CPU=80')
    bed.start()
    one, other = bed.connect(), bed.connect()
    for engine in one, other:
        check_equal(engine.budget(), (800, 0), 'budget of an idle engine')
    use(one, 1, BUSY_NS)
    check_equal(other.budget(), (400, 0), 'budget beside a busy one')
    use(other, 1, BUSY_NS)
    check_equal(one.budget(), (400, 0), 'budget of one of two')
    # It goes on for a moment, and then rests.
    use(one, 2 * BUSY_NS, 2 * BUSY_NS)
    check_equal(other.budget(), (800, 0), 'budget of the one that is left')
    one.close()
    time.sleep(SETTLED)
    other.check_silent()


def test_weights(bed):
    """cgroups weigh with all that they are in, and rules set priorities"""
    bed.configure('KSM_ENGINES_CPU=90')
    bed.weigh('/tenant', 200)
    bed.weigh('/tenant/vm', 50)
    bed.weigh('/other/libvirt', 100)
    bed.rules('[high]', 'Cgroup=/high', 'Priority=400', '[rest]', 'Cgroup=*')
    bed.start()
    engines = [bed.connect(cgroup)
               for cgroup in ('/tenant/vm', '/other/libvirt', '/high')]
    for engine in engines:
        use(engine, 1, BUSY_NS)
    await_budgets(engines, 150, 150, 600)
    # Who weighs them anew does so at once.
    bed.weigh('/tenant/vm', 200)
    bed.process.send_signal(signal.SIGUSR1)
    await_budgets(engines, 400, 100, 400)


def test_strange_weights(bed):
    """an idle cgroup weighs next to nothing; what root doesn't set, nothing"""
    if os.getuid():
        raise Skipped('needs root, to be another user')
    bed.configure('KSM_ENGINES_CPU=90')
    # What the kernel says of one with cpu.idle.
    bed.weigh('/idle', 0)
    bed.weigh('/users', 10000)
    os.chown(bed.cgroups + '/users/cpu.weight', 65534, 65534)
    bed.start()
    engines = [bed.connect(cgroup) for cgroup in ('/idle', '/users', '/')]
    for engine in engines:
        use(engine, 1, BUSY_NS)
    await_budgets(engines, 4, 447, 447)


def test_default(bed):
    """all together get a tenth of the host, and no less than a CPU"""
    bed.start()
    engines = [bed.connect() for _ in range(2)]
    for engine in engines:
        use(engine, 1, BUSY_NS)
    total = max(1000, 100 * os.cpu_count())
    check_equal(engines[0].budget(), (min(total // 2, 1000), 0), 'budget')


if __name__ == '__main__':
    cases.main('Share CPU time among engines.', globals(), Bed)
