#!/usr/bin/env python3
#
# ksmfs on a host with NUMA nodes: where pages are, and which are merged
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host --nodes=2 \
#            tests/kmod/test-ksmfs-numa.py [CASE]...

import contextlib
import ctypes
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, ksmfs  # noqa: E402
from ksmtest.checks import Skipped, check_equal  # noqa: E402
from ksmtest.ksmfs import PAGE  # noqa: E402

# The C library has no functions for these; the numbers are of x86-64.
MBIND, SET_MEMPOLICY, MOVE_PAGES = 237, 238, 279
MPOL_DEFAULT, MPOL_BIND = 0, 2
MAX_NODE = 64
PAGES = 8


class Bed(ksmfs.Bed):
    def __init__(self, *place):
        super().__init__(*place)
        if not Path('/sys/devices/system/node/node1').exists():
            raise Skipped('this host has one NUMA node')


def page(number):
    """Contents that no other number has."""
    return number.to_bytes(8, 'little') * (PAGE // 8)


def call(number, *arguments):
    if ksmfs.libc.syscall(number, *arguments):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))


def mask_of(node):
    return ctypes.byref(ctypes.c_ulong(1 << node))


def address_of(file, n):
    return ctypes.addressof(ctypes.c_char.from_buffer(file.map, n * PAGE))


def bind(file, start, end, node):
    """Pages from START to END of the mapping are to be on NODE."""
    call(MBIND, ctypes.c_void_p(address_of(file, start)),
         ctypes.c_ulong((end - start) * PAGE), MPOL_BIND, mask_of(node),
         ctypes.c_ulong(MAX_NODE), 0)


@contextlib.contextmanager
def task_on(node):
    """What this process allocates meanwhile is to be on NODE."""
    call(SET_MEMPOLICY, MPOL_BIND, mask_of(node), ctypes.c_ulong(MAX_NODE))
    try:
        yield
    finally:
        call(SET_MEMPOLICY, MPOL_DEFAULT, None, ctypes.c_ulong(0))


def nodes_of(file, start=0, end=PAGES):
    """On which node each page is."""
    count = end - start
    addresses = (ctypes.c_void_p * count)(*(address_of(file, n)
                                            for n in range(start, end)))
    status = (ctypes.c_int * count)()
    for n in range(start, end):
        file.map[n * PAGE]
    call(MOVE_PAGES, 0, ctypes.c_ulong(count), addresses, None, status, 0)
    return list(status)


def fill(file):
    for n in range(PAGES):
        file[n] = page(n + 1)


def merge(file):
    return set(file.merge(*((n, n) for n in range(PAGES))))


def file_on(mount, name, node):
    """A file with the same pages as others, all on NODE."""
    file = mount.file(name, PAGES)
    bind(file, 0, PAGES, node)
    fill(file)
    check_equal(nodes_of(file), [node] * PAGES, f'nodes of {name}')
    return file


def test_policy_of_the_mapping(bed):
    """a page that is written in a mapping is where that is bound to"""
    with bed.mount() as mount, mount.file('a', PAGES) as file:
        bind(file, 0, 4, 0)
        bind(file, 4, PAGES, 1)
        for node in 0, 1:
            with task_on(node):
                fill(file)
            check_equal(nodes_of(file), [0] * 4 + [1] * 4, 'nodes')
            file.punch(0, PAGES)


def test_policy_of_the_task(bed):
    """a page that a system call writes is where its caller is bound to"""
    with bed.mount() as mount, mount.file('a', PAGES) as file:
        bind(file, 0, PAGES, 0)
        with task_on(1):
            os.pwrite(file.fd, bytes(2 * PAGE), 0)
            os.posix_fallocate(file.fd, 2 * PAGE, 2 * PAGE)
        with task_on(0):
            os.pwrite(file.fd, bytes(4 * PAGE), 4 * PAGE)
        check_equal(nodes_of(file), [1] * 4 + [0] * 4, 'nodes')


def test_merge_across_nodes(bed):
    """pages of different nodes share that of the first"""
    with bed.mount() as mount:
        with file_on(mount, 'a', 1) as a, file_on(mount, 'b', 0) as b:
            check_equal((merge(a), merge(b)), ({'indexed'}, {'merged'}),
                        'results')
            check_equal((nodes_of(a), nodes_of(b)), ([1] * PAGES,) * 2,
                        'nodes')
            check_equal(mount['pages_allocated'], PAGES, 'pages_allocated')


def test_merge_on_each_node(bed):
    """merge_across_nodes=0 shares a page on each node, and zero pages"""
    with bed.mount('merge_across_nodes=0') as mount, \
         contextlib.ExitStack() as stack:
        files = [stack.enter_context(file_on(mount, name, node))
                 for name, node in (('a', 0), ('b', 1), ('c', 0), ('d', 1))]
        check_equal([merge(file) for file in files],
                    [{'indexed'}, {'indexed'}, {'merged'}, {'merged'}],
                    'results')
        check_equal([nodes_of(file) for file in files],
                    [[0] * PAGES, [1] * PAGES] * 2, 'nodes')
        check_equal((mount['pages_shared'], mount['pages_sharing']),
                    (2 * PAGES, 2 * PAGES), 'shared and sharing')
        for file in files:
            file[0] = bytes(PAGE)
            check_equal(file.merge((0, 0)), ['merged'], 'a zero page')
            check_equal(file[1], page(2), 'another page')


def test_broken_share(bed):
    """a shared page that is written is where the mapping is bound to"""
    with bed.mount() as mount:
        with file_on(mount, 'a', 0) as a, file_on(mount, 'b', 1) as b:
            merge(a)
            merge(b)
            check_equal(nodes_of(b), [0] * PAGES, 'nodes when merged')
            with task_on(0):
                for n in range(PAGES):
                    b[n] = page(n + 100)
            check_equal((nodes_of(a), nodes_of(b)),
                        ([0] * PAGES, [1] * PAGES), 'nodes when written')


def test_split(bed):
    """SPLIT puts pages where its caller is bound to, not where a mapping is"""
    with bed.mount() as mount:
        with file_on(mount, 'a', 0) as a, file_on(mount, 'b', 0) as b:
            merge(a)
            merge(b)
            with task_on(1):
                b.split()
            check_equal((nodes_of(a), nodes_of(b)),
                        ([0] * PAGES, [1] * PAGES), 'nodes')
            check_equal(b[3], page(4), 'a page')


if __name__ == '__main__':
    cases.main('ksmfs and NUMA nodes.', globals(), Bed)
