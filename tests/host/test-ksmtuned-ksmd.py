#!/usr/bin/env python3
#
# ksmtuned wakes ksmd on demand, and puts its settings back
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-ksmtuned-ksmd.py KSMTUNED [CASE]...
#
# ksmtuned is a real one, its host is made up: see ksmtest/daemon.py.

import glob
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import cases  # noqa: E402
from ksmtest.checks import check, check_equal, wait_for  # noqa: E402
from ksmtest.daemon import Daemon  # noqa: E402
from ksmtest.host import KSM_FILES  # noqa: E402
from ksmtest.wire import PAGE_SIZE, demand, publish  # noqa: E402

BOOST = {'run': '1', 'pages_to_scan': '4096', 'sleep_millisecs': '0',
         'smart_scan': '0', 'use_zero_pages': '1', 'advisor_mode': 'none'}


def start_boost(daemon, engine, pages=1000):
    engine.send(demand(pages, pages))
    wait_for(lambda: daemon.get('run') == '1', 'ksmd to run')


def test_demand(daemon):
    """Demand wakes ksmd; it stops when all was scanned."""
    daemon.start()
    engine = daemon.engine()
    before = daemon.settings()
    start_boost(daemon, engine)
    check_equal(daemon.settings(), BOOST, 'settings')
    check(os.path.exists(daemon.state), 'no state file')
    daemon.wait_stats(ksmd_wakeups=1, demand_waiting_pages=1000,
                      ksmd_running=True)
    for _ in range(2):
        daemon.full_scan()
        time.sleep(0.2)
        check_equal(daemon.get('run'), '1', 'run')
    daemon.full_scan()
    wait_for(lambda: not os.path.exists(daemon.state), 'ksmd to stop')
    check_equal(daemon.settings(), before, 'settings after')
    daemon.wait_stats(ksmd_wakeups=1, demand_waiting_pages=0,
                      ksmd_running=False)
    for name in 'max_page_sharing', 'merge_across_nodes', 'use_zero_pages':
        check_equal(daemon.get(name), KSM_FILES[name], name)


def test_small_demand(daemon):
    """A few pages wait for others."""
    daemon.start()
    engine = daemon.engine()
    engine.send(demand(10, 10))
    daemon.wait_stats(demand_waiting_pages=10)
    time.sleep(0.5)
    check_equal(daemon.get('run'), '0', 'run')
    engine.send(demand(300, 310))
    wait_for(lambda: daemon.get('run') == '1', 'ksmd to run')


def test_claim(daemon):
    """No engine is taken to wait for more pages than the host has."""
    pages = (1 << 30) // PAGE_SIZE
    daemon.set_memory(1 << 29, SwapTotal=1 << 29)
    daemon.start()
    start_boost(daemon, daemon.engine(), 1 << 32)
    daemon.wait_stats(demand_waiting_pages=pages)
    # That is worth it, so others don't wait for it.
    daemon.set('pages_sharing', pages // 8)
    for _ in range(3):
        daemon.full_scan()
    wait_for(lambda: daemon.get('run') == '0', 'ksmd to stop')
    daemon.engine().send(demand(pages, pages))
    wait_for(lambda: daemon.get('run') == '1', 'ksmd to run', 3)


def test_advisor(daemon):
    """An active advisor is put off and on again."""
    daemon.set('advisor_mode', 'none [scan-time]')
    daemon.start()
    start_boost(daemon, daemon.engine())
    check_equal(daemon.get('advisor_mode'), 'none', 'advisor_mode')
    daemon.stop()
    check_equal(daemon.get('advisor_mode'), 'scan-time', 'advisor_mode')


def test_old_kernel(daemon):
    """Without the newer files, and with ksmd running as found."""
    for name in 'smart_scan', 'advisor_mode', 'pages_scanned':
        os.unlink(os.path.join(daemon.ksm, name))
    daemon.set('run', '1')
    daemon.start()
    engine = daemon.engine()
    engine.send(demand(1000, 1000))
    wait_for(lambda: daemon.get('pages_to_scan') == '4096', 'the boost')
    for _ in range(3):
        daemon.set('full_scans', int(daemon.get('full_scans')) + 1)
    wait_for(lambda: daemon.get('pages_to_scan') == '100', 'the old pace')
    check_equal(daemon.get('run'), '1', 'run')
    check_equal(daemon.get('sleep_millisecs'), '20', 'sleep_millisecs')
    check(not os.path.exists(os.path.join(daemon.ksm, 'smart_scan')),
          'smart_scan was made')


def test_cleanup(daemon):
    """An engine that had pages marked leaves: ksmd walks twice more."""
    daemon.start()
    quiet, engine = daemon.engine(), daemon.engine()
    start_boost(daemon, engine)
    for _ in range(3):
        daemon.full_scan()
    wait_for(lambda: daemon.get('run') == '0', 'ksmd to stop')
    quiet.close()
    daemon.wait_stats(clients=1)
    time.sleep(0.3)
    check_equal(daemon.get('run'), '0', 'run')
    engine.close()
    wait_for(lambda: daemon.get('run') == '1', 'the cleanup')
    daemon.full_scan()
    time.sleep(0.2)
    check_equal(daemon.get('run'), '1', 'run')
    daemon.full_scan()
    wait_for(lambda: daemon.get('run') == '0', 'ksmd to stop')


def test_unmerge(daemon):
    """An engine gives all of its pages back: the kernel is to forget them."""
    daemon.start()
    engine = daemon.engine()
    start_boost(daemon, engine)
    for _ in range(3):
        daemon.full_scan()
    wait_for(lambda: daemon.get('run') == '0', 'ksmd to stop')
    engine.send(demand(0, 0))
    wait_for(lambda: daemon.get('run') == '1', 'the cleanup')
    for _ in range(2):
        daemon.full_scan()
        time.sleep(0.2)
    check_equal(daemon.get('run'), '0', 'run')


def test_nothing_to_scan(daemon):
    """ksmd makes no progress: it is stopped all the same."""
    daemon.start()
    start_boost(daemon, daemon.engine())
    wait_for(lambda: daemon.get('run') == '0', 'ksmd to stop')
    daemon.wait_log('nothing to scan')


def test_stopped_by_others(daemon):
    """An administrator's settings are not overridden."""
    daemon.start()
    engine = daemon.engine()
    start_boost(daemon, engine)
    daemon.set('run', '2')
    daemon.set('sleep_millisecs', '50')
    wait_for(lambda: not os.path.exists(daemon.state), 'the end of the boost')
    check_equal(daemon.get('run'), '2', 'run')
    check_equal(daemon.get('sleep_millisecs'), '50', 'sleep_millisecs')
    check_equal(daemon.get('pages_to_scan'), '100', 'pages_to_scan')
    engine.send(demand(100000, 101000))
    time.sleep(0.5)
    check_equal(daemon.get('run'), '2', 'run')


def test_restore_at_exit(daemon):
    for number in signal.SIGTERM, signal.SIGINT, signal.SIGHUP:
        for name, value in KSM_FILES.items():
            daemon.set(name, value)
        daemon.start()
        engine = daemon.engine()
        start_boost(daemon, engine)
        daemon.stop(number)
        check_equal(daemon.get('run'), '0', 'run')
        check_equal(daemon.get('pages_to_scan'), '100', 'pages_to_scan')
        check_equal(daemon.get('sleep_millisecs'), '20', 'sleep_millisecs')
        check_equal(daemon.get('smart_scan'), '1', 'smart_scan')
        check_equal(daemon.stats()['ksmd_running'], False, 'ksmd_running')
        check(not os.path.exists(daemon.socket), 'the socket is left')
        check(not os.path.exists(daemon.state), 'the state file is left')
        check_equal(engine.receive(), None, 'the connection')


def test_log_gone(daemon):
    """Ctrl-C in a pipeline ends the reader of the log first."""
    ours, theirs = os.pipe()
    daemon.start(stderr=theirs)
    os.close(theirs)
    before = daemon.settings()
    start_boost(daemon, daemon.engine())
    os.close(ours)
    daemon.stop(signal.SIGINT)
    check_equal(daemon.settings(), before, 'settings')


def become_nobody(daemon):
    """For root, whom no mode of a file keeps from writing it."""
    binary = shutil.copy(daemon.command[-1], daemon.root)
    for path in (daemon.root, daemon.ksm, *glob.glob(f'{daemon.ksm}/*')):
        os.chown(path, 65534, 65534)
    daemon.command[-1:] = ['setpriv', '--reuid=65534', '--regid=65534',
                           '--clear-groups', binary]


def test_failed_restore(daemon):
    """What can't be put back is not taken for what was found."""
    if os.geteuid() == 0:
        become_nobody(daemon)
    smart_scan = os.path.join(daemon.ksm, 'smart_scan')
    before = daemon.settings()
    daemon.start()
    engine = daemon.engine()
    start_boost(daemon, engine)
    os.chmod(smart_scan, 0o444)
    # Not in vain: the next demand is served soon.
    daemon.set('pages_sharing', 1000)
    for _ in range(3):
        daemon.full_scan()
    daemon.wait_log("can't restore ksmd's settings")
    check_equal(daemon.get('smart_scan'), '0', 'smart_scan')
    os.chmod(smart_scan, 0o644)
    engine.send(demand(100000, 200000))
    wait_for(lambda: daemon.get('run') == '1', 'ksmd to run again')
    daemon.stop()
    check_equal(daemon.settings(), before, 'settings')
    check(not os.path.exists(daemon.state), 'the state file is left')


def kill_in_boost(daemon):
    daemon.start()
    engine = daemon.engine()
    start_boost(daemon, engine)
    daemon.stop(signal.SIGKILL, -signal.SIGKILL)
    check_equal(daemon.get('run'), '1', 'run after kill -9')
    check_equal(engine.receive(), None, 'the connection')


def test_kill_and_start(daemon):
    """After kill -9 the next one restores what the first had found."""
    kill_in_boost(daemon)
    daemon.start()
    check_equal(daemon.get('run'), '0', 'run')
    check_equal(daemon.get('pages_to_scan'), '100', 'pages_to_scan')
    check_equal(daemon.get('smart_scan'), '1', 'smart_scan')
    daemon.engine().check_silent()


def test_kill_and_restore(daemon):
    """Or ksmtuned --restore does."""
    kill_in_boost(daemon)
    result = daemon.run('--restore')
    check_equal(result.returncode, 0, 'exit status: ' + result.stderr)
    check_equal(daemon.get('run'), '0', 'run')
    check_equal(daemon.get('sleep_millisecs'), '20', 'sleep_millisecs')
    result = daemon.run('--restore')
    check_equal(result.returncode, 0, 'exit status')
    check('nothing to restore' in result.stderr, result.stderr)


def test_no_ksm(daemon):
    """Without KSM engines still learn their twins."""
    for name in KSM_FILES:
        os.unlink(os.path.join(daemon.ksm, name))
    daemon.start()
    daemon.wait_log('CONFIG_KSM')
    engine = daemon.engine()
    engine.send(demand(1000, 1000))
    engine.check_silent()
    daemon.wait_stats(demand_waiting_pages=1000, ksmd_wakeups=0)


def test_unwritable_ksm(daemon):
    """ksmd vanishes while engines are served: logged, and life goes on."""
    daemon.start()
    engine = daemon.engine()
    engine.check_silent()
    os.unlink(os.path.join(daemon.ksm, 'sleep_millisecs'))
    engine.send(demand(1000, 1000))
    daemon.wait_log("can't set ksmd")
    engine.check_silent()


def test_bad_state_file(daemon):
    """A state file that makes no sense is named, not guessed at."""
    before = daemon.settings()
    os.mkdir(daemon.runtime)
    with open(daemon.state, 'w') as f:
        f.write('nonsense')
    result = daemon.run()
    check_equal(result.returncode, 1, 'exit status')
    check(daemon.state in result.stderr, result.stderr)
    check_equal(daemon.settings(), before, 'settings')


def test_idle(daemon):
    """Nothing to do: not one wakeup."""
    daemon.start()
    engine = daemon.engine()
    engine.send(publish((1, 1), (1, 2)))
    engine.twins(2)
    start_boost(daemon, engine)
    for _ in range(3):
        daemon.full_scan()
    wait_for(lambda: daemon.get('run') == '0', 'ksmd to stop')
    # The last statistics come within a second.
    time.sleep(1.5)

    def switches():
        with open(f'/proc/{daemon.process.pid}/status') as f:
            return re.search(r'^voluntary_ctxt_switches:\s*(\d+)', f.read(),
                             re.M).group(1)
    before = switches()
    time.sleep(1.5)
    check_equal(switches(), before, 'context switches')


if __name__ == '__main__':
    cases.main('Let a ksmtuned drive ksmd.', globals(), Daemon)
