#!/usr/bin/env python3
#
# What a guest advises of its memory is carried out, on ksmfs mostly
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage, in an emulated host: test-kvm-advice.py [OPTION]... [CASE]...

import contextlib
import ctypes
import functools
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import advice, cases, ksmhost  # noqa: E402
from ksmtest.advice import check_apart, has_shared  # noqa: E402
from ksmtest.checks import check, check_equal, wait_for  # noqa: E402
from ksmtest.linux import KsmfsBed, KVMBed  # noqa: E402

PR_SET_MEMORY_MERGE = 67


@contextlib.contextmanager
def all_marked():
    """The kernel marks all that processes have which are started meanwhile.

    So it does for a service of systemd's with MemoryKSM=.
    """
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    check_equal(prctl(PR_SET_MEMORY_MERGE, 1, 0, 0, 0), 0, 'prctl')
    try:
        yield
    finally:
        prctl(PR_SET_MEMORY_MERGE, 0, 0, 0, 0)


@contextlib.contextmanager
def little_memory(directory):
    """Programs are told that there is next to none."""
    path = Path(directory) / 'meminfo'
    path.write_text('MemAvailable: 1000 kB\n')
    subprocess.run(['mount', '-o', 'bind', path, '/proc/meminfo'], check=True)
    try:
        yield
    finally:
        subprocess.run(['umount', '-l', '/proc/meminfo'], check=True)


def test_nomerge(bed):
    """what a guest says is never merged is in frames of its own"""
    advised = advice.Advised(bed)
    other = advised.guests[1]
    advice.check_nomerge(advised, lambda: advice.map_all(other))


def test_object_del(bed):
    """what was accepted is carried out although the object goes"""
    advised = advice.Advised(bed)
    one, other = advised.guests
    secret, known = advised.file('none', 1), advised.file('none', 2)

    def is_merged(pages):
        advice.map_all(other)
        return has_shared(one, pages)

    for pages in secret, known:
        wait_for(lambda: is_merged(pages), 'it to be merged')
    with contextlib.ExitStack() as stack:
        stack.enter_context(little_memory(bed.directory))

        def object_goes():
            wait_for(lambda: one.ksm()['advice']['ranges'], 'advice')
            one.execute('object-del', {'id': 'ksm0'})
            check(is_merged(secret), 'nothing is left to be done')
            stack.close()
        advised.file('nomerge', 1, meanwhile=object_goes)
    check(not is_merged(secret), 'it is merged')
    check(is_merged(known), 'the rest is not merged any more')
    # One that would not merge it: the last one has.
    one.execute('object-add', {**bed.ksm_properties(), 'backend': 'null'})
    advised.file('nomerge', 2)
    check(not is_merged(known), 'it is merged by an object that has gone')


def test_all_marked(bed):
    """also what the kernel merges of a process that has all merged"""
    bed.enter(ksmhost.ksmd(1000, 20))
    with all_marked():
        advised = advice.Advised(bed, functools.partial(
            KVMBed.start, bed, machine='pc,mem-merge=off'))
    one = advised.one
    secret = advised.file('none', 1)
    wait_for(lambda: has_shared(one, secret), 'it to be merged')
    advised.file('nomerge', 1)
    check_apart(one, secret)
    scans = ksmhost.read('full_scans')
    wait_for(lambda: ksmhost.read('full_scans') > scans + 3, 'ksmd')
    check_apart(one, secret)


if __name__ == '__main__':
    cases.main('What a guest advises of its memory is carried out.', globals(),
               KsmfsBed)
