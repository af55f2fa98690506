#!/usr/bin/env python3
#
# ksmtuned as a process: options, instances, sockets, systemd
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-ksmtuned-process.py KSMTUNED [CASE]...
#
# ksmtuned is a real one, its host is made up: see ksmtest/daemon.py.

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import cases  # noqa: E402
from ksmtest.checks import (  # noqa: E402
    PATIENCE, Skipped, check, check_equal, wait_for)
from ksmtest.daemon import Daemon  # noqa: E402
from ksmtest.engine import Engine  # noqa: E402
from ksmtest.programs import with_socket  # noqa: E402


def test_options(daemon):
    result = subprocess.run(daemon.command + ['--version'], timeout=PATIENCE,
                            stdout=subprocess.PIPE, text=True, check=False)
    check_equal(result.returncode, 0, 'exit status')
    check(re.match(r'ksmtuned \d+\.\d+', result.stdout), result.stdout)
    check_equal(daemon.run('--no-such-option').returncode, 2, 'exit status')
    check_equal(daemon.run('argument').returncode, 2, 'exit status')


def test_bad_group(daemon):
    """An unknown group is an error that names it."""
    result = daemon.run('--group=no-such-group')
    check_equal(result.returncode, 1, 'exit status')
    check('no-such-group' in result.stderr, result.stderr)


def test_socket_mode(daemon):
    """Only root, and the group if there is one, may connect."""
    daemon.start()
    check_equal(os.stat(daemon.socket).st_mode & 0o777, 0o660, 'mode')
    daemon.stop()
    if os.getuid() == 0:
        daemon.start('--group=daemon')
        check_equal(os.stat(daemon.socket).st_gid, 1, 'group')


def test_second_instance(daemon):
    """Only one; the other's pid is named, and nothing of its is touched."""
    daemon.start()
    for options in (), ('--restore',):
        result = daemon.run(*options)
        check_equal(result.returncode, 1, 'exit status')
        with open(os.path.join(daemon.runtime, 'lock')) as lock:
            pid = lock.read().strip()
        check(f'pid {pid}' in result.stderr, result.stderr)
    # Another runtime directory, but the same KSM.
    other = os.path.join(daemon.root, 'other')
    result = daemon.run(f'--runtime-dir={other}', f'--socket={other}/socket')
    check_equal(result.returncode, 1, 'exit status')
    check('another ksmtuned controls it' in result.stderr, result.stderr)
    # Another KSM, too, but the same socket.
    result = daemon.run(f'--runtime-dir={other}', f'--socket={daemon.socket}',
                        f'--sysfs-root={other}')
    check_equal(result.returncode, 1, 'exit status')
    check('another process listens' in result.stderr, result.stderr)
    daemon.engine().check_silent()


def test_socket_is_file(daemon):
    """A file in the socket's place is left alone."""
    path = os.path.join(daemon.root, 'precious')
    with open(path, 'w') as f:
        f.write('data')
    result = daemon.run(f'--socket={path}')
    check_equal(result.returncode, 1, 'exit status')
    check('not a socket' in result.stderr, result.stderr)
    with open(path) as f:
        check_equal(f.read(), 'data', 'content')


def test_socket_without_directory(daemon):
    """A socket in no directory is refused, with the way out."""
    result = daemon.run(f"--socket={os.path.join(daemon.root, 'none/x')}")
    check_equal(result.returncode, 1, 'exit status')
    check('its directory does not exist: make it' in result.stderr,
          result.stderr)


def test_stats_log(daemon):
    """SIGUSR2 logs the statistics."""
    daemon.start()
    daemon.engine().check_silent()
    daemon.process.send_signal(signal.SIGUSR2)
    daemon.wait_log('"clients": 1')
    wanted = {'clients', 'index_entries', 'index_shared', 'index_bytes',
              'twins_told', 'cpu_ns', 'ksmd_running', 'demand_waiting_pages',
              'ksmd_wakeups', 'policy', 'decisions', 'max_kernel_pages',
              'engines'}
    check_equal(set(daemon.stats()), wanted, 'keys')


def test_stats_policy(daemon):
    """The statistics tell the policy in force, and count its decisions."""
    daemon.start()
    daemon.wait_stats(policy='classic')
    daemon.engine().check_silent()
    daemon.wait_stats(policy='demand')
    daemon.stop()
    # Where memory is short, pressure decides more often than it may tell so.
    daemon.set_memory(1 << 36, MemAvailable=1 << 36, SwapTotal=0)
    for policy in 'classic-strict', 'pressure':
        daemon.configure(f'KSM_POLICY={policy}')
        daemon.start()
        daemon.wait_stats(policy=policy, decisions=0)
        for decisions in 1, 2:
            daemon.process.send_signal(signal.SIGUSR1)
            daemon.wait_stats(policy=policy, decisions=decisions)
        daemon.stop()


def test_stats_file(daemon):
    """By default it is where ksmctl looks, and gone at the end."""
    daemon.start()
    daemon.wait_stats(clients=0)
    daemon.stop()
    check(os.path.exists(daemon.stats_file), 'what was asked for is gone')
    daemon.stats_file = None
    daemon.start()
    daemon.wait_stats(clients=0)
    daemon.stop()
    check(not os.path.exists(f'{daemon.runtime}/stats.json'), 'it is left')


BUS = """<busconfig>
  <type>system</type>
  <listen>unix:path={path}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow user="*"/>
    <deny own="*"/>
    <deny send_type="method_call"/>
    <allow send_requested_reply="true" send_type="method_return"/>
    <allow send_requested_reply="true" send_type="error"/>
    <allow receive_type="method_call"/>
    <allow receive_type="method_return"/>
    <allow receive_type="error"/>
    <allow receive_type="signal"/>
    <allow send_destination="org.freedesktop.DBus"/>
  </policy>
  <include>{policy}</include>
</busconfig>
"""


@contextlib.contextmanager
def system_bus(daemon):
    """One of our own, as strict as that of a system, and with our policy."""
    path, config = f'{daemon.root}/bus', f'{daemon.root}/bus.conf'
    policy = TOP / 'service/dbus/org.qemu.Ksmtuned1.conf'
    Path(config).write_text(BUS.format(path=path, policy=policy))
    process = subprocess.Popen(['dbus-daemon', '--nofork', '--nosyslog',
                                f'--config-file={config}'],
                               stderr=subprocess.DEVNULL)
    try:
        wait_for(lambda: os.path.exists(path), 'the bus')
        yield
    finally:
        process.terminate()
        process.wait()


def test_bus_ksmctl(daemon):
    """ksmctl retune asks on the bus, and there is told that it was done."""
    if os.getuid():
        raise Skipped('the policy lets only root own the name')
    ksmctl = daemon.arguments.ksmtuned.with_name('ksmctl')
    with system_bus(daemon):
        daemon.start()
        daemon.wait_log('on D-Bus as')
        asked = subprocess.run([ksmctl, 'retune'], timeout=PATIENCE,
                               env={**os.environ, **daemon.bus},
                               stderr=subprocess.PIPE, text=True, check=False)
        check_equal((asked.returncode, asked.stderr), (0, ''),
                    'status and errors')
        check_equal(daemon.log().count('ksmd r'), 1, 'decisions')
        daemon.stop()


def call(daemon, method, **options):
    return subprocess.run(
        ['gdbus', 'call', '--system', '--dest=org.qemu.Ksmtuned1',
         '--object-path=/org/qemu/Ksmtuned1',
         f'--method=org.qemu.Ksmtuned1.{method}'],
        env={**os.environ, **daemon.bus}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False,
        **options)


def test_bus(daemon):
    """On D-Bus root can have it retune and tell, and nobody else can."""
    if os.getuid():
        raise Skipped('the policy lets only root own the name')
    with system_bus(daemon):
        daemon.start()
        daemon.wait_log('on D-Bus as')
        decided = daemon.log().count('policy: ')
        check_equal(call(daemon, 'Retune').stdout, '()\n', 'answer')
        wait_for(lambda: daemon.log().count('ksmd r') == 1, 'a decision')
        check_equal(daemon.log().count('policy: '), decided, 'policies')
        told = call(daemon, 'GetStatistics').stdout
        check('"clients": 0' in told and '\n' not in told[:-1], told)
        for method in 'Retune', 'GetStatistics':
            refused = call(daemon, method, user=65534)
            check(refused.returncode and 'AccessDenied' in refused.stdout,
                  refused.stdout)
        daemon.stop()


def test_no_bus(daemon):
    """It does without, and goes on when the bus ends."""
    daemon.start()
    daemon.wait_log('no D-Bus here')
    daemon.stop()
    with system_bus(daemon):
        daemon.start()
        daemon.wait_log('on D-Bus as')
    daemon.engine().check_silent()
    check(daemon.process.poll() is None, daemon.log())


def test_early_retune(daemon):
    """A guest's hook may come before it is ready, which is no reason to die"""
    for _ in range(30):
        process = subprocess.Popen(daemon.command_line(
                                       f'--stats-file={daemon.stats_file}'),
                                   env={**os.environ, **daemon.bus},
                                   stderr=subprocess.DEVNULL)
        lock = Path(daemon.runtime, 'lock')
        while process.poll() is None and not lock.exists():
            pass
        process.send_signal(signal.SIGUSR1)
        wait_for(lambda: (process.poll() is not None
                          or os.path.exists(daemon.stats_file)), 'its start')
        process.terminate()
        check_equal(process.wait(), 0, 'status')
        lock.unlink()
        os.unlink(daemon.stats_file)


def test_notify(daemon):
    """systemd hears when engines may connect."""
    path = os.path.join(daemon.root, 'notify')
    with contextlib.closing(socket.socket(socket.AF_UNIX,
                                          socket.SOCK_DGRAM)) as notify:
        notify.bind(path)
        notify.settimeout(PATIENCE)
        daemon.start(environment=dict(os.environ, NOTIFY_SOCKET=path))
        check_equal(notify.recv(100), b'READY=1', 'notification')
        daemon.stop()
        check_equal(notify.recv(100), b'STOPPING=1', 'notification')


def test_socket_activation(daemon):
    """systemd may own the socket: used as it is, and not removed."""
    path = os.path.join(daemon.root, 'activated.sock')
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(path)
        listener.listen()
        process = subprocess.Popen(
            with_socket(listener.fileno(), daemon.command_line()),
            pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL)
        try:
            engine = Engine(path)
            engine.check_silent()
            engine.close()
        finally:
            process.terminate()
            check_equal(process.wait(timeout=PATIENCE), 0, 'exit status')
        check(os.path.exists(path), 'the socket is gone')


if __name__ == '__main__':
    cases.main('Start, misuse and end a ksmtuned.', globals(), Daemon)
