#!/usr/bin/env python3
#
# COLLECT of ksmfs: it misses no write, and costs what was written
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host --processors=2 \
#            tests/kmod/test-ksmfs-collect.py [--seconds=N] [CASE]...

import errno
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, ksmfs, programs  # noqa: E402
from ksmtest.checks import check, check_equal  # noqa: E402
from ksmtest.ksmfs import PAGE  # noqa: E402



class Bed(ksmfs.Bed):
    @classmethod
    def add_options(cls, parser):
        super().add_options(parser)
        parser.add_argument('--seconds', type=int, default=30)


def test_collect_misses_no_write(bed):
    """each write is reported by the next collect, while pages are merged"""
    with bed.mount() as mount:
        counts = programs.count('collect', 'log', mount.path, bed.device,
                                str(bed.arguments.seconds))
        # Else nothing was at stake.
        for name in ('writes', 'collects', 'reported', 'merged'):
            check(counts[name] > bed.arguments.seconds,
                  f'{counts[name]} {name} only')


def test_pinned_page_stays_reported(bed):
    """a page that may be written unseen is reported again, and not merged"""
    with bed.mount() as mount:
        programs.count('collect', 'pin', mount.path)


def test_idle_file_costs_nothing(bed):
    """an idle GiB costs less than 1/100 of reading it, and faults nobody"""
    with bed.mount() as mount:
        counts = programs.count('collect', 'idle', mount.path, '1024')
        check(counts['idle-us'] < counts['reading-us'] / 100, 'it costs more')
        check(counts['written-us'] < counts['first-us'] / 10,
              'a thousandth of the pages costs more than a tenth')


def test_unread_report_is_repeated(bed):
    """what could not be told is reported again"""
    with bed.mount() as mount, mount.file('a', 256) as file:
        for page in range(0, 256, 2):
            file[page] = bytes(PAGE)
        request = ksmfs.Collect(start=0, end=256, ranges=8, max=1000)
        try:
            ksmfs.ioctl(file.fd, request)
            check(False, 'an array that is not there was taken')
        except OSError as error:
            check_equal(error.errno, errno.EFAULT, 'errno')
        check_equal(file.collect()[0], [(n, n + 1) for n in range(0, 256, 2)],
                    'ranges')


def test_collector_that_is_killed(bed):
    """another may collect once the first one was killed, and sees all"""
    with bed.mount() as mount, mount.file('a', 64) as file:
        file[3] = bytes(PAGE)
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            with mount.file('a') as other:
                other.collect()
                os.write(writing, b'x')
                signal.pause()
        os.read(reading, 1)
        try:
            file.collect()
            check(False, 'two collectors')
        except OSError as error:
            check_equal(error.errno, errno.EBUSY, 'errno')
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        check_equal(file.collect()[0], [(3, 4)], 'ranges')


if __name__ == '__main__':
    cases.main('COLLECT of ksmfs.', globals(), Bed)
