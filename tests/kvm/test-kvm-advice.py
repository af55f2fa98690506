#!/usr/bin/env python3
#
# What a guest on ksmfs advises of its memory is carried out
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage, in an emulated host: test-kvm-advice.py [OPTION]... [CASE]...

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import advice, cases  # noqa: E402
from ksmtest.linux import KsmfsBed  # noqa: E402


def test_nomerge(bed):
    """what a guest says is never merged is in frames of its own"""
    advised = advice.Advised(bed)
    other = advised.guests[1]
    advice.check_nomerge(advised, lambda: advice.map_all(other))


if __name__ == '__main__':
    cases.main('What a guest on ksmfs advises of its memory is carried out.',
               globals(), KsmfsBed)
