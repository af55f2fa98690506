#!/usr/bin/env python3
#
# ksmtuned is killed, crowded, flooded, and lacks this and that
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-ksmtuned-faults.py KSMTUNED [CASE]...
#
# ksmtuned is a real one, its host is made up: see ksmtest/daemon.py.

import contextlib
import glob
import multiprocessing
import os
import random
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import cases, sample  # noqa: E402
from ksmtest.checks import (  # noqa: E402
    Failure, Skipped, check, check_equal, wait_for)
from ksmtest.daemon import Daemon  # noqa: E402
from ksmtest.engine import Engine  # noqa: E402
from ksmtest.host import KSM_FILES  # noqa: E402
from ksmtest.wire import (  # noqa: E402
    ENTRY, T_TWINS, T_WELCOME, TWIN, demand, hello, publish, report, withdraw)


# Killed

class Crowd:
    """Engines that come back each time that ksmtuned is gone.

    All publish the same pages.  The door is closed while somebody else holds
    it: then none of them connects.
    """

    PAGES = [(1000 + page, page) for page in range(200)]

    def __init__(self, path, number):
        self.door = threading.Lock()
        self._path = path
        self._ended = False
        self._engines = {}
        # What each knows of its pages, since it has connected.
        self._twins = [set() for _ in range(number)]
        self._threads = [threading.Thread(target=self._live, args=(number,))
                         for number in range(number)]
        for thread in self._threads:
            thread.start()

    def _live(self, number):
        while not self._ended:
            # What is killed ends anywhere, in mid-frame, too.
            with contextlib.suppress(OSError, Failure):
                with self.door:
                    engine = Engine(self._path, greet=False)
                with contextlib.closing(engine):
                    self._engines[number] = engine
                    self._talk(engine, self._twins[number])
            self._twins[number].clear()
            time.sleep(0.002)

    def _talk(self, engine, twins):
        engine.send(hello() + publish(*self.PAGES[:100]))
        engine.send(demand(1000, 1000))
        engine.send(publish(*self.PAGES[100:]))
        while answer := engine.receive():
            kind, payload = answer
            if kind == T_TWINS:
                twins.update(page for _, page, flags
                             in ENTRY.iter_unpack(payload) if flags == TWIN)

    def know_all(self):
        return all(len(twins) == len(self.PAGES) for twins in self._twins)

    def close(self):
        self._ended = True
        for engine in self._engines.values():
            with contextlib.suppress(OSError):
                engine.socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


def mend_torn(daemon):
    """Unlike the kernel's, files of a made-up /sys are emptied first."""
    for name in KSM_FILES:
        if not Path(daemon.ksm, name).read_text():
            daemon.set(name, KSM_FILES[name])


def kill_after(daemon, seconds):
    """Meanwhile guests start and end: it is asked to retune all the time."""
    process, daemon.process = daemon.process, None
    lock = Path(daemon.runtime, 'lock')
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if lock.exists() and lock.read_text().strip() == str(process.pid):
            process.send_signal(signal.SIGUSR1)
        time.sleep(0.001)
    process.kill()
    check_equal(process.wait(), -signal.SIGKILL, 'status')


def restore(daemon, chance, seconds):
    """ksmtuned --restore; it may be killed within SECONDS, and starts anew."""
    if chance.random() < 0.5:
        with subprocess.Popen(daemon.command_line('--restore'),
                              stderr=subprocess.DEVNULL) as process:
            time.sleep(chance.uniform(0, seconds))
            process.kill()
        mend_torn(daemon)
    result = daemon.run('--restore')
    check_equal(result.returncode, 0, 'exit status: ' + result.stderr)


def is_wrapped(daemon):
    """Runs it in something that makes it slow, and larger?"""
    return bool(daemon.command[1:])


def test_killed_again_and_again(daemon):
    """kill -9 at any point: settings are put right, engines come back"""
    rounds = 6 if is_wrapped(daemon) else 60
    before = daemon.settings()
    chance = random.Random(1)
    begin = time.monotonic()
    daemon.start().stop()
    usual = time.monotonic() - begin
    crowd = daemon.enter(contextlib.closing(Crowd(daemon.socket, 4)))
    changed = {'classic': 0, 'demand': 0}
    for number in range(rounds):
        # By classic the next decision comes at once, by demand in a second.
        policy = 'demand' if number >= rounds * 9 // 10 else 'classic'
        daemon.configure(f'KSM_POLICY={policy}')
        with crowd.door:
            daemon.launch()
            if number % 2 == 0:
                # What the last one left is put right before it listens.
                wait_for(daemon.listens, 'the socket')
                check_equal(daemon.settings(), before, f'settings, {number}')
        kill_after(daemon, chance.uniform(0, 3 * usual)
                   + (policy == 'demand'))
        with crowd.door:
            mend_torn(daemon)
            changed[policy] += os.path.exists(daemon.state)
            if number % 2:
                restore(daemon, chance, usual / 2)
                check_equal(daemon.settings(), before, f'settings, {number}')
    print(f'# settings were changed: {changed}')
    check(sum(changed.values()) >= rounds // 6, 'too seldom')
    daemon.start()
    wait_for(crowd.know_all, 'all engines to know all twins')
    daemon.wait_stats(clients=4, index_entries=4 * len(crowd.PAGES),
                      index_shared=len(crowd.PAGES))
    daemon.stop()
    check_equal(daemon.settings(), before, 'settings in the end')


# Crowded

def memory_kib(daemon):
    """What ksmtuned has; None where something else has more of it."""
    if is_wrapped(daemon) or 'libasan' in Path(
            f'/proc/{daemon.process.pid}/maps').read_text():
        return None
    status = Path(f'/proc/{daemon.process.pid}/status').read_text()
    return int(re.search(r'^VmRSS:\s*(\d+) kB', status, re.M)[1])


def check_memory(daemon, most_mib):
    kib = memory_kib(daemon)
    if kib is not None:
        print(f'# {kib} KiB')
        check(kib < most_mib << 10, f'ksmtuned has {kib} KiB')


def round_trip(engine, page):
    """Publishes a pair, and takes it back."""
    pair = (page, 1), (page, 2)
    engine.send(publish(*pair))
    check_equal(engine.twins(2), {(page, 1, TWIN), (page, 2, TWIN)}, 'twins')
    engine.send(withdraw(*pair))
    engine.twins(1)


def raise_file_limit(wanted):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < wanted:
        raise Skipped(f'{wanted} open files are not allowed')
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def test_five_hundred(daemon):
    """500 at once, of whom 100 say nothing and 100 read nothing"""
    raise_file_limit(1000)
    daemon.start()
    slow = [daemon.engine(greet=False) for _ in range(100)]
    # Answers to each are more than a socket holds.
    pages = [(7, page) for page in range(4096)]
    for engine in slow:
        engine.send(hello())
        engine.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            for _ in range(8):
                engine.send(publish(*pages))
    others = [daemon.engine(greet=False) for _ in range(300)]
    for engine in others:
        engine.send(hello())
    # In ten seconds they are refused.
    silent = [daemon.engine(greet=False) for _ in range(100)]
    daemon.wait_stats(clients=500)
    for engine in others:
        answer = engine.receive()
        check(answer and answer[0] == T_WELCOME, f'answer {answer}')
    for number, engine in enumerate(others):
        round_trip(engine, 1000 + number)
    check_memory(daemon, 256)
    for engine in (*silent, *slow, *others[1:]):
        engine.close()
    others[0].check_silent()
    daemon.wait_stats(clients=1)


# Flooded

FLOODS = {
    'pages': (publish(*((99, page) for page in range(4096)))
              + withdraw(*((99, page) for page in range(4096)))),
    'single-pages': (publish((98, 1)) + withdraw((98, 1))) * 4096,
    'demands': demand(1, 1) * 4096,
    'reports': report(*range(10)) * 512,
}


def flood(path, data):
    """Sends DATA for ever, and reads what comes of it."""
    engine = Engine(path)
    engine.socket.setblocking(False)
    left = memoryview(data)
    while True:
        readable, writable, _ = select.select([engine.socket],
                                              [engine.socket], [])
        if readable and not engine.socket.recv(1 << 20):
            return
        if writable:
            left = left[engine.socket.send(left):] or memoryview(data)


@contextlib.contextmanager
def flooded(daemon, kind):
    process = multiprocessing.get_context('fork').Process(
        target=flood, args=(daemon.socket, FLOODS[kind]), daemon=True)
    process.start()
    try:
        yield
        check(process.is_alive(), f'ksmtuned has ended the flood of {kind}')
    finally:
        process.kill()
        process.join()


def slowest(engine, times=100):
    """Of so many round trips, all but a few of which other work may hold up."""
    took = []
    for number in range(times):
        start = time.monotonic()
        round_trip(engine, 1000 + number)
        took.append(time.monotonic() - start)
    return sorted(took)[times * 95 // 100]


def test_flood(daemon):
    """who sends frames at full speed holds up nobody else, nor takes memory"""
    daemon.start()
    engine = daemon.engine()
    calm = slowest(engine)
    for kind in FLOODS:
        with flooded(daemon, kind):
            daemon.wait_stats(clients=2)
            busy = slowest(engine)
            print(f'# {kind}: {busy * 1000:.2f} ms, {calm * 1000:.2f} without')
            check(busy < 0.1 + 100 * calm, f'{busy} s during the flood of '
                  f'{kind}, {calm} s without')
            check_memory(daemon, 32)
        daemon.wait_stats(clients=1)


# Without what it needs

def readable(engines):
    """Those of ENGINES that have been told something."""
    found, _, _ = select.select([engine.socket for engine in engines], [], [],
                                0)
    return [engine for engine in engines if engine.socket in found]


def test_descriptors(daemon):
    """more engines than it may open files: the others are served, ksmd too"""
    daemon.command[:0] = ['prlimit', '--nofile=64:64']
    daemon.start()
    engines = [daemon.engine(greet=False) for _ in range(100)]
    for engine in engines:
        engine.send(hello())
    daemon.wait_log('raise LimitNOFILE')
    wait_for(lambda: len(readable(engines)) >= 16, 'some to be served')
    before = sample.cpu_seconds(daemon.process.pid)
    time.sleep(1.5)
    used = sample.cpu_seconds(daemon.process.pid) - before
    check(used < 0.5, f'it tries again all the time: {used} s of CPU')
    served = readable(engines)
    check(len(served) < 64, f'{len(served)} are served')
    for number, engine in enumerate(served):
        check_equal(engine.receive()[0], T_WELCOME, 'answer')
        round_trip(engine, number)
    served[0].send(demand(1000, 1000))
    wait_for(lambda: daemon.get('run') == '1', 'ksmd to run')
    daemon.wait_stats(clients=len(served))
    # Those that wait take the places of those that leave.
    for engine in served:
        engine.close()
    for engine in engines:
        if engine not in served:
            check_equal(engine.receive()[0], T_WELCOME, 'answer')
            engine.close()


@contextlib.contextmanager
def small_disk(directory):
    """Makes DIRECTORY one that has 64 KiB; gives a path to it."""
    if os.getuid():
        raise Skipped('only root can mount')
    os.mkdir(directory)
    # It is mounted where only this process sees it.
    with subprocess.Popen(
            ['unshare', '--mount', 'sh', '-euc',
             'mount -t tmpfs -o size=64k none "$0"; echo; exec cat', directory],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        check(holder.stdout.readline(), f'no tmpfs on {directory}')
        yield f'/proc/{holder.pid}/root{directory}'


@contextlib.contextmanager
def full(directory):
    """Nothing more fits there."""
    filler = Path(directory, 'filler')
    with open(filler, 'wb', 0) as file:
        with contextlib.suppress(OSError):
            while True:
                file.write(bytes(512))
    yield
    filler.unlink()


def test_full_disk(daemon):
    """state and statistics can't be written: it goes on, ksmd stays as it is"""
    disk = daemon.runtime = daemon.enter(small_disk(daemon.runtime))
    daemon.socket, daemon.state = f'{disk}/engine.sock', f'{disk}/ksmd-settings'
    daemon.stats_file = None
    before = daemon.settings()
    daemon.start()
    engine = daemon.engine()
    daemon.wait_stats(clients=1)
    with full(disk):
        engine.send(demand(1000, 1000))
        daemon.wait_log("can't set ksmd")
        daemon.wait_log("can't write the statistics")
        check_equal(daemon.settings(), before, 'settings')
        engine.check_silent()
        daemon.engine().check_silent()
    # As it does by itself, in a minute.
    daemon.process.send_signal(signal.SIGUSR1)
    wait_for(lambda: daemon.get('run') == '1', 'ksmd to run')
    daemon.wait_stats(clients=2, ksmd_running=True)
    check_equal(daemon.log().count('No space left'), 2, daemon.log())
    daemon.stop(signal.SIGKILL, -signal.SIGKILL)
    # Nor is there room for who puts that right.
    Path(disk, 'lock').unlink()
    with full(disk):
        result = daemon.run('--restore')
        check_equal(result.returncode, 0, 'exit status: ' + result.stderr)
        check_equal(daemon.settings(), before, 'settings in the end')


FAKETIME = glob.glob('/usr/lib/*/faketime/libfaketime.so.1')


def jump(daemon, years):
    """Sets its clock to another time of day."""
    path = Path(daemon.root, 'clock')
    path.with_suffix('.new').write_text(f'{years:+d}y')
    path.with_suffix('.new').rename(path)


def test_clock_jumps(daemon):
    """the time of day jumps, as after suspend: nothing depends on it"""
    if is_wrapped(daemon):
        raise Skipped('libfaketime changes what it is wrapped in, too')
    debug = Path(daemon.root, 'debug')
    daemon.configure('DEBUG=1', f'LOGFILE={debug}')
    jump(daemon, 0)
    daemon.start(environment={
        **os.environ, 'LD_PRELOAD': FAKETIME[0], 'FAKETIME_NO_CACHE': '1',
        'FAKETIME_DONT_FAKE_MONOTONIC': '1',
        'FAKETIME_TIMESTAMP_FILE': f'{daemon.root}/clock',
        # It insists on being the first library.
        'ASAN_OPTIONS': 'verify_asan_link_order=0'})
    silent = daemon.engine(greet=False)
    begin = time.monotonic()
    pages = 1000
    # At rest, and while something waits; back, and forth.
    for at_rest, waiting in (-10, -20), (10, 20):
        # By then statistics are written, so no timer runs any more.
        time.sleep(1.2)
        jump(daemon, at_rest)
        debug.unlink(missing_ok=True)
        engine = daemon.engine()
        engine.send(demand(pages, pages))
        engine.check_silent()
        jump(daemon, waiting)
        wait_for(lambda: daemon.get('run') == '1', 'ksmd to run', 5)
        year = time.localtime().tm_year + waiting
        check(re.search(f'^{year}-', debug.read_text(), re.M),
              f'its clock did not jump: {debug.read_text()}')
        daemon.wait_stats(demand_waiting_pages=pages, ksmd_running=True)
        # Not in vain: the next demand is served soon.
        daemon.set('pages_sharing', pages)
        for _ in range(3):
            daemon.full_scan()
        wait_for(lambda: daemon.get('run') == '0', 'ksmd to rest', 5)
        pages *= 10
    told = select.select([silent.socket], [], [], 0)[0]
    check(not told or time.monotonic() - begin > 9,
          'refused before its 10 s are over')


if __name__ == '__main__':
    cases.main('Kill, crowd and flood a ksmtuned, or take what it needs.',
               globals(), Daemon)
