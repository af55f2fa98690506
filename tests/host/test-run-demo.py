#!/usr/bin/env python3
#
# What make run refuses, and where it runs
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-run-demo.py [CASE]...
#
# What it does with guests on ksmfs is in tests/kvm/test-kvm-run.py.

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import cases, kmod, programs  # noqa: E402
from ksmtest.checks import check, check_equal  # noqa: E402

SCRIPT = TOP / 'scripts/run-demo'
RELEASE = '6.12.3-some'
ALL_CAPABILITIES = (1 << 41) - 1


class Bed(cases.Bed):
    programs = ()
    host_ksm = False


def run_demo(*options, **values):
    env = {name: value for name, value in os.environ.items()
           if name not in ('GUESTS', 'MEM', 'SECONDS', 'BACKEND', 'ROUNDS')}
    return subprocess.run([SCRIPT, *options], text=True,
                          env={**env, **values}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)


def test_refuses(bed):
    """wrong values are refused before anything is done"""
    for name, value, words in (
            ('BACKEND', 'kmsd', 'auto, ksmd, ksmfs, null'),
            ('GUESTS', '0', '1 or more'), ('GUESTS', 'four', '1 or more'),
            ('MEM', '95', '96 or more'), ('MEM', '1g', '96 or more'),
            ('SECONDS', '-1', '1 or more'), ('ROUNDS', '1.5', '1 or more')):
        for backend in {}, {'BACKEND': 'ksmfs'}:
            process = run_demo('--check', **{**backend, name: value})
            check_equal(process.returncode, 1, f'status with {name}={value}')
            check(f'{name}={value}' in process.stdout
                  and words in process.stdout,
                  f'{name}={value}: {process.stdout}')


def test_refuses_too_much(bed):
    """more memory than there is is refused, where none can be swapped out"""
    process = run_demo('--check', BACKEND='ksmfs', GUESTS='1000', MEM='100000')
    check(process.returncode == 1 and 'ask for less' in process.stdout,
          f'status {process.returncode}: {process.stdout}')
    for values in ({}, {'BACKEND': 'ksmfs', 'GUESTS': '1', 'MEM': '96'},
                   {'BACKEND': 'null', 'GUESTS': '8', 'MEM': '512'}):
        process = run_demo('--check', **values)
        check(process.returncode == 0 and not process.stdout,
              f'{values}: status {process.returncode}: {process.stdout}')


def make_host(root, lacks=None, capabilities=ALL_CAPABILITIES):
    """A host below ROOT that can load ksmfs, but for what it LACKS."""
    files = {'proc/filesystems': 'nodev\ttmpfs\n', 'proc/modules': '',
             'proc/sys/kernel/modules_disabled': '0\n',
             'proc/self/status': f'CapEff:\t{capabilities:016x}\n',
             f'lib/modules/{RELEASE}/build/Makefile': ''}
    for name, text in files.items():
        if name != lacks:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)


def test_obstacles(bed):
    """what keeps a kernel from loading ksmfs is named"""
    def obstacle(wanted, change=None, release=RELEASE, **what):
        root = bed.directory / f'{len(list(bed.directory.iterdir()))}'
        make_host(root, **what)
        for name, text in (change or {}).items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text)
        reason = kmod.obstacle(root, release)
        check(reason == wanted if None in (reason, wanted)
              else wanted in reason, f'{reason}, not {wanted}')

    headers = f'lib/modules/{RELEASE}/build/Makefile'
    there = {'proc/filesystems': 'nodev\ttmpfs\nnodev\tksmfs\n'}
    without = {bit: ALL_CAPABILITIES & ~(1 << bit)
               for bit in (kmod.CAP_SYS_MODULE, kmod.CAP_SYS_ADMIN)}
    obstacle(None)
    obstacle('CONFIG_MODULES', lacks='proc/modules')
    obstacle(None, there, lacks='proc/modules')
    obstacle('modules_disabled', {'proc/sys/kernel/modules_disabled': '1\n'})
    obstacle(f'install linux-headers-{RELEASE}', lacks=headers)
    obstacle(None, {f'lib/modules/{RELEASE}/updates/ksmfs.ko.xz': ''},
             lacks=headers)
    obstacle('6.1 or newer', release='5.10.0-some')
    obstacle('CAP_SYS_MODULE', capabilities=without[kmod.CAP_SYS_MODULE])
    obstacle(None, there, capabilities=without[kmod.CAP_SYS_MODULE])
    obstacle('run as root', there, capabilities=without[kmod.CAP_SYS_ADMIN])


class Screen:
    """A terminal that remembers."""

    def __init__(self):
        self.said = []

    def say(self, text=''):
        self.said.append(text)

    def progress(self, text):
        self.said.append(f'live: {text}')


def test_relay(bed):
    """what is printed in an emulated host is shown, and its report is kept"""
    demo, screen = programs.script(SCRIPT), Screen()
    relay = demo.Relay(screen)
    figures = {'guests': 4, 'rounds': [{'engine': None}]}
    for chunk in ('4 guests\n', '[\033[32m##\033[0m--]   1 s\n\n[other]\n',
                  f'{demo.REPORT_FOLLOWS}\n',
                  f'{json.dumps(figures, indent=2)}\n# exit status 0\n'):
        relay.show(chunk)
    check_equal(screen.said,
                ['4 guests', 'live: [\033[32m##\033[0m--]   1 s', '',
                 '[other]'], 'what is shown')
    check_equal(json.loads(relay.report), figures, 'report')


def test_emulated_host(bed):
    """the script runs in an emulated host, and its report comes out"""
    arguments = argparse.Namespace(
        backend='ksmfs', guests=1, memory_mib=97, seconds=60, rounds=1,
        only='engine', append='ksm.fill=1', host_mib=2304)
    demo, screen = programs.script(SCRIPT), Screen()
    # As the script does it: once in a while a guest stops there.
    figures = (demo.run_emulated(arguments, screen, bed.directory)
               or demo.run_emulated(arguments, screen, bed.directory))
    check(figures, 'no figures:\n' + '\n'.join(screen.said[-40:]))
    for name, wanted in {'backend': 'ksmfs', 'guests': 1, 'memory_mib': 97,
                         'plain_bytes_saved': None}.items():
        check_equal(figures[name], wanted, name)
    live = [line for line in screen.said if line.startswith('live: ')]
    check('engine' in live[-1] and '\033[' in live[-1],
          f'last live line: {live[-1]}')
    check(screen.said[-1].startswith('figures in'),
          f'last line: {screen.said[-1]}')


if __name__ == '__main__':
    cases.main('What make run refuses, and where it runs.', globals(), Bed)
