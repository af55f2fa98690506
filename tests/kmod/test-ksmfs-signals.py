#!/usr/bin/env python3
#
# Long ioctls of ksmfs that a signal ends: what was done, and what is left to do
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host tests/kmod/test-ksmfs-signals.py [CASE]...

import contextlib
import ctypes
import os
import signal
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, ksmfs  # noqa: E402
from ksmtest.checks import check, check_equal  # noqa: E402
from ksmtest.ksmfs import PAGE  # noqa: E402

PAGES = 20000
# So often a signal comes, and so long what is killed may last.
INTERVAL, KILLED = 0.002, 5


def page(number):
    """Contents that no other number has."""
    return number.to_bytes(8, 'little') * (PAGE // 8)


def fill(file):
    for n in range(PAGES):
        file[n] = page(n + 1)


def check_contents(file):
    for n in range(PAGES):
        check(file[n] == page(n + 1), f'page {n} holds something else')


@contextlib.contextmanager
def signals():
    """A signal comes again and again; yields how many did, in a list."""
    count = [0]

    def handle(*unused):
        count[0] += 1

    # Python's handlers don't restart what they interrupt.
    before = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, INTERVAL, INTERVAL)
    try:
        yield count
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def until_done(step, end):
    """Calls STEP(at), which tells where to go on, until it is END."""
    at = calls = interrupted = 0
    with signals() as count:
        while at < end:
            calls += 1
            check(calls < PAGES, f'no end after {calls} calls: at {at}')
            try:
                at = step(at)
            except InterruptedError:
                interrupted += 1
    print(f'# {calls} calls, {interrupted} of them failed, {count[0]} signals')
    # Else nothing was interrupted.
    check(calls - interrupted > 2, 'it was done at once')


def entries_of(digests):
    return (ksmfs.MergeEntry * len(digests))(*enumerate(digests))


def merge_from(file, entries, at):
    """One MERGE of all ENTRIES from AT on; how many are done."""
    size = ctypes.sizeof(ksmfs.MergeEntry)
    return at + ksmfs.ioctl(file.fd, ksmfs.Merge(
        entries=ctypes.addressof(entries) + at * size,
        count=len(entries) - at)).done


def results_of(entries):
    return {ksmfs.RESULTS[entry.result] for entry in entries}


def test_merge_goes_on(bed):
    """MERGE that is interrupted says how far it came, and no more"""
    with bed.mount() as mount:
        with mount.file('a', PAGES) as a, mount.file('b', PAGES) as b:
            for file, wanted in ((a, 'indexed'), (b, 'merged')):
                fill(file)
                entries = entries_of(range(PAGES))

                def step(at):
                    done = merge_from(file, entries, at)
                    check(done > at, 'nothing was done')
                    check_equal(results_of(entries[done:]) - {None}, set(),
                                'results behind what was done')
                    return done
                until_done(step, PAGES)
                check_equal(results_of(entries), {wanted}, 'results')
            check_equal(b.kinds(), (0, PAGES, 0), 'pages')
            check_contents(a)
            check_contents(b)


def merged_pair(mount, stack):
    """Two files whose pages are merged with each other."""
    files = [stack.enter_context(mount.file(name, PAGES)) for name in 'ab']
    for file in files:
        fill(file)
        entries = entries_of(range(PAGES))
        check_equal(merge_from(file, entries, 0), PAGES, 'done')
    return files


def test_split_goes_on(bed):
    """SPLIT that is interrupted goes on, also where nothing is to be split"""
    with bed.mount() as mount, contextlib.ExitStack() as stack:
        a, b = merged_pair(mount, stack)
        split = [0]

        def step(at):
            count, after = a.split(at, PAGES)
            split[0] += count
            return after
        until_done(step, PAGES)
        check_equal(split[0], PAGES, 'pages that were split')
        check_equal((a.kinds(), b.kinds()), ((PAGES, 0, 0), (0, PAGES, 0)),
                    'pages')
        until_done(step, PAGES)
        check_equal(split[0], PAGES, 'pages that were split')
        check_contents(a)
        check_contents(b)


def test_collect_goes_on(bed):
    """COLLECT that is interrupted reports each page once"""
    with bed.mount() as mount, mount.file('a', PAGES) as file:
        fill(file)
        file.collect()
        for n in range(0, PAGES, 2):
            file[n] = page(n + 1)
        seen = []

        def step(at):
            ranges, after = file.collect(at, PAGES, most=PAGES)
            seen.extend(ranges)
            return after
        until_done(step, PAGES)
        check_equal(seen, [(n, n + 1) for n in range(0, PAGES, 2)], 'ranges')
        check_equal(file.collect(), ([], 1 << 52), 'another collect')


def kill(function, after):
    """Runs FUNCTION in a process that is killed AFTER so many seconds.

    Returns whether it was not done by then.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        os.write(writing, b'x')
        function()
        os._exit(0)
    os.close(writing)
    os.read(reading, 1)
    os.close(reading)
    time.sleep(after)
    start = time.monotonic()
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    took = time.monotonic() - start
    check(took < KILLED, f'{took:.1f} s to end what was killed')
    return os.WIFSIGNALED(status)


def check_killed(function):
    """FUNCTION is killed earlier and later on, and sometimes in the midst."""
    killed = sum(kill(function, after / 200) for after in range(1, 13))
    print(f'# {killed} of 12 were killed in time')
    check(killed, 'it was always done before')


def test_killed(bed):
    """nothing is lost with whoever is killed in the midst of them"""
    with bed.mount() as mount, contextlib.ExitStack() as stack:
        a, b = [stack.enter_context(mount.file(name, PAGES)) for name in 'ab']
        for file in (a, b):
            fill(file)
            entries = entries_of(range(PAGES))
            check_killed(lambda: merge_from(file, entries, 0))
            check_equal(merge_from(file, entries, 0), PAGES, 'done')
        check_equal((a.kinds(), b.kinds()), ((0, PAGES, 0),) * 2, 'pages')
        check_killed(lambda: a.split())
        a.split()
        check_equal((a.kinds(), b.kinds()), ((PAGES, 0, 0), (0, PAGES, 0)),
                    'pages')

        def collect():
            with mount.file('a') as file:
                file.collect(most=PAGES)
        check_killed(collect)
        check_equal(a.collect(), ([(0, PAGES)], 1 << 52), 'ranges')
        for file in (a, b):
            check_contents(file)
            file.close()
        mount.unlink_all()
        ksmfs.check_empty(mount)


if __name__ == '__main__':
    cases.main('Ioctls of ksmfs that are interrupted.', globals(), ksmfs.Bed)
