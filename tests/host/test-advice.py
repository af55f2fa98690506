#!/usr/bin/env python3
#
# What a guest advises of its memory is carried out, whatever happens to it
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-advice.py [OPTION]... [CASE]...
#
# Two Linux guests hold the same.  One of them has its ksm-guest device, and
# ksm-guest(8), say that some of that is never to be merged.  Page frames tell
# whether it is shared with anybody.

import functools
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / 'vm'))

from ksmtest import advice, cases, ksmhost, restricted  # noqa: E402
from ksmtest.advice import (  # noqa: E402
    DEVICE, FILE_PAGES, check_apart, has_shared)
from ksmtest.checks import check, check_equal, wait_for  # noqa: E402
from ksmtest.linux import Bed  # noqa: E402


class Advised(advice.Advised):
    """The host's ksmd merges them."""

    def __init__(self, bed):
        super().__init__(bed)
        bed.enter(ksmhost.ksmd(1000, 20))


def test_nomerge(bed):
    """what a guest says is never merged is in frames of its own"""
    advice.check_nomerge(Advised(bed))


def test_reboot(bed):
    """it holds after a reboot, until the guest releases it"""
    advised = Advised(bed)
    one = advised.one
    secret = advised.file('none', 1)
    wait_for(lambda: has_shared(one, secret), 'it to be merged')
    advised.file('nomerge', 1)
    boots = one.said('guest filled')
    one.execute('system_reset')
    wait_for(lambda: one.check() or one.said('guest filled') > boots,
             'the guest to boot again')
    one.passes(3)
    check_equal(one.ksm()['advice']['pages-never'], FILE_PAGES, 'pages')
    check_apart(one, secret)
    advised.advise('release')
    check_equal(one.ksm()['advice']['pages-never'], 0, 'pages')


def test_migration(bed):
    """it holds where the guest migrates to"""
    advised = Advised(bed)
    one = advised.one
    known, secret = advised.file('none', 2), advised.file('nomerge', 1)
    target = bed.start('target', workload='advise',
                       extra=(*DEVICE, '-incoming', 'defer'))
    uri = bed.socket('migration')
    target.execute('migrate-incoming', {'uri': uri})
    one.execute('migrate', {'uri': uri})
    one.wait_migration()
    target.wait_running()
    one.stop()
    check_apart(target, secret)
    wait_for(lambda: target.ksm()['advice']['done'], 'it to be carried out')
    check_equal(target.ksm()['advice']['pages-never'], FILE_PAGES, 'pages')
    wait_for(lambda: target.check() or has_shared(target, known),
             'the rest to be merged')
    target.passes(3)
    check_apart(target, secret)


def test_apply(bed):
    """what is advised by hand stays when the settings are applied"""
    advised = Advised(bed)
    advised.advise('release')
    by_hand = advised.file('nomerge', 1)
    for _ in range(2):
        advised.advise('apply')
        check_equal(advised.one.ksm()['advice']['pages-never'],
                    2 * FILE_PAGES, 'pages')
    check_apart(advised.one, by_hand)
    advised.advise('release')
    check_equal(advised.one.ksm()['advice']['pages-never'], 0, 'pages')


def test_saved(bed):
    """a guest is told what merging saves of its memory, roughly"""
    advised = Advised(bed)
    pid = advised.one.pid

    def merged_mib():
        stat = Path(f'/proc/{pid}/ksm_stat').read_text()
        return int(re.search(r'ksm_merging_pages (\d+)', stat)[1]) >> 8

    def saved_mib():
        return int(re.search(r'saved: +(\d+) MiB', advised.advise('status'))[1])
    wait_for(lambda: merged_mib() >= 20, '20 MiB to be merged')
    # It is ten seconds old, at most.
    wait_for(lambda: saved_mib() >= 16, 'the guest to hear of it')
    check(saved_mib() % 16 == 0, 'it is told in too small steps')
    check(saved_mib() <= merged_mib() + 16, 'it is told too much')


def test_refused(bed):
    """a guest is told when it is not heard"""
    advised = Advised(bed)
    advised.advise('nomerge --file /none', 1)
    advised.one.set_ksm('guest-hints', False)
    said = advised.advise('nomerge --file /tmp/fill/alike.1', 1)
    check('is declined' in said, f'no reason is said: {said}')
    check_equal(advised.one.ksm()['advice']['pages-never'], 0, 'pages')
    check('declines advice' in advised.advise('status'), 'status')


def test_no_ksm(bed):
    """where the kernel merges nothing, it is carried out as well"""
    advised = advice.Advised(bed, functools.partial(
        bed.start, command=restricted.command('--no-ksm')))
    one = advised.one
    check('no-ksm' in {limit['limit'] for limit in one.ksm()['limits']},
          'it has KSM')
    advised.file('nomerge', 1)
    carried_out = one.ksm()['advice']
    check(carried_out['done'], 'it is not carried out')
    check_equal(carried_out['pages-never'], FILE_PAGES, 'pages')
    one.passes(3)
    advised.advise('release')
    check_equal(one.ksm()['advice']['pages-never'], 0, 'pages')


if __name__ == '__main__':
    cases.main('What a guest advises of its memory is carried out.', globals(),
               Bed)
