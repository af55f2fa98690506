#!/usr/bin/env python3
#
# The distribution's QEMU, without any change, on ksmfs
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host --with=build/stock-qemu \
#            tests/kvm/test-kvm-stock.py [CASE]...
#
# scripts/stock-qemu gets it.  It has no engine: the test plays one, another
# process to which nothing but the files of the mount is known.

import collections
import contextlib
import hashlib
import json
import mmap
import multiprocessing
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import (  # noqa: E402
    cases, ksmfs, linux, programs, vm, writers)
from ksmtest.checks import check, check_equal, wait_for  # noqa: E402
from ksmtest.ksmfs import PAGE  # noqa: E402

GUESTS = 2
MERGED_PAGES = 1000
# What is hashed and merged at once.
BATCH = 512
SPLIT_ROUNDS = 4

# As in shared-writer.S.
WRITER = linux.TOP / 'tests/vm/shared-writer.S'
WRITER_MIB = 32
ARENA, ARENA_PAGES = 0x1000000, 256
WORD = 4
ROUND, ANSWERED, WRONG = (at // WORD for at in (0xfff000, 0xfff004, 0xfff008))
ANSWER = 2048 // WORD
# Before, while and after it is merged and split.
ROUNDS = (25, 350, 25)


class Bed(linux.StockBed):
    @classmethod
    def add_options(cls, parser):
        super().add_options(parser)
        parser.set_defaults(
            qemu=linux.TOP / 'build/stock-qemu/qemu-system-x86_64')

    def __init__(self, arguments, directory, stack):
        super().__init__(arguments, directory, stack)
        self.mount = self.enter(ksmfs.Mount(directory))

    def on_ksmfs(self, name, mib):
        """Options of a QEMU whose RAM is a file there."""
        return {'machine': 'pc,memory-backend=ram', 'extra': (
            '-object', f'memory-backend-file,id=ram,size={mib}M,share=on,'
                       f'mem-path={self.mount.path}/{name}')}


class Engine:
    """Merges what is alike in a range of a file; splits some of it at times."""

    def __init__(self, mount, name, first, end):
        self.file = mount.file(name)
        self.results = collections.Counter()
        self.split = 0
        self._first, self._end = first, end
        self._rounds = 0

    def close(self):
        self.file.close()

    def run(self):
        ranges, _ = self.file.collect(self._first, self._end,
                                      most=self._end - self._first)
        pages = [page for start, end in ranges for page in range(start, end)]
        for at in range(0, len(pages), BATCH):
            self.results.update(self.file.merge(
                *((page, self.digest(page)) for page in pages[at:at + BATCH])))
        self._rounds += 1
        if self._rounds % SPLIT_ROUNDS == 0:
            half = self._first, (self._first + self._end) // 2
            self.split += self.file.split(*half)[0]
            # None of these is written.
            self.file.collect(*half, flags=ksmfs.COLLECT_RESTART)

    def digest(self, page):
        return int.from_bytes(hashlib.blake2b(
            self.file[page], digest_size=8).digest(), 'little')


class ArenaEngine(Engine):
    """Of the memory that shared-writer.S shares, which is never long alike."""

    def __init__(self, mount, name):
        first = ARENA // PAGE
        super().__init__(mount, name, first, first + ARENA_PAGES)
        self.words = memoryview(self.file.map).cast('I')

    def close(self):
        self.words.release()
        super().close()

    def digest(self, page):
        return self.words[page * PAGE // WORD]


def answer(path, report):
    """The other process, as one of vhost-user that has the guest's memory.

    Verifies each write of the guest, and answers it.  Says what is wrong.
    """
    vm.die_with_parent()
    with open(path, 'r+b') as file, mmap.mmap(file.fileno(), 0) as memory, \
            memoryview(memory).cast('I') as words:
        number, answered = 0, 0
        while True:
            number += 1
            while words[ROUND] != number:
                os.sched_yield()
            for page in range(ARENA_PAGES):
                at = (ARENA + page * PAGE) // WORD
                found = words[at], words[at + ANSWER]
                if found != (number, answered):
                    report.send(f'page {page} has {found} in round {number}')
                    return
                words[at + ANSWER] = number ^ 0xffffffff
            answered = number ^ 0xffffffff
            words[ANSWERED] = number


@contextlib.contextmanager
def other_process(path):
    """One that runs answer(), and where to hear from it."""
    reports, report = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.Process(target=answer, args=(path, report))
    process.start()
    try:
        yield process, reports
    finally:
        process.terminate()
        process.join()


def test_guests_are_merged(bed):
    """guests of a stock QEMU are merged while they verify what they write"""
    guests = [bed.enter(linux.Guest(
        bed, f'guest-{number}', ksm=False, number=number,
        **bed.on_ksmfs(f'guest-{number}', bed.memory_mib)))
        for number in range(GUESTS)]
    for guest in guests:
        wait_for(lambda: guest.check() or guest.checked() > 0,
                 f'{guest.name} to verify files', linux.BOOT_SECONDS)
    engines = [bed.enter(contextlib.closing(
        Engine(bed.mount, guest.name, 0, bed.memory_mib * 256)))
        for guest in guests]

    def merged_and_split():
        for engine, guest in zip(engines, guests):
            engine.run()
            guest.check()
            guest.checked()
        return all(engine.results['merged'] > MERGED_PAGES and
                   engine.split > MERGED_PAGES for engine in engines)

    before = [guest.checked() for guest in guests]
    wait_for(merged_and_split, 'pages to be merged and split')
    for engine in engines:
        print(f'# {engine.split} split, {dict(engine.results)}')
    for guest, checked in zip(guests, before):
        guest.wait_more_checked(checked)
    check(bed.mount['cow_breaks'] > 0, 'no merged page was written')


def test_census(bed):
    """ksm-census finds what guests of a stock QEMU have in memory"""
    guests = [bed.enter(linux.Guest(
        bed, f'guest-{number}', ksm=False, number=number,
        **(bed.on_ksmfs(f'guest-{number}', bed.memory_mib) if on_ksmfs else {})
        )) for number, on_ksmfs in enumerate((False, True, True))]
    for guest in guests:
        guest.wait_console(vm.GUEST_UP, linux.BOOT_SECONDS)
        guest.execute('stop')
    allocated = bed.mount['pages_allocated']
    found = json.loads(subprocess.run(
        [programs.BUILT['ksm-census'], '--json',
         *(str(guest.pid) for guest in guests)], check=True,
        stdout=subprocess.PIPE).stdout)
    check_equal(bed.mount['pages_allocated'], allocated, 'pages allocated')
    # Each has its ROMs in private memory.
    for guest, memory in zip(found['guests'], ('private', 'shared', 'shared')):
        ram, = (mapping for mapping in guest['mappings']
                if mapping['pages'] == bed.memory_mib << 20 >> 12)
        check_equal(ram['memory'], memory, 'memory of its RAM')
        check(guest['resident_pages'] > MERGED_PAGES, guest)
    check(found['private']['saved']['between_pages'] > 0, 'ROMs are alike')
    saved = found['shared']['saved']
    for kind in 'zero_pages', 'within_pages', 'between_pages':
        check(saved[kind] > 0, f'{kind}: {saved}')
    check(saved['between_pages'] > MERGED_PAGES, saved)
    for guest in guests:
        guest.execute('cont')
        guest.wait_more_checked()


def test_other_process_sees_all(bed):
    """another process that maps the RAM sees each write, and so does a guest"""
    name = 'writer'
    drive = bed.directory / 'writer.img'
    drive.write_bytes(writers.assemble(WRITER).ljust(64 * 1024, b'\0'))
    options = bed.on_ksmfs(name, WRITER_MIB)
    guest = bed.enter(vm.VM(
        bed.arguments.qemu, bed.directory, name, accel=bed.arguments.accel,
        memory_mib=WRITER_MIB, machine=options['machine'],
        extra=('-drive', f'file={drive},format=raw,if=ide',
               *options['extra'])))
    engine = bed.enter(contextlib.closing(ArenaEngine(bed.mount, name)))
    other, reports = bed.enter(other_process(bed.mount.path / name))

    def reached(number):
        check(not reports.poll(), reports.poll() and reports.recv())
        check(other.is_alive(), 'the other process has ended')
        check_equal(engine.words[WRONG], 0, 'address of what the guest finds')
        guest.check()
        return engine.words[ROUND] > number

    def merged_and_split():
        engine.run()
        return (engine.results['merged'] > 10 * ARENA_PAGES
                and engine.split > ARENA_PAGES)

    before, meanwhile, after = ROUNDS
    wait_for(lambda: reached(before), 'rounds before it is merged')
    wait_for(lambda: merged_and_split() and reached(before + meanwhile),
             'rounds while it is merged and split')
    rounds = engine.words[ROUND] + after
    wait_for(lambda: reached(rounds), 'rounds afterwards')
    print(f'# {rounds * ARENA_PAGES} writes each way; '
          f'{engine.split} split, {dict(engine.results)}, '
          f'{bed.mount["cow_breaks"]} copied')


if __name__ == '__main__':
    cases.main('The distribution\'s QEMU on ksmfs.', globals(), Bed)
