#!/usr/bin/env python3
#
# Who may connect to ksmtuned, and who learns of whose pages
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-ksmtuned-domains.py KSMTUNED [CASE]...
#
# ksmtuned is a real one, its host is made up: see ksmtest/daemon.py.  The
# engines are connections of this process, of which /proc tells each time what
# the case wants.

import contextlib
import os
import signal
import socket
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import cases  # noqa: E402
from ksmtest.checks import check, check_equal, wait_for  # noqa: E402
from ksmtest.daemon import Daemon  # noqa: E402
from ksmtest.engine import Engine  # noqa: E402
from ksmtest.wire import TWIN, hello, publish  # noqa: E402


class Bed(Daemon):
    def connect(self, cgroup=None, label=None, **options):
        """An engine in CGROUP, a path or what /proc/PID/cgroup holds."""
        if cgroup and ':' not in cgroup:
            cgroup = f'0::{cgroup}'
        self.describe(os.getpid(), cgroup, label)
        return self.engine(**options)

    def joined(self):
        """The domains of all that joined, in their order."""
        words = 'joined domain '
        return [line.split(words)[1] for line in self.log().splitlines()
                if words in line]

    def connect_to(self, domain, *, cgroup=None, label=None):
        count = len(self.joined())
        engine = self.connect(cgroup, label)
        check_equal(self.joined()[count:], [domain],
                    f'domain of cgroup {cgroup}, label {label}')
        return engine

    def check_out(self, cgroup=None, label=None):
        engine = self.connect(cgroup, label, greet=False)
        engine.send(hello())
        engine.check_refused('in no domain')


def test_no_file(bed):
    """without a file all are in one domain, known or not"""
    bed.start()
    bed.connect_to('default', cgroup='/a')
    bed.connect_to('default')


def test_apart(bed):
    """who is not in a domain learns nothing of it"""
    bed.rules('[a]', 'Cgroup=/a/*', '[b]', 'Cgroup=/b/*;/c')
    bed.start()
    one = bed.connect_to('a', cgroup='/a/1')
    other = bed.connect_to('b', cgroup='/b/1')
    check(one.seed != other.seed, 'two domains have one seed')
    for engine in one, other:
        engine.send(publish((100, 1)))
        engine.check_silent()
    second = bed.connect_to('a', cgroup='/a/2')
    check_equal(second.seed, one.seed, 'seed of one domain')
    second.send(publish((100, 7)))
    check_equal(second.twins(1), {(100, 7, TWIN)}, 'twin of the second')
    check_equal(one.twins(1), {(100, 1, TWIN)}, 'twin of the first')
    other.check_silent()
    # Each check of silence published two pages and withdrew them.
    bed.wait_stats(clients=3, index_entries=3, index_shared=1)
    # A domain whose last member has left begins anew.
    other.close()
    bed.wait_stats(clients=2, index_entries=2)
    bed.connect_to('b', cgroup='/c').check_silent()


def test_first_match(bed):
    """the first rule that is met counts, and none lets nobody in"""
    bed.rules('[none]', 'Cgroup=/x*', 'Label=no',
              '[both]', 'Cgroup=/x*', 'Label=libvirt-*;other',
              '[label]', 'Label=libvirt-?', '[rest]', r'Cgroup=/v-\x2d*')
    bed.start()
    bed.connect_to('both', cgroup='/x', label='libvirt-1 (enforce)')
    bed.connect_to('both', cgroup='/xy', label='other')
    bed.connect_to('label', cgroup='/y', label='libvirt-2')
    bed.connect_to('label', label='libvirt-2')
    bed.connect_to('rest', cgroup=r'/v-\x2d1')
    bed.check_out(cgroup='/x')
    bed.check_out(cgroup='/y', label='libvirt-22')
    bed.check_out(label='no')
    bed.check_out()
    check(r'its cgroup is /y, its security label libvirt-22' in bed.log(),
          bed.log())


def test_named_domain(bed):
    """rules may lead into one domain"""
    bed.rules('[a]', 'Cgroup=/a', '[b]', 'Cgroup=/b', 'Domain=a')
    bed.start()
    one, other = (bed.connect_to('a', cgroup=name) for name in ('/a', '/b'))
    check_equal(other.seed, one.seed, 'seeds')


def test_cgroup_versions(bed):
    """of version 2, or systemd's where that is not used"""
    bed.rules('[v2]', 'Cgroup=/v2', '[v1]', 'Cgroup=/v1', '[root]', 'Cgroup=/')
    bed.start()
    bed.connect_to('v2', cgroup='9:name=systemd:/v1\n4:memory:/m\n0::/v2')
    bed.connect_to('v1', cgroup='9:name=systemd:/v1\n0::/')
    bed.connect_to('v1', cgroup='9:name=systemd:/v1\n4:memory:/v2')
    bed.connect_to('root', cgroup='4:memory:/v1:0::/v2\n0::/')
    bed.check_out(cgroup='4:memory:/v2')


def test_ended_peer(bed):
    """what is said of a pid counts only while its process lives"""
    bed.rules('[a]', 'Cgroup=*')
    bed.start()
    bed.process.send_signal(signal.SIGSTOP)
    try:
        peer = bed.enter(contextlib.closing(socket.socket(socket.AF_UNIX)))
        pid = os.fork()
        if pid == 0:
            os._exit(peer.connect_ex(bed.socket))
        bed.describe(pid, '0::/a')
        check_equal(os.waitpid(pid, 0)[1], 0, 'status of who connects')
    finally:
        bed.process.send_signal(signal.SIGCONT)
    engine = Engine.__new__(Engine)
    engine.socket, engine.buffer = peer, b''
    engine.send(hello())
    engine.check_refused('in no domain')


def test_wrong_files(bed):
    """what is wrong is named, and nobody is let in then"""
    for words, *lines in (
            ('[a]: Cgruop: not a key', '[a]', 'Cgroup=*', 'Cgruop=/x'),
            ('[a]: Cgroup: no pattern', '[a]', 'Cgroup= ; '),
            ('[a]: says not who is meant', '[a]'),
            ('[a b]: a b: not a domain', '[a b]', 'Cgroup=*'),
            ('[a]: b c: not a domain', '[a]', 'Cgroup=*', 'Domain=b c'),
            ('[a]: : not a domain', '[a]', 'Cgroup=*', 'Domain='),
            ('[a]: 0: not a Priority', '[a]', 'Cgroup=*', 'Priority=0'),
            ('a' * 65 + ': not a', '[' + 'a' * 65 + ']', 'Cgroup=*'),
            ("line 3: 'Cgroup = /b'", '[a]', 'Cgroup=/a', 'Cgroup = /b'),
            ("line 4: '[a]'", '[a]', 'Cgroup=/a', '[b]', '[a]'),
            ("line 2: 'Cgroup[de]=*'", '[a]', 'Cgroup[de]=*'),
            ('ksmtuned-domains.conf: Key file', 'Cgroup=*'),
            ('ksmtuned-domains.conf: Key file', '[a', 'Cgroup=*')):
        bed.rules(*lines)
        result = bed.run()
        check_equal(result.returncode, 1, f'status with {lines}')
        check(words in result.stderr, result.stderr)
        check(not os.path.exists(bed.socket), 'it listens')
    os.unlink(bed.domains)
    os.mkdir(bed.domains)
    check('Is a directory' in bed.run().stderr,
          'a directory is taken for a file')


def test_missing_file(bed):
    """a file that is asked for and not there is an error"""
    os.symlink('nowhere', bed.root / 'link')
    for path in bed.root / 'none', bed.root / 'link':
        result = bed.run(f'--domains={path}')
        check_equal(result.returncode, 1, 'status')
        check(f'{path}: ' in result.stderr and 'No such file' in result.stderr,
              result.stderr)


def test_any_bytes(bed):
    """a cgroup may be called anything, and ends nothing"""
    bed.rules('[a]', 'Cgroup=*tenant*.scope;/?', '[b]', 'Cgroup=*')
    bed.start()
    for name, domain in (('/tenant-aaaa\udcf0', 'b'), ('/\udcf0', 'a'),
                         ('/x/tenant\udcff\udcc3.scope', 'a'),
                         ('/[a-z]', 'b'), ('/\x1b[2J', 'b')):
        bed.connect_to(domain, cgroup=name)


def test_one_takes_all(bed):
    """who publishes more than its share is refused, and nobody else"""
    bed.rules('[a]', 'Cgroup=/a', '[b]', 'Cgroup=/b')
    bed.set_memory(64 << 20, SwapTotal=0)
    bed.start()
    pages = (64 << 20) // 4096
    other = bed.connect_to('b', cgroup='/b')
    other.send(publish((1, 1)))
    greedy = [bed.connect_to('a', cgroup='/a') for _ in range(9)]
    for number, engine in enumerate(greedy):
        for at in range(0, pages, 256):
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                engine.send(publish(*((number << 32 | at + i, at + i)
                                      for i in range(256))))
    bed.wait_log('this one more than its share')
    other.check_silent()
    bed.connect_to('b', cgroup='/b').check_silent()


def test_file_without_rules(bed):
    """an empty file lets nobody in"""
    bed.rules('# none')
    bed.start()
    bed.check_out(cgroup='/a')
    wait_for(lambda: 'meets no rule' in bed.log(), 'a line in the log')


if __name__ == '__main__':
    cases.main('Meet in ksmtuned, or not.', globals(), Bed)
