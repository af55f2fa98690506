#!/usr/bin/env python3
#
# What make run BACKEND=ksmfs does where ksmfs can be loaded
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: tests/vm/emulated-host tests/kvm/test-kvm-run.py [CASE]...

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import cases, kmod  # noqa: E402
from ksmtest.checks import check, check_equal  # noqa: E402
from ksmtest.terminal import has_bar  # noqa: E402

GUESTS = 2
MEMORY_MIB = 96
# Of what ksmd saves, and of the memory that it leaves in use.
SHARE_SAVED = 0.8
SHARE_LEFT = 1.05
# Of what is saved: QEMU itself takes some MiB more meanwhile.
SHARE_AVAILABLE = 0.7


class Bed(cases.Bed):
    programs = ()
    host_ksm = False


def demonstrate(**values):
    """Runs scripts/run-demo; what it printed, and its report."""
    process = subprocess.run(
        ['python3', TOP / 'scripts/run-demo'], text=True,
        env={**os.environ, **values}, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)
    check_equal(process.returncode, 0, f'status of {process.stdout}')
    return (process.stdout.splitlines(),
            json.loads((TOP / 'build/run/report.json').read_text()))


def test_two_guests(bed):
    """guests on ksmfs are merged and compared with guests under ksmd"""
    said, report = demonstrate(BACKEND='ksmfs', GUESTS=str(GUESTS),
                               MEM=str(MEMORY_MIB), ROUNDS='1')
    for line in said[-11:]:
        print(f'# {line}')
    live = [line for line in said if has_bar(line)]
    for word in 'guests up', 'tracked', 'twins', 'merged', 'saved', 'engine':
        check(any(word in line for line in live), f'{word} in no live line')
    for name, wanted in {'guests': GUESTS, 'backend': 'ksmfs', 'accel': 'kvm',
                         'memory_mib': MEMORY_MIB, 'goal_reached': True,
                         'ksmtuned_cpu_seconds': None,
                         'ksmd_cpu_seconds': None}.items():
        check_equal(report[name], wanted, name)
    for name, value in report.items():
        reason = f"not measured: {name.replace('_', ' ')}: "
        check(value is not None or any(line.startswith(reason)
                                       for line in said),
              f'{name} is {value}, and no reason is said')
    check(report['bytes_saved'] >= SHARE_SAVED * report['plain_bytes_saved'],
          f"{report['bytes_saved']} bytes are saved, "
          f"{report['plain_bytes_saved']} by ksmd")
    # The mount counts that, and the host has to see it.
    check(report['available_bytes_saved']
          >= SHARE_AVAILABLE * report['bytes_saved'] > 0,
          f"{report['bytes_saved']} bytes are saved, "
          f"{report['available_bytes_saved']} more are available")
    check(report['bytes_used'] <= SHARE_LEFT * report['plain_bytes_used'],
          f"{report['bytes_used']} bytes are left in use, "
          f"{report['plain_bytes_used']} by ksmd")
    check(0 < report['engine_cpu_seconds'] < report['plain_ksmd_cpu_seconds'],
          f"{report['engine_cpu_seconds']} s of CPU, "
          f"{report['plain_ksmd_cpu_seconds']} by ksmd")
    check(kmod.present(Path('/')), 'ksmfs is gone, which was there before')


def test_module_comes_and_goes(bed):
    """the module is loaded for as long as it is needed"""
    here = Path('/')
    subprocess.run(['rmmod', 'ksmfs'], check=True)
    modules = here / 'lib/modules'
    own = modules / os.uname().release
    reason = kmod.obstacle()
    check(reason and 'headers' in reason, f'without headers: {reason}')
    own.mkdir()
    try:
        shutil.copy(modules / 'ksmfs.ko', own)
        subprocess.run(['depmod'], check=True)
        check_equal(kmod.obstacle(), None, 'obstacle once it is installed')
        with kmod.Loaded():
            check(kmod.present(here), 'ksmfs is not loaded')
        check(not kmod.present(here), 'ksmfs is still loaded')
        (own / 'ksmfs.ko').write_bytes(b'no module')
        try:
            with kmod.Loaded():
                check(False, 'what is no module was loaded')
        except kmod.Unloadable as error:
            check('ksmfs' in str(error), f'reason: {error}')
    finally:
        shutil.rmtree(own)
        subprocess.run(['insmod', modules / 'ksmfs.ko'], check=True)


if __name__ == '__main__':
    cases.main('make run BACKEND=ksmfs where ksmfs can be loaded.', globals(),
               Bed)
