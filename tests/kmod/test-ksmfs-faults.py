#!/usr/bin/env python3
#
# ksmfs with too little memory: each allocation that it makes fails once
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host --kernel=build/kernel-debug \
#            tests/kmod/test-ksmfs-faults.py [CASE]...
#
# Only a kernel with CONFIG_FAULT_INJECTION can do this: 'make kmod-debug'.
# Linux 6.12 has no injector for memory per CPU: a percpu_counter_init() that
# fails, in a mount, is not tried.

import contextlib
import re
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, ksmfs, programs  # noqa: E402
from ksmtest.checks import Skipped, check, check_equal  # noqa: E402

DEBUGFS = Path('/sys/kernel/debug')
# What may fail: slabs, and pages.
INJECTORS = ('failslab', 'fail_page_alloc')
SYSFS = Path('/sys/fs/ksmfs')


class Bed(ksmfs.Bed):
    def __init__(self, *place):
        super().__init__(*place)
        if not (DEBUGFS / INJECTORS[0]).exists():
            raise Skipped('this kernel has no CONFIG_FAULT_INJECTION')
        for name in INJECTORS:
            self.configure(name, verbose=0, ignore_gfp_wait='N')
        self.configure('fail_page_alloc', ignore_gfp_highmem='N', min_order=0)
        # A slab needs a new page in one run and not in the next: counted, it
        # would let the Nth allocation be another one, and some never fail.
        start, end = extent('___slab_alloc')
        self.configure('fail_page_alloc', reject_start=hex(start),
                       reject_end=hex(end))
        # What the kernel says of memory that it can't have is no fault.
        self.enter(ksmfs.QuietKernel())

    @staticmethod
    def configure(injector, **settings):
        for name, value in settings.items():
            (DEBUGFS / injector / name.replace('_', '-')).write_text(
                str(value))

    def count(self, mode, group):
        where = self.directory / 'ksmfs'
        where.mkdir(exist_ok=True)
        try:
            return programs.count('faults', mode, group, where)
        finally:
            # It has failed.
            if where.is_mount():
                subprocess.run(['umount', '-l', where], check=True)

    @contextlib.contextmanager
    def only(self, function, injectors=INJECTORS):
        """What FUNCTION of the kernel needs may fail, and nothing else."""
        start, end = extent(function)
        for name in INJECTORS:
            # Of those that are left out, the first page has no callers.
            self.configure(name, task_filter='Y', probability=100, times=-1,
                           require_start=hex(start if name in injectors else 1),
                           require_end=hex(end if name in injectors else 2))
        try:
            yield
        finally:
            for name in INJECTORS:
                self.configure(name, task_filter='N', probability=0,
                               require_start=0,
                               require_end=hex((1 << 64) - 1))


def extent(function):
    """Where a FUNCTION of the kernel begins and ends."""
    symbols = [(int(address, 16), name) for address, name in
               re.findall(r'^(\w+) [tT] (\S+)',
                          Path('/proc/kallsyms').read_text(), re.M)]
    start, = (address for address, name in symbols if name == function)
    return start, min(address for address, _ in symbols if address > start)


def check_failed(counts, *operations):
    """Else what makes the OPERATIONS fail was not met."""
    for name in operations:
        check(counts[name], f'{name} never failed')


def test_files(bed):
    """files, directories, read and write"""
    check_failed(bed.count('nth', 'files'), 'create', 'tmpfile', 'mkdir',
                 'symlink', 'mkfifo', 'shrink', 'write-shared', 'write-zero',
                 'write-hole', 'write-seen', 'write-far', 'write-many',
                 'allocate', 'allocate-more', 'punch', 'sendfile')


def test_mappings(bed):
    """memory that is mapped, read and written"""
    bed.count('nth', 'mappings')


def test_ioctls(bed):
    """COLLECT, MERGE, SPLIT and the others"""
    check_failed(bed.count('nth', 'ioctls'), 'collect', 'merge', 'split',
                 'split-all')


def test_mounts(bed):
    """mounts, and what becomes of them"""
    for group in ('mounts', 'umounts', 'remounts'):
        bed.count('nth', group)
        check_equal(list(SYSFS.iterdir()), [], 'mounts')


def test_no_node_for_a_page(bed):
    """a page that the array of a file can't take is given back"""
    with bed.only('ksmfs_slot_lock_private', ['failslab']):
        check_failed(bed.count('always', 'files'), 'write-far')
        check_failed(bed.count('always', 'mappings'), 'store-far')


def test_no_buckets(bed):
    """a mount without an index is none"""
    with bed.only('ksmfs_index_init'):
        check_failed(bed.count('always', 'mounts'), 'mount')


def test_module(bed):
    """the module is loaded, or not at all"""
    subprocess.run(['rmmod', 'ksmfs'], check=True)
    try:
        # The rest of what is done then loses memory itself when it fails.
        with bed.only('__kmem_cache_create_args'):
            check_failed(bed.count('always', 'modules'), 'load')
        with bed.only('kset_create_and_add'):
            check_failed(bed.count('nth', 'modules'), 'load')
    finally:
        subprocess.run(['insmod', ksmfs.MODULE], check=True)


if __name__ == '__main__':
    cases.main('Allocations of ksmfs that fail.', globals(), Bed)
