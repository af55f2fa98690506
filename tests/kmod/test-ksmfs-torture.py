#!/usr/bin/env python3
#
# Torture of ksmfs: writers that verify what they wrote, all through
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host --processors=2 --seconds=3600 \
#            tests/kmod/test-ksmfs-torture.py [--operations=N] [CASE]...

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, ksmfs, programs  # noqa: E402
from ksmtest.checks import check, check_equal  # noqa: E402


class Bed(ksmfs.Bed):
    @classmethod
    def add_options(cls, parser):
        super().add_options(parser)
        parser.add_argument('--operations', type=int, default=250000)
        parser.add_argument('--pause', type=int, default=10000)
        parser.add_argument('--seed', type=int, default=1)

    def torture(self, mount, *options):
        return programs.count('torture', mount.path, *options,
                              f'--operations={self.arguments.operations}',
                              f'--pause={self.arguments.pause}',
                              f'--seed={self.arguments.seed}')


def check_sums(mount):
    """The files' figures and the mount's have to agree."""
    stats = []
    for path in sorted(mount.path.iterdir()):
        with mount.file(path.name) as file:
            stats.append(file.stat())
    private, sharing, zero, merges, breaks = (
        sum(getattr(stat, name) for stat in stats)
        for name in ('pages_private', 'pages_sharing', 'pages_zero', 'merges',
                     'cow_breaks'))
    check_equal(mount['pages_allocated'], private + mount['pages_shared'],
                'pages_allocated')
    check_equal(mount['pages_used'], private + sharing + zero, 'pages_used')
    check_equal(mount['pages_sharing'] + mount['pages_shared'], sharing,
                'pages_sharing')
    check_equal(mount['ksm_zero_pages'], zero, 'ksm_zero_pages')
    check_equal((mount['merges'], mount['cow_breaks']), (merges, breaks),
                'merges and cow_breaks')


def test_no_write_is_lost_or_torn(bed):
    """writers in parallel with merge, split and collect read what they wrote"""
    with bed.mount() as mount:
        counts = bed.torture(mount, f'--device={bed.device}')
        print(f'# {mount["merges"]} merges, {mount["cow_breaks"]} breaks; '
              f'{counts["operations"] / counts["milliseconds"] * 1000:.0f} '
              'operations/s')
        check(counts['operations'] >= bed.arguments.operations,
              f'{counts["operations"]} operations')
        idle = [name for name, value in counts.items() if not value]
        check_equal(idle, [], 'what was never done')
        # Else nothing was at stake.
        check(mount['merges'] > counts['operations'] / 100,
              f'{mount["merges"]} merges only')
        check(mount['cow_breaks'] > counts['operations'] / 100,
              f'{mount["cow_breaks"]} breaks only')
        check_sums(mount)
        mount.unlink_all()
        ksmfs.check_empty(mount)


if __name__ == '__main__':
    cases.main('Torture of ksmfs.', globals(), Bed)
