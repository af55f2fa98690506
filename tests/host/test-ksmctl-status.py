#!/usr/bin/env python3
#
# ksmctl status and domains: what it shows of a host
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-ksmctl-status.py KSMCTL [CASE]...
#
# KSMCTL_WRAPPER in the environment, e.g. "valgrind -q", goes before it.

import json
import os
import random
import re
import sys
import threading
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import cases  # noqa: E402
from ksmtest.checks import check, check_equal  # noqa: E402
from ksmtest.host import (  # noqa: E402
    KSMD_PID, KSMTUNED_PID, MIB, PAGE, engine)
from ksmtest.ksmctl import Ksmctl  # noqa: E402

STATS_BYTES_MAX = 4 * MIB


def fill(host):
    host.set('run', 1)
    host.set('pages_sharing', 3 * MIB // PAGE)
    host.set('ksm_zero_pages', MIB // PAGE)
    host.set('general_profit', -512 * 1024)
    host.set('advisor_mode', 'none [scan-time]')
    host.set_ksmd_ns(1500 * 1000 * 1000)
    host.add_guest(200, b'web', 5 * MIB // PAGE, 2 * MIB // PAGE,
                   MIB // PAGE, 2 * MIB)
    host.add_guest(100)
    host.add_mount('0:50', '/srv/a\\040b', pages_used=8 * MIB // PAGE,
                   pages_allocated=5 * MIB // PAGE,
                   pages_sharing=2 * MIB // PAGE, ksm_zero_pages=MIB // PAGE,
                   max_kernel_pages=0)
    host.add_mount('0:51')


def test_status_limit_of_ksmtuned(host):
    """Of a KSM without a limit, ksmtuned's is told."""
    said = host.out('status')
    check(re.search(r'max_kernel_pages +- \(this KSM has no limit', said), said)
    host.start_ksmtuned()
    for limit, text in (1000, '1000'), (0, 'unlimited'):
        host.set_stats(json.dumps({'engines': [], 'max_kernel_pages': limit}))
        said = host.out('status')
        check(re.search(f'max_kernel_pages +{text} in ksmtuned, for KSM\n',
                        said), said)


def test_status_json(host):
    """Figures are what the kernel's say; what is not known is absent."""
    fill(host)
    status = host.status()
    check_equal(status.pop('values'), {
        name: int(value) if re.fullmatch('-?[0-9]+', value) else 'scan-time'
        for name, value in host.values().items()}, 'values')
    check('does not run' in status.pop('engines_fault'), 'no ksmtuned')
    check_equal(status, {
        'page_size': PAGE, 'ksmd_running': True, 'saved_bytes': 4 * MIB,
        'profit_bytes': -512 * 1024, 'ksmd_cpu_percent': 0.0,
        'ksmd_cpu_ns': 1500 * 1000 * 1000,
        'guests': [
            {'pid': 100, 'resident_bytes': 0},
            {'pid': 200, 'name': 'web', 'resident_bytes': 5 * MIB,
             'saved_bytes': 3 * MIB, 'profit_bytes': 2 * MIB,
             'ksm_merging_pages': 2 * MIB // PAGE,
             'ksm_zero_pages': MIB // PAGE}],
        'ksmfs': [
            {'device': '0:50', 'path': '/srv/a b', 'allocated_bytes': 5 * MIB,
             'used_bytes': 8 * MIB, 'saved_bytes': 3 * MIB,
             'max_kernel_pages': 0},
            {'device': '0:51'}]}, 'status')


def test_status_text(host):
    """Host, guests, mounts, then all values; what is not known is -."""
    fill(host)
    text = host.out('status')
    before = 0
    for line in (r'ksmd +runs',
                 r'CPU of ksmd +0\.0 % of a core, 1\.50 s since boot',
                 r'saved by KSM +4\.0 MiB', r'profit +-0\.5 MiB',
                 r'max_kernel_pages +unlimited on /srv/a b',
                 r'max_kernel_pages +- on 0:51',
                 r'engines +- \(ksmtuned does not run in .*\)',
                 r' +100 +0\.0( +-){8}',
                 r' +200 +5\.0 +3\.0 +2\.0( +-){5}  web',
                 r' +0:50 +5\.0 +8\.0 +3\.0 +/srv/a b',
                 r' +0:51 +- +- +- +-',
                 r'run +1  0: ksmd rests.*',
                 r'advisor_mode +scan-time  who .*',
                 r'pages_sharing +\d+  more places .*'):
        found = re.search(f'^{line}$', text, re.M)
        check(found, f'no {line!r} in {text}')
        check(found.start() > before or not before, f'{line!r} is too early')
        before = found.start()
    for name in host.values():
        check(re.search(f'^{name} ', text, re.M), f'no {name} in {text}')


def test_status_absurd_figures(host):
    """Figures that are no amount of memory are not known."""
    host.hide_ksmd()
    host.set('pages_sharing', 2 ** 63 - 1)
    host.add_mount('0:50', pages_used=2 ** 63 // PAGE,
                   pages_allocated=2 ** 63 // PAGE - 1,
                   pages_sharing=-2 ** 63, ksm_zero_pages=-1)
    status = host.status()
    check('saved_bytes' not in status, str(status))
    check_equal(status['ksmfs'], [
        {'device': '0:50', 'allocated_bytes': 2 ** 63 - PAGE}], 'mounts')


def test_status_old_kernels(host):
    """What an older kernel doesn't tell is not known, instead of 0."""
    os.unlink(host.ksm / 'ksm_zero_pages')
    host.set('pages_sharing', 10)
    # Linux 5.19, then 6.4.
    host.add_guest(1)
    (host.proc / '1/ksm_merging_pages').write_text('3\n')
    host.add_guest(2, merging=4, profit=-8)
    # Nothing is known of one that just ends.
    host.add_process(3, cmdline='/usr/libexec/qemu-kvm\0')
    # And no ksmd is to be seen in a PID namespace; this one pretends to be it.
    (host.proc / str(KSMD_PID) / 'cmdline').write_text('ksmd\0')
    status = host.status()
    check_equal(status['saved_bytes'], 10 * PAGE, 'saved')
    check('ksmd_cpu_percent' not in status and 'ksmd_cpu_ns' not in status,
          str(status))
    check_equal(status['guests'], [
        {'pid': 1, 'resident_bytes': 0, 'saved_bytes': 3 * PAGE,
         'ksm_merging_pages': 3},
        {'pid': 2, 'resident_bytes': 0, 'saved_bytes': 4 * PAGE,
         'profit_bytes': -8, 'ksm_merging_pages': 4}, {'pid': 3}], 'guests')
    text = host.out('status')
    check(re.search(r'^CPU of ksmd +-$', text, re.M), text)
    check(re.search(r'^ +3( +-){9}$', text, re.M), text)


def test_status_mounts(host):
    """A path is that which is seen here, else by process 1."""
    host.add_mount('0:50', '/here')
    host.add_mount('0:51', '/there', seen_by='1')
    host.add_mount('0:52')
    with open(host.proc / '1/mountinfo', 'a') as f:
        f.write('90 26 0:50 / /not-here rw shared:9 - ksmfs ksmfs rw\n')
    check_equal([mount.get('path') for mount in host.status()['ksmfs']],
                ['/here', '/there', None], 'paths')


def test_escaping(host):
    """No guest's name drives the terminal, or breaks JSON."""
    names = {1: b'\x1b[2Jclear', 2: b'line\nfeed\r\ttab\x7f',
             3: b'c1\xc2\x9b2J', 4: b'latin\xff\x9b2J', 5: b'\xe2\x80\xaertl',
             6: b'quote"back\\slash', 7: 'grün 猫 😀'.encode()}
    for pid, name in names.items():
        host.add_guest(pid, name)
    host.add_mount('0:50', '/a\\033\\012b')
    output = host.run('status', '--json').stdout
    check(all(0x20 <= byte < 0x7f for byte in output[:-1]), repr(output))
    got = {guest['pid']: guest['name']
           for guest in json.loads(output)['guests']}
    check_equal(got, {pid: name.decode(errors='replace')
                      for pid, name in names.items()}, 'names in JSON')
    for locale, umlaut in (('C.UTF-8', 'grün 猫 😀'),
                           ('C', 'gr\\xc3\\xbcn')):
        output = host.run('status', environment={'LC_ALL': locale}).stdout
        text = output.decode()
        check(not re.search('[\0-\x09\x0b-\x1f\x7f-\x9f\u202e]', text),
              repr(text))
        for shown in ('  \\x1b[2Jclear\n',
                      '  line\\x0afeed\\x0d\\x09tab\\x7f\n',
                      '  c1\\xc2\\x9b2J\n', '  latin\\xff\\x9b2J\n',
                      '  \\xe2\\x80\\xaertl\n', '  quote"back\\\\slash\n',
                      '/a\\x1b\\x0ab\n', umlaut):
            check(shown in text, f'no {shown!r} in {text!r}')


def shown(engine, **more):
    """What the status has of an ENGINE that did nothing meanwhile."""
    said = {**engine, 'cow_breaks_per_second': 0.0, 'cpu_percent': 0.0, **more}
    return {name: value for name, value in said.items()
            if name not in ('name', 'pid') and value is not None}


def test_engines_json(host):
    """Guest and engine are joined by PID; one without the other stays."""
    fill(host)
    both = engine(200, backends=['ksmd', 'ksmfs'], state='yielded',
                  ksmfs_sharing_pages=3 * MIB // PAGE, limit='no ksmfs: mount')
    unseen = engine(300, ksmfs_sharing_pages=2)
    # Of several of a process, the first.
    host.start_ksmtuned(unseen, both, engine(200, state='idle'))
    status = host.status()
    check('engines_fault' not in status, str(status))
    check_equal(status['guests'], [
        {'pid': 100, 'resident_bytes': 0, 'engine': {'state': 'no engine'}},
        {'pid': 200, 'name': 'web', 'resident_bytes': 5 * MIB,
         'saved_bytes': 6 * MIB, 'profit_bytes': 2 * MIB,
         'ksm_merging_pages': 2 * MIB // PAGE,
         'ksm_zero_pages': MIB // PAGE, 'engine': shown(both)},
        {'pid': 300, 'name': 'guest-300', 'saved_bytes': 2 * PAGE,
         'engine': shown(unseen)}], 'guests')


def test_engines_text(host):
    """A line a guest, and one below where something keeps its engine."""
    fill(host)
    host.start_ksmtuned(engine(200, limit='no memory is left: add some'),
                        engine(300, backends=[], state='stopped'),
                        {'pid': 400})
    text = host.out('status')
    for lines in (r'engines +3', r' +100 +0\.0( +-){5} +no engine +-  -',
                  r' +200 +5\.0 +3\.0 +2\.0 +6\.0 +0\.0 +0\.0 +running +ksmd'
                  r'  web\n         no memory is left: add some\n +300 ',
                  r' +300 +- +- +- +6\.0 +0\.0 +0\.0 +stopped +none'
                  r'  guest-300', r' +400( +-){9}'):
        check(re.search(f'^{lines}', text, re.M), f'no {lines!r} in {text}')


def test_engines_rates(host):
    """Between two files, by when they were written."""
    host.add_guest(200)
    # So that it is exact: later than now is when it was written, anyway.
    at = time.time() + 1000
    host.start_ksmtuned()
    host.set_engines(engine(200), engine(300), at=at)
    expected = [(None, None), (50.0, 25.0), (None, None), (0.0, 0.0)]
    got = []
    with host.output('status', '--json', '--watch=1') as output:
        for breaks, ns, seconds in ((115, 500 * 1000 * 1000 + 16, 2),
                                    (114, 15, 3), (114, 15, 4), (0, 0, 5)):
            guests = json.loads(output.readline())['guests']
            got.append(tuple(guests[0]['engine'].get(name) for name in
                             ('cow_breaks_per_second', 'cpu_percent')))
            # One that is new, or not told, has no rate.
            check('cpu_percent' not in guests[1]['engine'], str(guests))
            host.set_engines(
                engine(200, cow_breaks=breaks, cpu_ns=ns),
                {'pid': 300 + seconds % 2, 'state': 'idle'}, at=at + seconds)
    check_equal(got, expected, 'breaks a second, and CPU')


def test_engines_reports(host):
    """An engine has times of its own, and says nothing for a while."""
    host.add_guest(200)
    at = time.time() + 1000
    host.start_ksmtuned()
    reports = [(7000, 15, 15), (9000, 115, 15 + 500 * 1000 * 1000),
               (9000, 115, 15 + 500 * 1000 * 1000), (19000, 115, 1 << 40)]
    got = []

    def report(number):
        ms, breaks, ns = reports[number]
        host.set_engines(engine(200, reported_ms=ms, cow_breaks=breaks,
                                cpu_ns=ns), at=at + number)
    report(0)
    with host.output('status', '--json', '--watch=1') as output:
        for number in range(1, len(reports) + 1):
            guest, = json.loads(output.readline())['guests']
            got.append(tuple(guest['engine'].get(name) for name in
                             ('cow_breaks_per_second', 'cpu_percent')))
            if number < len(reports):
                report(number)
    check_equal(got[:3], [(None, None), (50.0, 25.0), (50.0, 25.0)], 'rates')
    check_equal(got[3][0], 0.0, 'breaks')


def test_engines_news(host):
    """status waits for the next file, but not where nothing happens."""
    host.start_ksmtuned()
    for at, least in (time.time() + 1000, 1.4), (time.time() - 10, 0):
        host.set_engines(engine(200), at=at)
        start = time.monotonic()
        known = 'cpu_percent' in host.status()['guests'][0]['engine']
        seconds = time.monotonic() - start
        check_equal(known, not least, 'whether CPU is known')
        check(seconds >= least, f'{seconds} s')
    at = time.time() + 1000
    host.set_engines(engine(200), at=at)
    timer = threading.Timer(0.6, lambda: host.set_engines(
        engine(200, cow_breaks=115), at=at + 2))
    timer.start()
    guest = host.status()['guests'][0]
    timer.join()
    check_equal(guest['engine'].get('cow_breaks_per_second'), 50.0, 'breaks')


def check_fault(host, *words):
    """All else is shown, and why engines are not."""
    status = host.status()
    for word in words:
        check(word in status.get('engines_fault', ''),
              f'no {word!r} in {status}')
    check_equal(status['guests'], [
        {'pid': 200, 'name': 'web', 'resident_bytes': 0}], 'guests')
    text = host.out('status')
    check(re.search(r'^engines +- \(.*\)$', text, re.M), text)


def test_engines_fault(host):
    """No file, or none that makes sense: why, and the way out."""
    host.hide_ksmd()
    host.add_guest(200, b'web')
    check_fault(host, 'does not run', str(host.runtime), '--runtime-dir',
                'systemctl start')
    host.start_ksmtuned(engine(200))
    lock, stats = host.runtime / 'lock', host.runtime / 'stats.json'
    for pid in '', '61\n', '0\n', '-60\n', 'x\n', '60 ' * 99, '9' * 20:
        lock.write_text(pid)
        check_fault(host, 'does not run')
    # After a kill, another process has got the number.
    host.add_process(61, comm='sleep\n')
    lock.write_text('61\n')
    check_fault(host, 'does not run')
    lock.write_text(f'{KSMTUNED_PID}\n')
    check('engines_fault' not in host.status(), 'all is well')
    for content, words in (
            ('', 'JSON'), ('[]', 'JSON'), ('7', 'JSON'), ('{', 'JSON'),
            ('{}', 'lists no engines'), ('{"engines": {}}', 'no engines'),
            (b'{"engines": []}\0', "can't read"), (b'\xff{}', 'JSON'),
            ('var x = {"engines": []}', 'JSON'),
            ('{"engines": []}' + ' ' * STATS_BYTES_MAX, 'too large')):
        host.set_stats(content)
        check_fault(host, words, str(host.runtime))
    check_fault(host, 'restart ksmtuned')
    stats.unlink()
    check_fault(host, 'No such file', '--stats-file')
    os.mkfifo(stats)
    check_fault(host, "can't read", 'remove it')
    stats.unlink()
    stats.mkdir()
    check_fault(host, "can't read", 'remove it')


def test_engines_large(host):
    """Up to 4 MiB are read."""
    text = json.dumps({'engines': [engine(200)]})
    host.start_ksmtuned()
    host.set_stats(text + ' ' * (STATS_BYTES_MAX - len(text)))
    check_equal(len(host.status()['guests']), 1, 'guests')


def test_engines_wrong_values(host):
    """What is no such figure, or out of range, is not known."""
    host.hide_ksmd()
    host.start_ksmtuned()
    for wrong in ('-1', '1.5', '1e3', '"5"', 'null', 'true', '[5]', '{"a": 5}',
                  str(1 << 63), str(1 << 64), str((1 << 64) + 5),
                  str(-(1 << 63)), str(1 - (1 << 64)), '9' * 400):
        members = ', '.join(f'"{name}": {wrong}' for name in engine(1)
                            if name not in ('pid', 'name', 'state', 'domain'))
        host.set_stats('{"engines": [{"pid": 7, "state": "idle", "name": "x",'
                       f'{members}, "ksmfs_sharing_pages": {wrong}}},'
                       f'{{"pid": {wrong}}}]}}')
        check_equal(host.status()['guests'], [
            {'pid': 7, 'name': 'x', 'engine': {'state': 'idle'}}], wrong)
    host.set_engines(
        {'pid': 1 << 31}, {'pid': 0}, {}, 5, None, [],
        engine(8, ram_bytes=(1 << 63) - 1, ksmfs_sharing_pages=1 << 62,
               state='RUNNING', backends=['ksmd', 'x'], name=5, limit=5))
    check_equal(host.status()['guests'], [
        {'pid': 8, 'engine': shown(engine(8, ram_bytes=(1 << 63) - 1),
                                   backends=None, state=None)}], 'guests')


def small_stats():
    return json.dumps({'engines': [
        {'pid': 7, 'name': 'g\u20ac"', 'state': 'idle', 'backends': ['ksmd'],
         'cpu_ns': 12, 'limit': 'x: \\'}]})


def check_shown(host, content):
    """Whatever it is, ksmctl says so or shows it."""
    host.set_stats(content)
    result = host.run('status', '--json')
    check_equal((result.returncode, result.stderr), (0, b''), repr(content))
    return json.loads(result.stdout)


def test_engines_truncated(host):
    """A file that ends anywhere is a fault, and not the end of ksmctl."""
    host.hide_ksmd()
    host.start_ksmtuned()
    stats = small_stats()
    check('engines_fault' not in check_shown(host, stats), 'the whole')
    for end in range(len(stats)):
        said = check_shown(host, stats[:end])
        check('JSON' in said.get('engines_fault', ''), f'{end}: {said}')


def test_engines_garbage(host):
    """Bytes that are others than they were end nothing."""
    host.hide_ksmd()
    host.start_ksmtuned()
    chance = random.Random(1)
    for _ in range(100):
        stats = bytearray(small_stats().encode())
        for _ in range(chance.randint(1, 4)):
            byte = chance.choice((chance.randint(0, 255),
                                  *b'[]{}",:\\\'/*-+.0e'))
            stats[chance.randrange(len(stats))] = byte
        check_shown(host, bytes(stats))


def test_engines_deep(host):
    """Brackets of any number, and what could hide them from us."""
    host.hide_ksmd()
    host.start_ksmtuned()
    many = STATS_BYTES_MAX // 2 - 100
    for content in ('[' * many, '{"a":' * (many // 5),
                    '[' * many + ']' * many, '[{"a":' * (many // 6),
                    '{"engines": [], "a": ' + '[' * many + ']' * many + '}',
                    '/* " */' + '[' * many + '/* " */',
                    '//"\n' + '[' * many + '//"\n',
                    '#"\n' + '[' * many + '#"\n',
                    "'\"'" + '[' * many + "'\"'",
                    '"\\"' + '[' * many, '{"a": "\\\\"' + '[' * many,
                    '{"a": "\\"", "b": ' + '[' * many + '"}'):
        said = check_shown(host, content)
        check('JSON' in said.get('engines_fault', ''), content[:20])
    # Those in a string are none, and some are allowed for.
    for extra in '"' + '[' * many + '"', '[' * 20 + ']' * 20:
        said = check_shown(host, f'{{"engines": [], "a": {extra}}}')
        check('engines_fault' not in said, f'{extra[:30]}: {said}')


def test_engines_twice(host):
    """One object, and nothing else."""
    host.hide_ksmd()
    host.start_ksmtuned()
    stats = small_stats()
    check('engines_fault' not in check_shown(host, f'\n {stats}\n\t'),
          'white space')
    for content in (f'{stats}{stats}', f'{stats} []', f'{stats}1', f'1{stats}',
                    f'"a"{stats}', f'[{stats}]', f'{stats}}}', ' ', '1'):
        said = check_shown(host, content)
        check('JSON' in said.get('engines_fault', ''), f'{content}: {said}')


def test_engines_escaping(host):
    """No engine's words drive the terminal."""
    host.start_ksmtuned(
        engine(1, name='\x1b[2Jname\n', limit='\x1b[2Jlimit\n\u202e\x9b2J'),
        engine(2, limit='a\0b'))
    text = host.out('status')
    check(not re.search('[\0-\x09\x0b-\x1f\x7f-\x9f\u202e]', text),
          repr(text))
    check('  \\x1b[2Jname\\x0a\n' in text, text)
    check('\\x1b[2Jlimit\\x0a\\xe2\\x80\\xae\\xc2\\x9b2J\n' in text, text)
    output = host.run('status', '--json').stdout
    check(all(0x20 <= byte < 0x7f for byte in output[:-1]), repr(output))
    # Nor does one hide the others.
    host.set_stats(b'{"engines": [{"pid": 1, "name": "\xff\xe2"},'
                   b'{"pid": 2}]}')
    check_equal([guest.get('name') for guest in host.status()['guests']],
                ['\ufffd\ufffd', None], 'names')


def test_domains(host):
    """ksmtuned's has engines; that of a ksmfs, who maps files of it."""
    for pid, name in (100, b'one'), (200, b'two'), (300, b'three'):
        host.add_guest(pid, name)
    host.add_mount('0:50', '/srv/a\\040b')
    host.add_mount('259:51')
    host.add_maps(100, 'fd:01', '00:32')
    host.add_maps(200, '00:32', '103:33', '00:32')
    host.start_ksmtuned(engine(200), engine(400), engine(300, domain='a'),
                        engine(100))
    one, two, three, four = (
        {'pid': 100, 'name': 'one'}, {'pid': 200, 'name': 'two'},
        {'pid': 300, 'name': 'three'}, {'pid': 400, 'name': 'guest-400'})
    check_equal(host.domains(), {
        'domains': [
            {'of': 'ksmtuned', 'name': 'a', 'guests': [three]},
            {'of': 'ksmtuned', 'name': 'default', 'guests': [one, two, four]},
            {'of': 'ksmfs', 'device': '0:50', 'path': '/srv/a b',
             'guests': [one, two]},
            {'of': 'ksmfs', 'device': '259:51', 'guests': [two]}],
        'unknown': [three, four]}, 'domains')
    check_equal(host.out('domains'), """\
ksmtuned, domain a
     300  three

ksmtuned, domain default
     100  one
     200  two
     400  guest-400

ksmfs on /srv/a b
     100  one
     200  two

ksmfs on 259:51
     200  two

In which ksmfs these are is not known, as their /proc/PID/maps can't be read:
run ksmctl as root
     300  three
     400  guest-400
""", 'text')


def test_domains_escaping(host):
    """No name drives the terminal, or breaks JSON."""
    host.start_ksmtuned(engine(1, name='\x1b[2Jname\n"'))
    host.add_mount('0:50', '/a\\033\\012b')
    text = host.out('domains')
    check('  \\x1b[2Jname\\x0a"\n' in text and 'on /a\\x1b\\x0ab\n' in text,
          text)
    check_equal(host.domains()['domains'][0]['guests'],
                [{'pid': 1, 'name': '\x1b[2Jname\n"'}], 'guests')


def test_domains_none(host):
    """Without a ksmfs nobody's maps matter; without ksmtuned, it is said."""
    host.add_guest(100)
    said = host.domains()
    check('does not run' in said.pop('engines_fault'), str(said))
    check_equal(said, {'domains': [{'of': 'ksmtuned', 'guests': []}]}, 'said')


def test_watch(host):
    """One JSON object a line, again and again; CPU is measured in between."""
    with host.output('status', '--json', '--watch=1') as output:
        first = json.loads(output.readline())
        host.set_ksmd_ns(500 * 1000 * 1000)
        host.set('pages_sharing', 77)
        second = json.loads(output.readline())
    check_equal(first['ksmd_cpu_percent'], 0.0, 'CPU')
    check_equal(second['values']['pages_sharing'], 77, 'pages_sharing')
    # Half a second in one second, or more.
    check(10 < second['ksmd_cpu_percent'] <= 50.1,
          str(second['ksmd_cpu_percent']))


def test_watch_text(host):
    """As text, the whole is printed again; 2 seconds where none are given."""
    for watch, times in ('--watch', 2), ('--watch=0.1', 4):
        start = time.monotonic()
        with host.output('status', watch) as output:
            for _ in range(times):
                check(any(line.startswith('ksmd ') for line in output),
                      'it ended, or is too slow')
        seconds = time.monotonic() - start
        check((seconds >= 2) == (watch == '--watch'), f'{watch}: {seconds} s')


def test_full_disk(host):
    """What can't be written is an error."""
    host.check_full_disk('status')


if __name__ == '__main__':
    cases.main('Show a host that is made up with ksmctl.', globals(), Ksmctl)
