#!/usr/bin/env python3
#
# ksm-exporter: its metrics, and its HTTP, on a host that is made up
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-ksm-exporter.py KSM-EXPORTER [CASE]...
#
# KSM_EXPORTER_WRAPPER in the environment, e.g. "valgrind -q", goes before it.

import contextlib
import http.client
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import prometheus_client.openmetrics.parser as openmetrics
import prometheus_client.parser as plain

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import cases  # noqa: E402
from ksmtest.checks import PATIENCE, check, check_equal, wait_for  # noqa: E402
from ksmtest.host import (  # noqa: E402
    KSMTUNED_PID, MIB, PAGE, ShownHost, engine)
from ksmtest.programs import promtool, with_socket  # noqa: E402

TEXT = 'text/plain; version=0.0.4; charset=utf-8'
OPENMETRICS = 'application/openmetrics-text; version=1.0.0; charset=utf-8'
# What Prometheus sends.
PROMETHEUS = ('application/openmetrics-text;version=1.0.0,'
              'application/openmetrics-text;version=0.0.1;q=0.75,'
              'text/plain;version=0.0.4;q=0.5,*/*;q=0.1')
# How long a connection lives, and how many there may be.
CONNECTION_S = 10
CONNECTIONS_MAX = 256
REQUEST = b'GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n'
UUID = '123e4567-e89b-42d3-a456-426614174000'


class Exporter(ShownHost):
    """What ksm-exporter sees of a host, and ksm-exporter itself."""

    programs = ('ksm-exporter',)

    def start(self, listen='127.0.0.1:0', command=None, **options):
        """Serves; the address, as it says it."""
        self.log = self.root / 'exporter.log'
        with open(self.log, 'w') as log:
            self.process = subprocess.Popen(
                command or self.command_line(f'--listen={listen}'), stderr=log,
                **options)
        self._stack.callback(self.stop)
        wait_for(self.listening, 'the server')
        return self.listening()

    def listening(self):
        said = self.log.read_text()
        check(self.process.poll() is None, f'it ended: {said}')
        found = re.search('listening on (.*)\n', said)
        return found and found[1]

    def stop(self, number=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(number)
        check_equal(self.process.wait(timeout=PATIENCE), 0, 'exit status')

    def connect(self):
        address, _, port = self.listening().rpartition(':')
        return self.enter(contextlib.closing(socket.create_connection(
            (address.strip('[]'), int(port)), timeout=PATIENCE)))

    def get(self, path='/metrics', method='GET', **headers):
        """Status, headers and body."""
        address, _, port = self.listening().rpartition(':')
        connection = http.client.HTTPConnection(address.strip('[]'), int(port),
                                                timeout=PATIENCE)
        with contextlib.closing(connection):
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read()

    def samples(self):
        return samples(self.out('--print'))

    def descriptors(self):
        return len(os.listdir(f'/proc/{self.process.pid}/fd'))

    def rss(self):
        text = Path(f'/proc/{self.process.pid}/status').read_text()
        return int(re.search(r'VmRSS:\s+(\d+) kB', text)[1]) << 10


def samples(text):
    """Values by name and labels."""
    return {(sample.name, *sorted(sample.labels.items())): sample.value
            for family in plain.text_string_to_metric_families(text)
            for sample in family.samples}


def named(found, prefix):
    """Those of SAMPLES whose name begins so, without it."""
    return {(key[0].removeprefix(prefix), *key[1:]): value
            for key, value in found.items() if key[0].startswith(prefix)}


def receive(connection, seconds=PATIENCE):
    """All until the end, however it comes, or for so long."""
    data = b''
    connection.settimeout(seconds)
    with contextlib.suppress(ConnectionError, TimeoutError):
        while part := connection.recv(65536):
            data += part
    return data


def is_closed(connection):
    """Does it read as closed?  What is left to read is read."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


def fill(host):
    host.set('run', 1)
    host.set('sleep_millisecs', 5)
    host.set('pages_sharing', 3)
    host.set('ksm_zero_pages', 1)
    host.set('general_profit', -512)
    host.set('advisor_mode', 'none [scan-time]')
    host.set('advisor_max_cpu', 70)
    host.set_ksmd_ns(1500000001)
    host.add_guest(200, b'web', 5, 2, 1, -8,
                   more=[b'-uuid', UUID.upper().encode()])
    host.add_guest(100)
    host.add_mount('0:50', '/srv/a\\040b', pages_used=8, pages_allocated=5,
                   pages_shared=2, pages_sharing=4, pages_unshared=6,
                   ksm_zero_pages=1, merges=10, cow_breaks=3,
                   max_kernel_pages=0)
    host.add_mount('0:51')
    host.start_ksmtuned(
        engine(200, backends=['ksmd', 'ksmfs'], state='yielded', cpu_ns=1,
               ksmfs_sharing_pages=3, limit='no ksmfs: mount it'),
        engine(300, backends=[]),
        index_entries=21, index_shared=22, index_bytes=23, twins_told=24,
        cpu_ns=2500000000, demand_waiting_pages=25, ksmd_wakeups=26,
        decisions=27, policy='demand', max_kernel_pages=28)


def test_options(host):
    """Wrong usage has status 2 and names the way out."""
    check(re.match(r'ksm-exporter \d+\.\d+', host.out('--version')), 'version')
    check('--textfile' in host.out('--help'), 'help')
    for arguments, words in (
            (['x'], "'x'"), (['--no-such'], '--no-such'),
            (['--print', '--textfile=a.prom'], 'one of them'),
            (['--listen=unix:/x', '--print'], 'one of them'),
            (['--textfile=/tmp/a'], '.prom')):
        error = host.fails(2, *arguments)
        check(words in error and '--help' in error, error)
    for address in 'x:1', '127.0.0.1:x', '127.0.0.1:65536', ':80', '::1:80':
        error = host.fails(1, f'--listen={address}')
        check(f'--listen={address}: ' in error and 'unix:PATH' in error, error)
    check('does not exist: make it' in host.fails(1, '--listen=unix:/none/x'),
          'directory')


def test_host(host):
    """Figures are what the kernel's say, in base units."""
    fill(host)
    found = host.samples()
    check_equal({key: value for key, value in found.items() if
                 not re.match('ksm_(exporter|ksmtuned|guest|engine|ksmfs)_',
                              key[0])}, {
        ('ksm_page_size_bytes',): PAGE, ('ksm_saved_bytes',): 4 * PAGE,
        ('ksm_profit_bytes',): -512, ('ksm_guests',): 3,
        ('ksm_ksmd_cpu_seconds_total',): 1.500000001, ('ksm_run',): 1,
        ('ksm_pages_to_scan',): 100, ('ksm_sleep_seconds',): 0.005,
        ('ksm_merge_across_nodes',): 1, ('ksm_max_page_sharing',): 256,
        ('ksm_use_zero_pages',): 0, ('ksm_smart_scan',): 1,
        ('ksm_advisor_info', ('mode', 'scan-time')): 1,
        ('ksm_advisor_max_cpu_ratio',): 0.7, ('ksm_pages_shared',): 0,
        ('ksm_pages_sharing',): 3, ('ksm_zero_pages',): 1,
        ('ksm_pages_scanned_total',): 0, ('ksm_full_scans_total',): 7,
    }, 'of the host')
    check_equal(named(found, 'ksm_ksmtuned_'), {
        ('up',): 1, ('engines',): 3, ('index_entries',): 21,
        ('index_shared',): 22, ('index_bytes',): 23, ('twins_told_total',): 24,
        ('cpu_seconds_total',): 2.5, ('waiting_pages',): 25,
        ('ksmd_wakeups_total',): 26, ('decisions_total',): 27,
        ('max_kernel_pages',): 28,
        ('policy', ('policy', 'demand')): 1,
        ('policy', ('policy', 'classic')): 0,
        ('policy', ('policy', 'classic-strict')): 0,
        ('policy', ('policy', 'pressure')): 0}, 'of ksmtuned')
    version = host.out('--version').split()[1]
    check_equal(found['ksm_exporter_build_info', ('version', version)], 1,
                'build')
    check(0 < found['ksm_exporter_collect_seconds',] < PATIENCE, 'seconds')


def test_guests(host):
    """Each is told from others, and what nobody tells is absent."""
    fill(host)
    web = ('name', 'web'), ('pid', '200'), ('uuid', UUID)
    bare = ('pid', '100'),
    # In a PID namespace, say: its engine is all that is known of it.
    unseen = ('name', 'guest-300'), ('pid', '300')
    found = host.samples()
    check_equal(named(found, 'ksm_guest_'), {
        ('resident_bytes', *web): 5 * PAGE, ('resident_bytes', *bare): 0,
        ('saved_bytes', *web): 6 * PAGE, ('profit_bytes', *web): -8,
        ('merging_pages', *web): 2, ('zero_pages', *web): 1}, 'guests')
    found = named(found, 'ksm_engine_')
    check_equal({key for key in found if key[0] == 'domain_info'}, {
        ('domain_info', ('domain', 'default'), *who) for who in (web, unseen)},
        'domains')
    found = {key: value for key, value in found.items()
             if key[0] != 'domain_info'}
    for name in 'state', 'backend':
        known = {key: value for key, value in found.items()
                 if key[0] == name}
        for key in known:
            del found[key]
        check_equal({key[1:] for key, value in known.items() if value == 1}, {
            'state': {(*web[:2], ('state', 'yielded'), web[2]),
                      (*unseen, ('state', 'running'))},
            'backend': {(('backend', 'ksmd'), *web),
                        (('backend', 'ksmfs'), *web)}}[name], name)
        check_equal(len(known), {'state': 8, 'backend': 6}[name], name)
        check_equal(set(known.values()), {0, 1}, name)
    both = {'up': 1, 'ram_bytes': 6 * MIB, 'full_scans_total': 4,
            'pages_hashed_total': 11, 'pages_twins': 12, 'pages_zero': 13,
            'pages_marked': 14, 'cow_breaks_total': 15, 'metadata_bytes': 17}
    check_equal(found, {
        **{(name, *who): value for name, value in both.items()
           for who in (web, unseen)},
        ('limited', *web): 1, ('limited', *unseen): 0,
        ('cpu_seconds_total', *web): 1e-9,
        ('cpu_seconds_total', *unseen): 16e-9,
        ('ksmfs_pages_sharing', *web): 3}, 'engines')


def test_mounts(host):
    """Their size is an option, all else are counters."""
    fill(host)
    where = ('device', '0:50'), ('path', '/srv/a b')
    check_equal(named(host.samples(), 'ksm_ksmfs_'), {
        (name, *where): value for name, value in {
            'size_bytes': MIB, 'used_bytes': 8 * PAGE,
            'allocated_bytes': 5 * PAGE, 'pages_shared': 2,
            'pages_sharing': 4, 'pages_unshared': 6, 'zero_pages': 1,
            'merges_total': 10, 'cow_breaks_total': 3,
            'max_kernel_pages': 0}.items()}, 'mounts')


def test_values(host):
    """No value of KSM is forgotten that ksmctl knows."""
    text = (TOP / 'service/host/sysfs.c').read_text()
    names = re.findall(r'^    \{ "(\w+)", KSM_SYSFS_', text, re.M)
    check(len(names) > 20, f'names: {names}')
    for name in names:
        (host.ksm / name).unlink(missing_ok=True)
        without = set(host.samples())
        host.set(name, 123456)
        check(set(host.samples()) > without, name)


def test_nothing_known(host):
    """No KSM, ksmd, guests or ksmtuned: absent, instead of 0."""
    for path in host.ksm.iterdir():
        path.unlink()
    host.hide_ksmd()
    names = {key[0] for key in host.samples()}
    check_equal(names, {'ksm_exporter_build_info', 'ksm_page_size_bytes',
                        'ksm_exporter_collect_seconds', 'ksm_guests',
                        'ksm_ksmtuned_up'}, 'names')


def test_ksmtuned_gone(host):
    """It isn't up without a process, or with statistics of no sense."""
    fill(host)
    up = 'ksm_ksmtuned_up',
    check_equal(host.samples()[up], 1, 'up')
    for content in '', '[]', '{"engines": 1}', '[' * 100000, b'\xff\0':
        host.set_stats(content)
        check_equal(host.samples()[up], 0, f'up with {content[:20]}')
    host.set_engines(engine(200))
    check_equal(host.samples()[up], 1, 'up')
    (host.proc / str(KSMTUNED_PID)).rename(host.proc / 'gone')
    found = host.samples()
    check_equal(found[up], 0, 'up')
    check(not named(found, 'ksm_engine_'), 'engines')


def test_ksmtuned_hostile(host):
    """What it can't have written changes nothing else."""
    host.start_ksmtuned(
        {'pid': '200'}, engine(201, state='"\n', cpu_ns=-1,
                                       pages_twins=1 << 63,
                                       ram_bytes=(1 << 63) - 1,
                                       backends=['ksmd', '}']),
        policy='"} 1\n', decisions='x', cpu_ns=(1 << 63) - 1)
    found = host.samples()
    check_equal(found['ksm_ksmtuned_cpu_seconds_total',],
                9223372036.854775807, 'CPU')
    check('ksm_ksmtuned_decisions_total' not in {key[0] for key in found} and
          'ksm_ksmtuned_policy' not in {key[0] for key in found}, str(found))
    who = ('name', 'guest-201'), ('pid', '201')
    found = named(found, 'ksm_engine_')
    check_equal(found['ram_bytes', *who], float((1 << 63) - 1), 'RAM')
    check(('cpu_seconds_total', *who) not in found and
          ('pages_twins', *who) not in found and
          not any(found[key] for key in found
                  if key[0] in ('state', 'backend')), str(found))


def test_engine_gone(host):
    """A guest that was started with an engine, which is not connected."""
    for pid, arguments in enumerate((
            ['-object', 'ksm,id=ksm0'], ['--object', 'ksm,id=ksm0'],
            ['-object', 'iothread,id=i', '-object', 'ksm,id=k'],
            ['-object', '{"id": "k", "qom-type" : "ksm"}'],
            ['-object', 'iothread,id=ksm'], ['-object', 'ksm-guest,id=ksm'],
            ['-object'],
            ['-object', '{"qom-type": "ksm-guest"}'], ['-m', 'ksm,']), 1):
        host.add_guest(pid, more=map(str.encode, arguments))
    for engines, connected in ((), None), ([engine(2)], 2):
        if connected:
            host.start_ksmtuned(*engines)
        found = {key[-1]: value for key, value
                 in named(host.samples(), 'ksm_engine_').items()
                 if key[0] == 'up'}
        check_equal(found, {('pid', str(pid)): pid == connected
                            for pid in range(1, 5)}, 'up')


def test_escaping(host):
    """No guest's name breaks a line, or drives a terminal."""
    names = {
        1: (b'quote"back\\slash\\n', 'quote"back\\slash\\n'),
        2: (b'line\nfeed{pid="7"} 1\n# EOF', 'line\nfeed{pid="7"} 1\n# EOF'),
        3: (b'latin\xff\xc3', 'latin\ufffd\ufffd'),
        4: (b'\x1b[2J\r\x7f\xc2\x9b\t', '\ufffd[2J' + '\ufffd' * 4),
        5: ('grün 猫 😀 \u202e'.encode(), 'grün 猫 😀 \ufffd'),
        6: (b'x' * 255 + 'ü'.encode() + b'x' * 99, 'x' * 255 + '\ufffd'),
        7: (b'trailing\\', 'trailing\\')}
    for pid, (name, _) in names.items():
        host.add_guest(pid, name)
    host.add_mount('0:50', '/a\\134b\\012c\\042', pages_used=1)
    text = host.out('--print')
    check(not re.search('[\0-\x09\x0b-\x1f\x7f-\x9f]', text), 'controls')
    for line in text.splitlines():
        check(re.fullmatch(
            r'# (HELP|TYPE) ksm_\w+ [ -~]+|'
            r'ksm_\w+(\{\w+="([^"\\]|\\[\\"n])*"'
            r'(,\w+="([^"\\]|\\[\\"n])*")*\})? -?\d+(\.\d+)?', line),
            f'line {line!r}')
    found = samples(text)
    for pid, (_, shown) in names.items():
        check(('ksm_guest_resident_bytes', ('name', shown), ('pid', str(pid)))
              in found, f'{shown!r} in {text}')
    check(('ksm_ksmfs_used_bytes', ('device', '0:50'),
           ('path', '/a\\b\nc"')) in found, text)
    host.start()
    families = list(openmetrics.text_string_to_metric_families(
        host.get(Accept=PROMETHEUS)[2].decode()))
    got = {sample.labels.get('pid'): sample.labels.get('name')
           for family in families for sample in family.samples}
    for pid, (_, shown) in names.items():
        check_equal(got.get(str(pid)), shown, 'name in OpenMetrics')


def test_openmetrics(host):
    """It parses, has units, and tells the same as plain text."""
    fill(host)
    host.start()
    status, headers, body = host.get(Accept=PROMETHEUS)
    check_equal((status, headers['Content-Type']), (200, OPENMETRICS), 'type')
    families = list(openmetrics.text_string_to_metric_families(body.decode()))
    found = {(sample.name, *sorted(sample.labels.items())): sample.value
             for family in families for sample in family.samples}
    texts = samples(host.get()[2].decode())
    seconds = 'ksm_exporter_collect_seconds',
    del found[seconds], texts[seconds]
    check_equal(found, texts, 'samples')
    for family in families:
        unit = re.search('_(bytes|seconds|ratio)$', family.name)
        check_equal(family.unit, unit[1] if unit else '', family.name)
        check(family.documentation.endswith('.'), family.name)
        check_equal({sample.name.removeprefix(family.name)
                     for sample in family.samples},
                    {{'counter': '_total', 'info': '_info', 'gauge': ''}[
                        family.type]}, family.name)


def test_promtool(host):
    """It finds nothing to say about names and types."""
    fill(host)
    check_equal(promtool('check', 'metrics', input=host.out('--print')), '',
                'promtool')


def test_accept(host):
    """OpenMetrics for who likes it no less than plain text."""
    host.start()
    name = 'application/openmetrics-text'
    for accept, wanted in (
            (PROMETHEUS, OPENMETRICS), (None, TEXT), ('', TEXT),
            ('*/*', TEXT), ('text/plain;version=0.0.4', TEXT),
            (name, OPENMETRICS), (name.upper(), OPENMETRICS),
            (f'{name}; version=1.0.0', OPENMETRICS),
            (f'{name}; version=2.0.0', TEXT),
            (f'{name}; version=2.0.0, {name}; version=0.0.1', OPENMETRICS),
            (f'{name};q=0', TEXT), (f'{name};q=0.5,text/plain', TEXT),
            (f'{name};q=0.5,*/*;q=0.1', OPENMETRICS),
            (f'{name},text/plain', OPENMETRICS),
            (f'{name};q=nan', TEXT), (f'{name};q=-1', TEXT),
            (f'{name};q=x', TEXT), (f'{name};q=9', TEXT),
            ('application/json', TEXT), (',;,;q=,' * 99, TEXT)):
        headers = {} if accept is None else {'Accept': accept}
        status, got, body = host.get(**headers)
        check_equal((status, got['Content-Type'], got['Vary']),
                    (200, wanted, 'Accept'), f'answer to {accept!r}')
        check_equal(body.endswith(b'# EOF\n'), wanted == OPENMETRICS, 'end')


def test_answers(host):
    """There is /metrics, to be read, and nothing else."""
    host.start()
    body = host.get()[2]
    for method, path, status, allow in (
            ('GET', '/metrics', 200, None), ('GET', '/metrics?x=/', 200, None),
            ('HEAD', '/metrics', 200, None), ('GET', '/', 404, None),
            ('GET', '/metrics/', 404, None), ('GET', '//metrics', 404, None),
            ('GET', '/../metrics', 404, None), ('POST', '/', 404, None),
            ('GET', '/METRICS', 404, None),
            ('POST', '/metrics', 405, 'GET, HEAD'),
            ('PUT', '/metrics', 405, 'GET, HEAD'),
            ('DELETE', '/metrics', 405, 'GET, HEAD'),
            ('OPTIONS', '/metrics', 405, 'GET, HEAD'),
            ('get', '/metrics', 405, 'GET, HEAD')):
        got, headers, answer = host.get(path, method)
        check_equal((got, headers['Allow'], headers['Connection']),
                    (status, allow, 'close'), f'{method} {path}')
        check_equal(len(answer) == int(headers['Content-Length']),
                    method != 'HEAD', f'{method} {path}: body')
    check_equal(int(host.get(method='HEAD')[1]['Content-Length']), len(body),
                'length')
    got, headers, _ = host.get(method='POST', Expect='100-continue')
    check_equal(got, 405, 'status')


def test_fresh(host):
    """What was collected serves all who ask within a second."""
    host.start()
    begin, seen = time.monotonic(), set()
    while time.monotonic() < begin + 2.5:
        host.set('pages_sharing', len(seen) + 1000)
        seen.add(host.get()[2])
    check(2 <= len(seen) <= 3, f'collected {len(seen)} times')


def test_partial(host):
    """A request may come in pieces, or end in the middle."""
    host.start()
    connection = host.connect()
    for byte in REQUEST:
        connection.sendall(bytes([byte]))
    check(receive(connection).startswith(b'HTTP/1.1 200'), 'in pieces')
    for request in REQUEST[:10], REQUEST[:-2], b'':
        connection = host.connect()
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        check_equal(receive(connection, 0.2), b'', request)
    # A second one on the same connection is left alone.
    connection = host.connect()
    connection.sendall(REQUEST * 2)
    check_equal(receive(connection).count(b'HTTP/1.1 200'), 1, 'answers')
    check_equal(host.get()[0], 200, 'status')


def test_garbage(host):
    """What is no request, or too large, is refused, and others are served."""
    host.start()
    for request in (b'\0' * 1000 + b'\r\n\r\n', b'\xff' * 100000,
                    b'GET\r\n\r\n', b'GET /metrics\r\n\r\n',
                    b'GET /metrics HTTP/9.9\r\n\r\n',
                    b'GET /metrics HTTP/1.1\r\n\r\n',
                    b'GET /' + b'x' * 1000000 + b' HTTP/1.1\r\n\r\n',
                    REQUEST[:-2] + b'X: ' + b'x' * 1000000 + b'\r\n\r\n',
                    REQUEST[:-2] + b'X: x\r\n' * 100000 + b'\r\n',
                    b'POST /metrics HTTP/1.1\r\nHost: x\r\n'
                    b'Content-Length: -1\r\n\r\n',
                    b'POST /metrics HTTP/1.1\r\nHost: x\r\n'
                    b'Transfer-Encoding: chunked\r\n\r\nffffffffffffffff'):
        connection = host.connect()
        with contextlib.suppress(ConnectionError):
            connection.sendall(request)
        answer = receive(connection, 0.2)
        check(not re.match(b'HTTP/1.. 200', answer),
              f'answer to {request[:60]}: {answer[:200]}')
    check_equal(host.get()[0], 200, 'status')


def test_slow_peers(host):
    """Silent and slow ones hold nothing for long, and keep nobody out."""
    # More than waits in sockets of those who don't read.
    for pid in range(10000, 12000):
        host.add_guest(pid, b'x' * 200)
    host.start()
    status, _, body = host.get()
    check_equal(status, 200, 'status')
    check(len(body) > 450000, f'{len(body)} bytes')
    before, begin = host.descriptors(), time.monotonic()
    silent = [host.connect() for _ in range(200)]
    starting, deaf = host.connect(), [host.connect() for _ in range(40)]
    for connection in deaf:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(REQUEST)
    asked = time.monotonic()
    check_equal(host.get()[0], 200, 'status')
    seconds = time.monotonic() - asked
    check(seconds < CONNECTION_S / 2, f'served after {seconds} s')
    check(host.rss() < 200 * MIB, f'{host.rss()} bytes')
    # One byte a moment is no reason to stay.
    starting.sendall(REQUEST[:-2] + b'X: ')
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < begin + PATIENCE:
            starting.sendall(b'x')
            time.sleep(0.2)
    seconds = time.monotonic() - begin
    check(CONNECTION_S - 2 < seconds < CONNECTION_S + 5, f'{seconds} s')
    wait_for(lambda: host.descriptors() <= before, 'all to be closed')
    check(all(map(is_closed, silent)), 'not all are closed')


def test_too_many(host):
    """More than it takes at a time wait, and are served in the end."""
    host.start()
    begin = time.monotonic()
    silent = [host.connect() for _ in range(CONNECTIONS_MAX + 40)]
    check_equal(host.get()[0], 200, 'status')
    seconds = time.monotonic() - begin
    check(CONNECTION_S - 2 < seconds < CONNECTION_S + 5, f'{seconds} s')
    check(host.descriptors() < CONNECTIONS_MAX, 'descriptors')
    check_equal(len(list(filter(is_closed, silent))), CONNECTIONS_MAX,
                'closed')


def test_unix_socket(host):
    """Made for its group, and removed at the end; a stale one is replaced."""
    path = host.root / 'socket'
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    check_equal(host.start(f'unix:{path}'), f'unix:{path}', 'address')
    check_equal(stat.S_IMODE(path.stat().st_mode), 0o660, 'mode')
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(REQUEST)
        check(receive(connection).startswith(b'HTTP/1.1 200'), 'answer')
    check('another process listens' in host.fails(1, f'--listen=unix:{path}'),
          'another')
    host.stop(signal.SIGINT)
    check(not path.exists(), 'it is left')
    path.write_text('data')
    check('not a socket' in host.fails(1, f'--listen=unix:{path}'), 'a file')
    check_equal(path.read_text(), 'data', 'content')


def test_inet(host):
    """IPv6, too; a port that is taken is an error that names it."""
    for address in '127.0.0.1', '[::1]':
        listening = host.start(f'{address}:0')
        check(listening.startswith(f'{address}:'), listening)
        check_equal(host.get()[0], 200, 'status')
        error = host.fails(1, f'--listen={listening}')
        check(listening in error and 'in use' in error, error)
        host.stop()


def test_socket_activation(host):
    """systemd may own the socket: used as it is, and not removed."""
    with socket.create_server(('127.0.0.1', 0)) as listener:
        listening = host.start(
            command=with_socket(listener.fileno(), host.command_line()),
            pass_fds=[listener.fileno()])
        check_equal(listening, f'127.0.0.1:{listener.getsockname()[1]}',
                    'address')
        check_equal(host.get()[0], 200, 'status')


def test_textfile(host):
    """The old file or the new one, for all to read; nothing is left."""
    fill(host)
    path = host.root / 'files/ksm.prom'
    error = host.fails(1, f'--textfile={path}')
    check(str(path) in error and 'No such file' in error, error)
    path.parent.mkdir()
    path.write_text('old\n')
    reader = path.open()
    host.out(f'--textfile={path}')
    check_equal(reader.read(), 'old\n', 'the old file')
    reader.close()
    check_equal(named(samples(path.read_text()), 'ksm_guest_'),
                named(host.samples(), 'ksm_guest_'), 'the new file')
    check_equal(stat.S_IMODE(path.stat().st_mode), 0o644, 'mode')
    path.unlink()
    path.mkdir()
    check(str(path) in host.fails(1, f'--textfile={path}'), 'a directory')
    check_equal(os.listdir(path.parent), ['ksm.prom'], 'files')


def test_full_disk(host):
    """What can't be printed is an error."""
    host.check_full_disk('--print')


def test_writes_nothing(host):
    """Of the host nothing is changed."""
    fill(host)
    before = host.values()
    host.start()
    host.get()
    host.out('--print')
    check_equal(host.values(), before, 'values')


if __name__ == '__main__':
    cases.main('Run ksm-exporter on a host that is made up.', globals(),
               Exporter)
