#!/usr/bin/env python3
#
# What the tests in emulated hosts rely on
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-emulated-host.py [CASE]...

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import cases, emulated  # noqa: E402
from ksmtest.checks import check_equal  # noqa: E402
from ksmtest.vm import VMError  # noqa: E402

COMMAND = 'python3 /tests/kvm/test-kvm-ksmd.py guests-are-merged\n'
STOPS = 5


class Bed(cases.Bed):
    programs = ('qemu',)
    host_ksm = False


def stop_and_go_on(host):
    """What a timer or a kick does, at any instruction: its CPU's loop ends."""
    try:
        for _ in range(STOPS):
            host.execute('stop')
            host.execute('cont')
    except VMError:
        # It is off.
        pass
    time.sleep(0.05)


def test_guests_get_interrupts_once(bed):
    """guests live on, however often their host's processor is interrupted"""
    output = []
    status = emulated.run(COMMAND, bed.directory, show=output.append,
                          disturb=stop_and_go_on)
    check_equal(status, 0, ''.join(output))


if __name__ == '__main__':
    cases.main('Disturb an emulated host.', globals(), Bed)
