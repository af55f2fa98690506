#!/usr/bin/env python3
#
# Test of ksmtuned: a real one, on a fake ksmd and a socket of its own
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-ksmtuned.py KSMTUNED [TEST...]
#
# KSMTUNED_WRAPPER in the environment, e.g. "valgrind -q", goes before it.

import contextlib
import json
import os
import random
import re
import select
import shlex
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

HEADER = struct.Struct('=HBBI')
HELLO = struct.Struct('=IIQ48s')
ENTRY = struct.Struct('=QII')
DEMAND = struct.Struct('=QQ')
(T_HELLO, T_WELCOME, T_REFUSE, T_PUBLISH, T_WITHDRAW, T_TWINS,
 T_DEMAND) = range(1, 8)
VERSION = 1
MAX_PAYLOAD = 65536
PAGE_SIZE = os.sysconf('SC_PAGE_SIZE')
TWIN = 1

# Longest wait for anything; generous, as a wrapper makes all slow.
PATIENCE = 30.0

KSM_FILES = {
    'run': '0', 'pages_to_scan': '100', 'sleep_millisecs': '20',
    'smart_scan': '1', 'use_zero_pages': '0', 'advisor_mode': '[none] scan-time',
    'full_scans': '7', 'pages_scanned': '0', 'pages_sharing': '0',
    'pages_shared': '0', 'ksm_zero_pages': '0', 'use_zero_pages': '0',
    'max_page_sharing': '256', 'merge_across_nodes': '1',
}
SETTINGS = ('run', 'pages_to_scan', 'sleep_millisecs', 'smart_scan',
            'use_zero_pages',
            'advisor_mode')
BOOST = {'run': '1', 'pages_to_scan': '4096', 'sleep_millisecs': '0',
         'smart_scan': '0', 'use_zero_pages': '1', 'advisor_mode': 'none'}


class Failure(Exception):
    pass


def check(condition, what):
    if not condition:
        raise Failure(what)


def check_equal(got, wanted, what):
    check(got == wanted, f'{what}: {got!r}, not {wanted!r}')


def wait_for(condition, what, patience=PATIENCE):
    end = time.monotonic() + patience
    while not condition():
        check(time.monotonic() < end, f'waited in vain for: {what}')
        time.sleep(0.01)


def frame(kind, payload=b'', fds=0, reserved=0, length=None):
    length = len(payload) if length is None else length
    return HEADER.pack(kind, fds, reserved, length) + payload


def hello(version=VERSION, page_size=PAGE_SIZE, features=0, name=b'test'):
    return frame(T_HELLO, HELLO.pack(version, page_size, features, name))


def entries(*pages, flags=0):
    return b''.join(ENTRY.pack(digest, page, flags) for digest, page in pages)


def publish(*pages):
    return frame(T_PUBLISH, entries(*pages))


def withdraw(*pages):
    return frame(T_WITHDRAW, entries(*pages))


def demand(marked, total):
    return frame(T_DEMAND, DEMAND.pack(marked, total))


class Engine:
    """One connection, as an engine makes it."""

    def __init__(self, path, greet=True, name=b'test'):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        self.socket.connect(path)
        self.buffer = b''
        self.seed = None
        if greet:
            self.send(hello(name=name))
            kind, payload = self.receive()
            check_equal(kind, T_WELCOME, 'answer to HELLO')
            version, reserved, features = struct.unpack_from('=IIQ', payload)
            check_equal((version, reserved, features), (VERSION, 0, 0),
                        'WELCOME')
            self.seed = payload[16:]
            check_equal(len(self.seed), 32, 'length of the seed')

    def send(self, data):
        self.socket.sendall(data)

    def receive(self):
        """The next frame; None at the end."""
        while True:
            if len(self.buffer) >= HEADER.size:
                kind, fds, reserved, length = HEADER.unpack_from(self.buffer)
                check_equal((fds, reserved), (0, 0), 'header')
                check(length <= MAX_PAYLOAD, f'frame of {length} bytes')
                end = HEADER.size + length
                if len(self.buffer) >= end:
                    payload = self.buffer[HEADER.size:end]
                    self.buffer = self.buffer[end:]
                    return kind, payload
            try:
                data = self.socket.recv(1 << 20)
            except ConnectionResetError:
                data = b''
            if not data:
                check(not self.buffer, 'the connection ends inside a frame')
                return None
            self.buffer += data

    def twins(self, count):
        """The next @count entries of TWINS, as a set."""
        got = []
        while len(got) < count:
            answer = self.receive()
            check(answer, f'closed after {len(got)} of {count} twins')
            kind, payload = answer
            check_equal(kind, T_TWINS, f'frame type {payload!r}')
            got += ENTRY.iter_unpack(payload)
        check_equal(len(got), count, 'number of twins')
        return set(got)

    def check_silent(self):
        """Nothing but an answer to a last pair comes."""
        pair = ((1 << 48) - 1, 0xfffffffe), ((1 << 48) - 1, 0xffffffff)
        self.send(publish(*pair))
        check_equal(self.twins(2), {(d, p, TWIN) for d, p in pair},
                    'twins after silence')
        self.send(withdraw(*pair))
        self.twins(1)

    def check_refused(self, words):
        answer = self.receive()
        while answer and answer[0] == T_TWINS:
            answer = self.receive()
        check(answer, 'closed without REFUSE')
        kind, payload = answer
        check_equal(kind, T_REFUSE, 'frame type')
        text = payload.decode()
        check(words in text, f'reason {text!r} without {words!r}')
        check_equal(self.receive(), None, 'after REFUSE')

    def close(self):
        self.socket.close()


class Daemon:
    """A ksmtuned, and what it sees of the host."""

    def __init__(self, command):
        self.command = command
        self.directory = tempfile.TemporaryDirectory(prefix='test-ksmtuned-')
        self.root = self.directory.name
        self.ksm = os.path.join(self.root, 'ksm')
        self.proc = os.path.join(self.root, 'proc')
        self.runtime = os.path.join(self.root, 'run')
        self.socket = os.path.join(self.runtime, 'engine.sock')
        self.state = os.path.join(self.runtime, 'ksmd-settings')
        self.stats_file = os.path.join(self.root, 'stats.json')
        self.log_path = os.path.join(self.root, 'log')
        self.process = None
        self.engines = []
        os.mkdir(self.ksm)
        os.mkdir(self.proc)
        self.set_memory(1 << 20)
        for name, value in KSM_FILES.items():
            self.set(name, value)

    def set_memory(self, kib):
        with open(os.path.join(self.proc, 'meminfo'), 'w') as f:
            f.write(f'MemTotal:       {kib} kB\nSwapTotal:      0 kB\n')

    def set(self, name, value):
        """As the kernel does it: readers never see an empty file."""
        path = os.path.join(self.ksm, name)
        with open(path + '.new', 'w') as f:
            f.write(f'{value}\n')
        os.rename(path + '.new', path)

    def get(self, name):
        with open(os.path.join(self.ksm, name)) as f:
            text = f.read().strip()
        choice = re.search(r'\[(.*)\]', text)
        return choice.group(1) if choice else text

    def settings(self):
        return {name: self.get(name) for name in SETTINGS}

    def arguments(self, *more):
        return (self.command +
                [f'--runtime-dir={self.runtime}', f'--sysfs-root={self.ksm}',
                 f'--proc-root={self.proc}', '--debug', *more])

    def start(self, *more, environment=None):
        arguments = self.arguments(f'--stats-file={self.stats_file}', *more)
        with open(self.log_path, 'a') as log:
            self.process = subprocess.Popen(
                arguments, stderr=log, env=environment,
                stdin=subprocess.DEVNULL)
        wait_for(self.listens, 'the socket')
        return self

    def listens(self):
        check(self.process.poll() is None, 'ksmtuned ended: ' + self.log())
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as probe:
            return probe.connect_ex(self.socket) == 0

    def run(self, *more):
        return subprocess.run(self.arguments(*more), stderr=subprocess.PIPE,
                              text=True, timeout=PATIENCE, check=False)

    def stop(self, number=signal.SIGTERM, status=0):
        if self.process is None:
            return
        self.process.send_signal(number)
        got = self.process.wait(timeout=PATIENCE)
        self.process = None
        check_equal(got, status, 'exit status (log: ' + self.log() + ')')

    def engine(self, **options):
        engine = Engine(self.socket, **options)
        self.engines.append(engine)
        return engine

    def log(self):
        with open(self.log_path, errors='replace') as f:
            return f.read()

    def wait_log(self, words):
        wait_for(lambda: words in self.log(), f'{words!r} in the log')

    def stats(self):
        with open(self.stats_file) as f:
            return json.load(f)

    def wait_stats(self, **wanted):
        def reached():
            try:
                stats = self.stats()
            except FileNotFoundError:
                return False
            return all(stats[key] == value for key, value in wanted.items())
        try:
            wait_for(reached, f'statistics {wanted}')
        except Failure as failure:
            raise Failure(f'{failure}: {self.stats()}') from failure

    def full_scan(self):
        self.set('pages_scanned', int(self.get('pages_scanned')) + 1000)
        self.set('full_scans', int(self.get('full_scans')) + 1)

    def finish(self):
        for engine in self.engines:
            engine.close()
        try:
            if self.process and self.process.poll() is None:
                self.stop()
            elif self.process:
                raise Failure(f'ksmtuned ended by itself, status '
                              f'{self.process.returncode}: ' + self.log())
        finally:
            if self.process and self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.directory.cleanup()


# Connections

def test_handshake(daemon):
    """Engines are welcomed and get the seed of their domain."""
    daemon.start()
    a = daemon.engine(name=b'vm-a')
    b = daemon.engine(name=b'vm\nb\x1b')
    check_equal(a.seed, b.seed, 'seeds in one domain')
    check(a.seed != bytes(32), 'the seed is 0')
    daemon.wait_log("'vm-a'")
    # What a peer sends can't forge log lines.
    daemon.wait_log("'vm?b?'")
    daemon.wait_stats(clients=2)


def test_seed_is_new(daemon):
    """Another ksmtuned has another seed."""
    daemon.start()
    seed = daemon.engine().seed
    daemon.stop()
    daemon.start()
    check(daemon.engine().seed != seed, 'the same seed again')


def test_socket_mode(daemon):
    """Only root, and the group if there is one, may connect."""
    daemon.start()
    check_equal(os.stat(daemon.socket).st_mode & 0o777, 0o660, 'mode')
    daemon.stop()
    if os.getuid() == 0:
        daemon.start('--group=daemon')
        check_equal(os.stat(daemon.socket).st_gid, 1, 'group')


def test_bad_group(daemon):
    """An unknown group is an error that names it."""
    result = daemon.run('--group=no-such-group')
    check_equal(result.returncode, 1, 'exit status')
    check('no-such-group' in result.stderr, result.stderr)


def test_wrong_version(daemon):
    daemon.start()
    engine = daemon.engine(greet=False)
    engine.send(hello(version=2))
    engine.check_refused('version 1')
    # Of another length, as another version may be.
    engine = daemon.engine(greet=False)
    engine.send(frame(T_HELLO, struct.pack('=IQ', 2, 0)))
    engine.check_refused('version 1')
    daemon.wait_log('version 1')
    daemon.wait_log(f'pid {os.getpid()}')


def test_wrong_page_size(daemon):
    daemon.start()
    engine = daemon.engine(greet=False)
    engine.send(hello(page_size=PAGE_SIZE * 4))
    engine.check_refused(f'this host has {PAGE_SIZE}')


def test_bad_hello(daemon):
    daemon.start()
    for bad, words in (
            (hello(features=1), 'reserved'),
            (hello(name=b'x' * 48), 'range'),
            (publish((1, 1)), 'not HELLO'),
            (frame(T_TWINS, entries((1, 1))), 'type')):
        engine = daemon.engine(greet=False)
        engine.send(bad)
        engine.check_refused(words)
    engine = daemon.engine()
    engine.send(hello())
    engine.check_refused('second HELLO')


def test_bad_frames(daemon):
    """After WELCOME, too, each bad frame is refused by its name."""
    daemon.start()
    for bad, words in (
            (frame(99), 'type'),
            (frame(T_PUBLISH, length=MAX_PAYLOAD + 16), 'length'),
            (frame(T_PUBLISH, length=0xffffffff), 'length'),
            (frame(T_PUBLISH, b'x' * 15), 'length'),
            (frame(T_PUBLISH), 'length'),
            (frame(T_PUBLISH, entries((1, 1)), fds=1), 'descriptors'),
            (frame(T_PUBLISH, entries((1, 1)), reserved=1), 'reserved'),
            (frame(T_PUBLISH, entries((1, 1), flags=1)), 'reserved'),
            (publish((1 << 48, 1)), 'range'),
            (demand(1 << 63, 1), 'range'),
            (frame(T_WELCOME, bytes(48)), 'type')):
        engine = daemon.engine()
        engine.send(bad)
        engine.check_refused(words)
    daemon.wait_stats(clients=0, index_entries=0)


def test_violation_withdraws(daemon):
    """What a refused engine had published is gone."""
    daemon.start()
    a, b = daemon.engine(), daemon.engine()
    a.send(publish((5, 50)))
    b.send(publish((5, 51)))
    check_equal(a.twins(1), {(5, 50, TWIN)}, 'a')
    b.twins(1)
    b.send(frame(99))
    b.check_refused('type')
    check_equal(a.twins(1), {(5, 50, 0)}, 'a after b')


def test_garbage(daemon):
    """Random bytes, before and after HELLO, harm nobody."""
    daemon.start()
    good = daemon.engine()
    chance = random.Random(1)
    for i in range(300):
        engine = Engine(daemon.socket, greet=i % 2 == 1)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(chance.randrange(1, 5)):
                kind = chance.randrange(0, 9)
                payload = chance.randbytes(chance.randrange(0, 200))
                if chance.random() < 0.5:
                    payload = bytes(chance.randrange(0, 200))
                length = len(payload)
                if chance.random() < 0.2:
                    length = chance.randrange(1 << 32)
                if chance.random() < 0.2:
                    engine.send(chance.randbytes(100))
                engine.send(frame(kind, payload, length=length))
        engine.close()
    good.check_silent()
    daemon.wait_stats(clients=1, index_entries=0)


def test_in_pieces(daemon):
    """Frames may come byte by byte, and many at once."""
    daemon.start()
    engine = daemon.engine(greet=False)
    for byte in hello():
        engine.send(bytes([byte]))
    check_equal(engine.receive()[0], T_WELCOME, 'answer')
    data = publish((9, 1)) + publish((9, 2)) + publish((8, 3), (8, 4))
    for i in range(0, len(data), 7):
        engine.send(data[i:i + 7])
    check_equal(engine.twins(4), {(9, 1, TWIN), (9, 2, TWIN), (8, 3, TWIN),
                                  (8, 4, TWIN)}, 'twins')


def test_closed_mid_frame(daemon):
    daemon.start()
    a, b = daemon.engine(), daemon.engine()
    a.send(publish((7, 1)))
    b.send(publish((7, 2)))
    a.twins(1)
    b.twins(1)
    b.send(publish((1, 1), (2, 2))[:-5])
    b.close()
    check_equal(a.twins(1), {(7, 1, 0)}, 'orphan')
    daemon.wait_log('inside a frame')


def open_fds(pid):
    return len(os.listdir(f'/proc/{pid}/fd'))


def test_stray_fds(daemon):
    """Descriptors are closed, and their sender is refused."""
    daemon.start()
    daemon.engine()
    wait_for(lambda: 'joined' in daemon.log(), 'the engine')
    before = open_fds(daemon.process.pid)
    for count in (1, 8, 250):
        engine = Engine(daemon.socket)
        read_end, write_end = os.pipe()
        socket.send_fds(engine.socket, [publish((1, 1))],
                        [write_end] * count)
        os.close(write_end)
        engine.check_refused('descriptors')
        engine.close()
        # Its last writer is gone when ksmtuned has closed all.
        check(select.select([read_end], [], [], PATIENCE)[0],
              'descriptors are still open')
        os.close(read_end)
    wait_for(lambda: open_fds(daemon.process.pid) == before, 'closed fds')


def test_no_hello(daemon):
    """Who says nothing is refused after 10 s."""
    daemon.start()
    engine = daemon.engine(greet=False)
    start = time.monotonic()
    engine.check_refused('no HELLO')
    check(9 < time.monotonic() - start < 20, 'not after 10 s')


# Twins

def test_twins(daemon):
    """Both sides of a pair are told; later ones alone."""
    daemon.start()
    a, b, c = daemon.engine(), daemon.engine(), daemon.engine()
    a.send(publish((100, 1), (200, 2)))
    a.check_silent()
    b.send(publish((100, 11), (300, 12)))
    check_equal(b.twins(1), {(100, 11, TWIN)}, 'b')
    check_equal(a.twins(1), {(100, 1, TWIN)}, 'a')
    c.send(publish((100, 21)))
    check_equal(c.twins(1), {(100, 21, TWIN)}, 'c')
    a.check_silent()
    b.check_silent()
    # Two go; the last one is told.
    c.send(withdraw((100, 21)))
    a.check_silent()
    b.send(withdraw((100, 11)))
    check_equal(a.twins(1), {(100, 1, 0)}, 'orphan')
    b.send(withdraw((100, 11), (999, 9)))
    b.check_silent()
    a.check_silent()


def test_own_twins(daemon):
    """Twins inside one guest count as well."""
    daemon.start()
    a = daemon.engine()
    a.send(publish((5, 1), (5, 2), (5, 3)))
    check_equal(a.twins(3), {(5, 1, TWIN), (5, 2, TWIN), (5, 3, TWIN)}, 'own')


def test_close_withdraws(daemon):
    """A closed connection withdraws all that it had published."""
    daemon.start()
    a, b = daemon.engine(), daemon.engine()
    pages = [(1000 + i, i) for i in range(5000)]
    for engine in a, b:
        engine.send(publish(*pages[:2500]) + publish(*pages[2500:]))
    twins = {(d, p, TWIN) for d, p in pages}
    check_equal(a.twins(5000), twins, 'a')
    check_equal(b.twins(5000), twins, 'b')
    daemon.wait_stats(clients=2, index_entries=10000, twins_told=10000)
    b.close()
    check_equal(a.twins(5000), {(d, p, 0) for d, p in pages}, 'orphans')
    daemon.wait_stats(clients=1, index_entries=5000)
    daemon.wait_log('left: 5000 pages published, 0 withdrawn, 5000 dropped')


def test_many_pages(daemon):
    """As many pages as 1 GiB has, from an engine that reads as it writes."""
    daemon.start()
    count = 262144
    a, b = daemon.engine(), daemon.engine()
    frames = [publish(*((1 << 40 | i, i) for i in range(at, at + 4096)))
              for at in range(0, count, 4096)]
    for data in frames:
        a.send(data)
    start = time.monotonic()
    told = 0
    for data in frames:
        b.send(data)
        told += len(b.twins(4096))
    check_equal(told, count, 'twins')
    elapsed = time.monotonic() - start
    got = 0
    while got < count:
        got += len(a.receive()[1]) // ENTRY.size
    check_equal(got, count, 'twins of the first')
    print(f'# {count / elapsed / 1e6:.2f} million pages a second')


def test_slow_reader(daemon):
    """Who doesn't read isn't read from; others are served all the time."""
    daemon.start()
    slow, other = daemon.engine(), daemon.engine()
    slow.socket.settimeout(2)
    data = publish(*((77, i) for i in range(4096)))
    sent = 0
    with contextlib.suppress(socket.timeout):
        while sent < 64:
            slow.socket.sendall(data)
            sent += 1
    # 1 MiB in the queue and what two socket buffers hold, not 4 MiB.
    check(sent < 64, 'read without end from an engine that does not read')
    other.check_silent()
    # It goes on when it reads.
    slow.socket.settimeout(PATIENCE)
    check(len(slow.twins(4096)) > 0, 'nothing to read')
    slow.close()
    other.check_silent()


def test_slow_reader_limit(daemon):
    """Others' pages can't make the queue of a slow one grow for ever."""
    daemon.start()
    slow = daemon.engine(name=b'slow')
    other = daemon.engine()
    # Each change of one page makes an answer for its twin.  The last answer
    # to a round comes whether there is still a twin or not.
    slow.send(publish((55, 1)))
    toggle = 2048
    data = ((publish((55, 2)) + withdraw((55, 2))) * toggle +
            publish((66, 3), (66, 4)) + withdraw((66, 3), (66, 4)))
    queued = 0
    while 'unread' not in daemon.log():
        check(queued < 200 << 20, 'no limit')
        other.send(data)
        last = None
        while last != (66, 4, 0):
            kind, payload = other.receive()
            check_equal(kind, T_TWINS, 'frame type')
            last = list(ENTRY.iter_unpack(payload))[-1]
        queued += toggle * 2 * ENTRY.size
    check(queued > 60 << 20, f'closed after {queued} bytes')
    daemon.wait_log("'slow'")
    other.check_silent()


def test_entry_limit(daemon):
    """Nobody publishes more pages than the host has."""
    daemon.set_memory(16 * PAGE_SIZE // 1024)
    daemon.start()
    a, b = daemon.engine(), daemon.engine()
    pages = [(1000 + i, i) for i in range(16)]
    a.send(publish(*pages))
    a.send(withdraw(*pages[:2]))
    # Flooding one digest isn't counted: nothing more is held.
    a.send(publish((5000, 1), (5000, 2)))
    a.twins(2)
    b.send(publish(*pages[:15]))
    b.twins(13)
    a.send(publish((9999, 9)))
    a.check_refused('16')


# ksmd

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
    for number in signal.SIGTERM, signal.SIGINT:
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


def test_second_instance(daemon):
    """Only one; the other's pid is named, and nothing of its is touched."""
    daemon.start()
    for options in (), ('--restore',):
        result = daemon.run(*options)
        check_equal(result.returncode, 1, 'exit status')
        with open(os.path.join(daemon.runtime, 'lock')) as lock:
            pid = lock.read().strip()
        check(f'pid {pid}' in result.stderr, result.stderr)
    # Another runtime directory, but the same socket.
    other = os.path.join(daemon.root, 'other')
    result = daemon.run(f'--runtime-dir={other}', f'--socket={daemon.socket}')
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
    daemon.wait_log("can't wake ksmd")
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


# The process

def test_options(daemon):
    result = subprocess.run(daemon.command + ['--version'], timeout=PATIENCE,
                            stdout=subprocess.PIPE, text=True, check=False)
    check_equal(result.returncode, 0, 'exit status')
    check(re.match(r'ksmtuned \d+\.\d+', result.stdout), result.stdout)
    check_equal(daemon.run('--no-such-option').returncode, 2, 'exit status')
    check_equal(daemon.run('argument').returncode, 2, 'exit status')


def test_stats_log(daemon):
    """SIGUSR2 logs the statistics."""
    daemon.start()
    daemon.engine().check_silent()
    daemon.process.send_signal(signal.SIGUSR2)
    daemon.wait_log('"clients": 1')
    wanted = {'clients', 'index_entries', 'index_bytes', 'twins_told',
              'cpu_ns', 'ksmd_running', 'demand_waiting_pages',
              'ksmd_wakeups'}
    check_equal(set(daemon.stats()), wanted, 'keys')


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
        # Descriptor 3, and the shell's pid becomes ksmtuned's.
        script = ('fd=$1; shift; [ $fd = 3 ] || eval "exec 3<&$fd $fd<&-"; '
                  'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"')
        process = subprocess.Popen(
            ['bash', '-c', script, 'bash', str(listener.fileno()),
             *daemon.arguments()],
            pass_fds=[listener.fileno()], stderr=subprocess.DEVNULL)
        try:
            engine = Engine(path)
            engine.check_silent()
            engine.close()
        finally:
            process.terminate()
            check_equal(process.wait(timeout=PATIENCE), 0, 'exit status')
        check(os.path.exists(path), 'the socket is gone')


def run_test(command, test):
    daemon = Daemon(command)
    try:
        try:
            test(daemon)
        except BaseException:
            # Show what happened before why cleaning up may fail, too.
            with contextlib.suppress(FileNotFoundError):
                for line in daemon.log().splitlines():
                    print('# log:', line)
            raise
    finally:
        daemon.finish()


def main():
    if len(sys.argv) < 2:
        print('usage: test-ksmtuned.py KSMTUNED [TEST...]', file=sys.stderr)
        return 2
    command = shlex.split(os.environ.get('KSMTUNED_WRAPPER', ''))
    command.append(sys.argv[1])
    tests = [(name[5:].replace('_', '-'), value)
             for name, value in globals().items() if name.startswith('test_')]
    if sys.argv[2:]:
        tests = [test for test in tests if test[0] in sys.argv[2:]]
    failures = 0
    print(f'1..{len(tests)}', flush=True)
    for number, (name, test) in enumerate(tests, 1):
        try:
            run_test(command, test)
            print(f'ok {number} {name}', flush=True)
        except Exception as e:
            failures += 1
            print(f'# {type(e).__name__}: {e}'.replace('\n', '\n# '))
            print(f'not ok {number} {name}', flush=True)
    return 1 if failures or not tests else 0


if __name__ == '__main__':
    sys.exit(main())
