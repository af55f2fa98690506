#!/usr/bin/env python3
#
# The work that a guest gets done while its engine and ksmd make passes
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host --count tests/kvm/test-kvm-ksmd-work.py

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, ksmhost, linux, work  # noqa: E402


def test_guest_works_on(bed):
    """a guest does nearly as much work with passes as without"""
    work.check_ratios(bed, lambda: ksmhost.read('pages_sharing'))


if __name__ == '__main__':
    cases.main('The work of a guest while its engine is busy.', globals(),
               linux.KVMBed)
