#!/usr/bin/env python3
#
# Mappings of ksmfs: what a second one sees, and how the kernel gets at pages
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host --processors=2 \
#            tests/kmod/test-ksmfs-mappings.py [--rounds=N] [CASE]...

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, ksmfs, programs  # noqa: E402
from ksmtest.checks import check  # noqa: E402


class Bed(cases.Bed):
    programs = ()
    host_ksm = False

    @classmethod
    def add_options(cls, parser):
        super().add_options(parser)
        parser.add_argument('--rounds', type=int, default=1000000)
        parser.add_argument('--seconds', type=int, default=60)


def test_second_mapping_never_stale(bed):
    """a change by one process is seen by another at once"""
    with ksmfs.Mount(bed.directory) as mount:
        counts = programs.count('stale', mount.path,
                                f'--rounds={bed.arguments.rounds}',
                                f'--seconds={bed.arguments.seconds}')
        # Else nothing was at stake.
        check(counts['merged'] > counts['rounds'] / 10, 'few merges')
        check(counts['changed-reads'] > counts['rounds'] / 1000,
              'few reads after a change')


if __name__ == '__main__':
    cases.main('Mappings of ksmfs.', globals(), Bed)
