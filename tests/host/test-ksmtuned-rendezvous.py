#!/usr/bin/env python3
#
# ksmtuned welcomes engines, and tells them who has the same pages
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-ksmtuned-rendezvous.py KSMTUNED [CASE]...
#
# ksmtuned is a real one, its host is made up: see ksmtest/daemon.py.

import contextlib
import os
import random
import select
import socket
import struct
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import cases  # noqa: E402
from ksmtest.checks import (  # noqa: E402
    PATIENCE, check, check_equal, wait_for)
from ksmtest.daemon import Daemon  # noqa: E402
from ksmtest.engine import Engine  # noqa: E402
from ksmtest.wire import (  # noqa: E402
    ENTRY, MAX_PAYLOAD, PAGE_SIZE, T_HELLO, T_PUBLISH, T_TWINS, T_WELCOME,
    TWIN, demand, entries, frame, hello, publish, report, withdraw)


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
    # By then nothing is open that is read or written but for a moment.
    daemon.wait_stats(clients=1)
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
    daemon.set_memory(16 * PAGE_SIZE)
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


def test_reports(daemon):
    """What engines report is in the statistics, made harmless."""
    daemon.start()
    one, other = daemon.engine(name=b'one'), daemon.engine(name=b't"wo\x1b')
    daemon.wait_stats(clients=2, engines=[])
    one.send(report(*range(10, 20), state=1, backends=3,
                    limit=b'say "no"\x07\\'))
    wait_for(lambda: daemon.stats()['engines'], 'a report')
    told, = daemon.stats()['engines']
    age_ms = time.monotonic() * 1000 - told.pop('reported_ms')
    check(0 <= age_ms < PATIENCE * 1000, f'{age_ms} ms old')
    check_equal([told], [{
        'pid': os.getpid(), 'name': 'one', 'domain': 'default',
        'state': 'idle',
        'backends': ['ksmd', 'ksmfs'], 'ram_bytes': 10, 'full_scans': 11,
        'pages_hashed': 12, 'pages_twins': 13, 'pages_zero': 14,
        'pages_marked': 15, 'ksmfs_sharing_pages': 16, 'cow_breaks': 17,
        'cpu_ns': 18, 'metadata_bytes': 19, 'limit': 'say ?no???',
    }], 'engines')
    other.send(report(*[0] * 6, 2 ** 64 - 1, *[0] * 3, backends=0))
    wait_for(lambda: len(daemon.stats()['engines']) == 2, 'the other')
    found, = (engine for engine in daemon.stats()['engines']
              if engine['name'] != 'one')
    check_equal((found['name'], found['backends']), ('t?wo?', []), 'other')
    check(not {'limit', 'ksmfs_sharing_pages'} & set(found), str(found))
    one.close()
    wait_for(lambda: len(daemon.stats()['engines']) == 1, 'one to be gone')
    other.send(report(*[0] * 10, state=9))
    other.check_refused('range')


if __name__ == '__main__':
    cases.main('Let engines meet at a ksmtuned.', globals(), Daemon)
