#!/usr/bin/env python3
#
# The systemd units are good, and leave the services few rights
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-ksmtuned-units.py KSMTUNED [CASE]...
#
# The units, and the programs that they run, are those beside KSMTUNED.  No
# systemd need run here.

import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import cases  # noqa: E402
from ksmtest.cases import Bed  # noqa: E402
from ksmtest.checks import PATIENCE, check, check_equal  # noqa: E402
from ksmtest.programs import program  # noqa: E402

# Of 10.0: 4.0 is where systemd's "OK" ends.
MOST_EXPOSED = 4.0


class Units(Bed):
    """All units, made to run the programs that were just built."""

    programs = ('ksmtuned',)
    host_ksm = False

    @classmethod
    def add_options(cls, parser):
        parser.add_argument('ksmtuned', type=program, metavar='KSMTUNED')

    def __init__(self, arguments, directory, stack):
        super().__init__(arguments, directory, stack)
        built = arguments.ksmtuned.parent
        self.units = []
        for template in sorted((TOP / 'service/systemd').glob('*.in')):
            text = (built / template.stem).read_text()
            unit = directory / template.stem
            # Kept whatever stands before the path of a program of ours.
            unit.write_text(re.sub(r'^(Exec\w+=\W*)/\S*/(ksm[\w-]+)',
                                   rf'\1{built}/\2', text, flags=re.M))
            self.units.append(unit)
        check(self.units, 'no units')

    def services(self):
        return [unit for unit in self.units if unit.suffix == '.service']


def analyze(*arguments):
    return subprocess.run(['systemd-analyze', *arguments], text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=PATIENCE, check=False)


def test_verify(bed):
    """systemd understands every line of them"""
    result = analyze('verify', '--man=no', '--recursive-errors=one',
                     *bed.units)
    check_equal((result.returncode, result.stdout), (0, ''), 'verify')


def test_security(bed):
    """each service is sandboxed: systemd finds it little exposed"""
    for unit in bed.services():
        result = analyze('security', '--offline=true', '--no-pager', unit)
        exposed = re.search(r'Overall exposure level for \S+: ([\d.]+)',
                            result.stdout)
        check(exposed, result.stdout)
        print(f'# {unit.name}: {exposed[1]}')
        check(float(exposed[1]) < MOST_EXPOSED,
              f'{unit.name}: {exposed[1]}\n{result.stdout}')


if __name__ == '__main__':
    cases.main('Have systemd judge our units.', globals(), Units)
