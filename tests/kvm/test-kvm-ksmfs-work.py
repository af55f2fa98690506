#!/usr/bin/env python3
#
# The work that a guest on ksmfs gets done while its engine makes passes
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host --count tests/kvm/test-kvm-ksmfs-work.py

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, linux, work  # noqa: E402


def test_guest_works_on(bed):
    """a guest does nearly as much work with passes as without"""
    work.check_ratios(bed, lambda: bed.mount['pages_sharing'])


if __name__ == '__main__':
    cases.main('The work of a guest while its engine is busy.', globals(),
               linux.KsmfsBed)
