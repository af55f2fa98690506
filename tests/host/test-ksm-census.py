#!/usr/bin/env python3
#
# ksm-census: what it finds in processes that look like guests, and how it is
# called
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-ksm-census.py KSM-CENSUS [CASE]...
#
# KSM_CENSUS_WRAPPER in the environment, e.g. "valgrind -q", goes before it.
# Guests that are QEMUs are in test-census.py.

import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import cases, restricted  # noqa: E402
from ksmtest.checks import (  # noqa: E402
    PATIENCE, Skipped, check, check_equal)
from ksmtest.host import PAGE, ShownHost  # noqa: E402
from ksmtest.pretended import PretendedGuest, ram  # noqa: E402

ZEROS = b'\0'
HOLE = 4 << 40
PTRACE_SCOPE = Path('/proc/sys/kernel/yama/ptrace_scope')


class Census(ShownHost):
    """ksm-census, and guests for it: these are real processes."""

    programs = ('ksm-census',)

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.roots = []

    def command_line(self, *arguments):
        return [*self.command, *self.roots, *map(str, arguments)]

    def guest(self, *mappings, **options):
        return self.enter(PretendedGuest(*mappings, **options))

    def restrict(self, command):
        """Without a wrapper, which may be a script that COMMAND can't run."""
        self.command = [*command, self.command[-1]]

    def only(self, *guests):
        """What it finds by itself: only these."""
        for guest in guests:
            (self.proc / str(guest.pid)).symlink_to(f'/proc/{guest.pid}')
        self.roots = [f'--proc-root={self.proc}']

    def count(self, *guests, **options):
        return json.loads(self.out('--json', *(guest.pid for guest in guests),
                                   **options))


def two_guests(bed):
    """Two with known twins; of each kind, and in known runs."""
    first = bed.guest(ram(4096,
                          (0, 10, ZEROS),       # a run of 10
                          (100, 5, b'x'),       # of 5
                          *((200 + i, 1, b'both %d,' % i) for i in range(20)),
                          (300, 30, b''),
                          (400, 1, b'y')), name='guest=first')
    second = bed.guest(ram(4096,
                           (4000, 6, ZEROS),
                           *((1000 + i, 1, b'both %d,' % i)
                             for i in range(20)),
                           (300, 70, b''),
                           (500, 2, b'y')), name='second,process=z')
    return first, second


SAVED = {'pages': 15 + 5 + 21, 'zero_pages': 15, 'within_pages': 4 + 1,
         'between_pages': 20 + 1}
TWINS = 10 + 6 + 5 + 2 * 20 + 3


def savings(found):
    return {name: found[name] for name in SAVED}


def test_kinds(bed):
    """Of equal pages all but one are saved: zeros, within and between"""
    first, second = two_guests(bed)
    found = bed.count(first, second)
    check_equal(savings(found['private']['saved']), SAVED, 'saved')
    check_equal(found['private']['resident_pages'], 66 + 98, 'resident')
    check_equal(found['shared']['saved']['pages'], 0, 'saved of shared')
    shares = [[guest[name] for name in (
        'pid', 'name', 'resident_pages', 'zero_pages', 'within_pages',
        'between_pages')] for guest in found['guests']]
    check_equal(shares, [
        [first.pid, 'first', 66, round(10 * 15 / 16, 2), 4, 10.5],
        [second.pid, 'second', 98, round(6 * 15 / 16, 2), 1, 10.5]], 'shares')


def test_alone(bed):
    """What is between guests is not there for one of them alone"""
    first, _ = two_guests(bed)
    found = bed.count(first)['private']['saved']
    check_equal(savings(found), {'pages': 13, 'zero_pages': 9,
                                 'within_pages': 4, 'between_pages': 0},
                'saved')


def test_layout(bed):
    """Runs of twins, and the parts of a mapping that they are in"""
    found = bed.count(*two_guests(bed))
    runs = found['private']['runs']
    check_equal(runs, {
        'count': 7, 'pages': TWINS, 'median': 6, 'lengths': [
            {'from': 1, 'runs': 1, 'pages': 1},
            {'from': 2, 'runs': 1, 'pages': 2},
            {'from': 4, 'runs': 2, 'pages': 11},
            {'from': 8, 'runs': 1, 'pages': 10},
            {'from': 16, 'runs': 2, 'pages': 40}]}, 'runs')
    parts = []
    for guest in found['guests']:
        mapping, = guest['mappings']
        check_equal((mapping['pages'], len(mapping['twins_of_parts'])),
                    (4096, 64), 'a mapping')
        parts.append({part: twins for part, twins
                      in enumerate(mapping['twins_of_parts']) if twins})
    # A part is 64 pages.
    check_equal(parts, [{0: 10, 1: 5, 3: 20, 6: 1}, {7: 2, 15: 20, 62: 6}],
                'parts')


def test_odd_mapping(bed):
    """A mapping that can't be divided by 64, or is smaller"""
    for pages in 1, 63, 65, 1000:
        found = bed.count(bed.guest(ram(pages, (0, pages, b'x'))))
        mapping, = found['guests'][0]['mappings']
        check_equal((mapping['pages'], sum(mapping['twins_of_parts'])),
                    (pages, pages if pages > 1 else 0), 'twins')


def test_holes(bed):
    """What is not resident stays so, in private and in shared memory"""
    mappings = [ram(8192, *((page, 1, b'') for page in range(0, 8192, 97)),
                    kind=kind) for kind in ('private', 'memfd')]
    guest = bed.guest(*mappings)
    before = guest.resident()
    found = bed.count(guest)
    check_equal(guest.resident(), before, 'resident afterwards')
    for pool in 'private', 'shared':
        check_equal(found[pool]['resident_pages'], 85, f'resident of {pool}')
        check_equal(found[pool]['saved']['pages'], 0, f'saved of {pool}')


def need_scan():
    version = re.match(r'(\d+)\.(\d+)', os.uname().release)
    if tuple(map(int, version.groups())) < (6, 7):
        raise Skipped('Linux before 6.7 does not tell')


def huge_guest(bed, *contents, more=(), **options):
    """A mapping of it is one hole but for the CONTENTS."""
    guest = bed.guest(ram(HOLE // PAGE, *contents, kind='reserved'), *more,
                      **options)
    if guest.said != 'up':
        raise Skipped('the kernel does not overcommit memory')
    return guest


def test_huge_hole(bed):
    """A guest that has mapped much more than there is takes no time for it"""
    need_scan()
    pages = HOLE // PAGE
    guest = huge_guest(bed, (0, 2, b'x'), (pages // 2, 3, b'x'),
                       (pages - 1, 1, b'x'))
    bed.restrict([])
    before = os.times()
    found = bed.count(guest)
    after = os.times()
    check_equal(found['private']['saved']['pages'], 5, 'saved')
    mapping, = found['guests'][0]['mappings']
    check_equal((mapping['pages'],
                 [mapping['twins_of_parts'][part] for part in (0, 32, 63)]),
                (pages, [2, 3, 1]), 'pages and twins')
    # A fraction of that; seven seconds if the kernel is asked for every page.
    check(after.children_system - before.children_system < 2,
          f'{before}, {after}')


def test_too_large(bed):
    """A guest that there is no memory for is named and left out"""
    first, second = two_guests(bed)
    large = huge_guest(bed, (0, 2, b'x'), name='large',
                       more=[ram(1024, (0, 1024, b'x'), kind='file')])
    bed.restrict(['prlimit', f'--as={1 << 30}'])
    if bed.run('--version').returncode:
        raise Skipped('its address space can not be limited')
    result = bed.run('--json', first.pid, large.pid, second.pid)
    error = result.stderr.decode()
    check_equal(result.returncode, 1, f'status; {error}')
    check(error.startswith(f'ksm-census: guest {large.pid} (large): it has '
                           'mapped 4096 GiB at 0x'), error)
    check_equal(savings(json.loads(result.stdout)['private']['saved']), SAVED,
                'saved')
    text = bed.run(first.pid, large.pid).stdout.decode()
    check('not looked at' not in text, text)


def test_kernel_zero_page(bed):
    """The kernel's page of zeros, where a hole was read, takes no memory"""
    need_scan()
    found = bed.count(bed.guest(ram(4096, (0, 3, ZEROS), read=range(50, 90))))
    check_equal(found['guests'][0]['kernel_zero_pages'], 40, 'of the kernel')
    check_equal(found['private']['saved']['zero_pages'], 2, 'saved')


def test_without_scan(bed):
    """What Linux before 6.7 does not tell is left out, and said in the text"""
    need_scan()
    guest = bed.guest(ram(4096, (0, 3, ZEROS), read=range(50, 90)))
    by_scan = {'saved_by_engine', 'huge_pages', 'huge_pages_whole'}
    whole = bed.count(guest)
    bed.restrict(restricted.command('--no-pagemap-scan'))
    found = bed.count(guest)
    check_equal(set(whole['private']) - set(found['private']), by_scan,
                'left out of private')
    check_equal(set(whole['shared']) - set(found['shared']), set(),
                'left out of shared')
    check_equal(set(whole['guests'][0]) - set(found['guests'][0]),
                {'kernel_zero_pages'}, 'left out of a guest')
    check_equal(found['private']['saved']['zero_pages'], 42, 'saved')
    text = bed.out(guest.pid)
    check(re.search('^with huge pages below 32 whole +unknown: Linux before '
                    '6.7', text, re.M), text)


def test_shared(bed):
    """Shared memory is counted apart; what is not looked at is told"""
    guest = bed.guest(ram(1024, (0, 3, b'x')),
                      ram(1024, (0, 5, b'x'), (5, 1, b''), kind='memfd'),
                      ram(1024, (0, 7, b'x'), kind='file'))
    found = bed.count(guest)
    check_equal(found['private']['saved']['pages'], 2, 'saved of private')
    check_equal(found['shared']['saved']['pages'], 4, 'saved of shared')
    check_equal(found['shared']['resident_pages'], 6, 'resident of shared')
    check_equal(found['guests'][0]['neither_bytes'], 7 * PAGE, 'neither')
    text = bed.out(guest.pid)
    check('which only ksmfs can merge' in text, text)
    check('0.0 MiB more were not looked at: hugetlb, or private' in text, text)


def test_unreadable(bed):
    """A page that can't be read costs that page"""
    guest = bed.guest(ram(16, (0, 16, b'x')),
                      ram(16, (2, 9, b'x'), kind='secret'))
    if guest.said != 'up':
        raise Skipped(guest.said)
    found = bed.count(guest)
    check_equal(found['guests'][0]['unreadable_pages'], 9, 'unreadable')
    check_equal(found['private']['saved']['pages'], 15, 'saved')
    check('9 pages more could not be read' in bed.out(guest.pid), 'text')


def meanwhile(bed, guests, is_time, act, *options):
    """Reads GUESTS; when IS_TIME(census's pid), census waits for ACT().

    Returns status, output and errors.
    """
    cpus = os.sched_getaffinity(0)
    # On one processor with it: it can't be done before this has had a turn.
    process = subprocess.Popen(
        ['taskset', '--cpu-list', str(min(cpus)),
         *bed.command_line('--json', *options,
                           *(guest.pid for guest in guests))],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + PATIENCE
    os.sched_setaffinity(0, {min(cpus)})
    try:
        while not is_time(process.pid):
            check(time.monotonic() < end and process.poll() is None,
                  'it never read the guest')
            time.sleep(0.001)
        process.send_signal(signal.SIGSTOP)
        act()
        process.send_signal(signal.SIGCONT)
    finally:
        os.sched_setaffinity(0, cpus)
    out, error = process.communicate(timeout=PATIENCE)
    return process.returncode, out, error


def check_ended(bed, ends, is_time):
    """ENDS, a guest, ends when IS_TIME(); two others are counted."""
    first, second = two_guests(bed)
    status, out, error = meanwhile(bed, [first, ends, second], is_time,
                                   ends.kill)
    check_equal(status, 1, f'status; {error}')
    check_equal(error, f'ksm-census: guest {ends.pid} (short-lived): it ended '
                'while it was read: it is left out\n', 'errors')
    found = json.loads(out)
    check_equal([guest['pid'] for guest in found['guests']],
                [first.pid, second.pid], 'guests')
    check_equal(savings(found['private']['saved']), SAVED, 'saved')
    check_equal(found['private']['runs']['pages'], TWINS, 'twins')


def test_ended(bed):
    """A guest that ends meanwhile is named and left out; others count"""
    ends = bed.guest(ram(65536, (0, 9, ZEROS), (9, 65527, b'x')),
                     name='short-lived')
    check_ended(bed, ends, lambda pid: reads(pid, ends, 'mem'))


def test_ended_early(bed):
    """So is one that ends while its mappings are read"""
    ends = bed.guest(ram(32768, (0, 32768, b'x'), kind='split'),
                     name='short-lived')
    # Of some 25 MB; RAM is among the first.
    check_ended(bed, ends, lambda pid: reads(pid, ends, 'smaps', 1 << 20))


def test_number_of_another(bed):
    """A guest stays itself when another process has got its number"""
    long = bed.guest(ram(65536, (0, 65536, b'x')))
    guest = bed.guest(ram(16, (0, 9, b'y')))
    other = bed.guest(ram(16, (0, 2, b'z')))
    bed.only(long, guest)
    link = bed.proc / str(guest.pid)

    def replace():
        link.unlink()
        link.symlink_to(f'/proc/{other.pid}')

    status, out, error = meanwhile(
        bed, [long, guest], lambda pid: reads(pid, long, 'mem'), replace)
    check_equal((status, error), (0, ''), 'status and errors')
    check_equal(json.loads(out)['guests'][1]['resident_pages'], 9, 'resident')


def test_twice(bed):
    """A process counts once, however often it or its threads are given"""
    guest = bed.guest(ram(16, (0, 9, b'')), threads=1)
    thread, = (int(path.name)
               for path in Path(f'/proc/{guest.pid}/task').iterdir()
               if path.name != str(guest.pid))
    check_equal(len({guest.pid, thread}), 2, 'numbers')
    for pids in [guest.pid, guest.pid], [thread], [thread, guest.pid, thread]:
        found = json.loads(bed.out('--json', *pids))
        check_equal([each['pid'] for each in found['guests']], [guest.pid],
                    'guests')
        check_equal((found['private']['resident_pages'],
                     found['private']['saved']['pages']), (9, 0),
                    'resident and saved')


def reads(pid, guest, name, least=0):
    """Has it open that file of a guest, and read so much of it?"""
    for link in Path(f'/proc/{pid}/fd').iterdir():
        try:
            if os.readlink(link) == f'/proc/{guest.pid}/{name}':
                text = Path(f'/proc/{pid}/fdinfo/{link.name}').read_text()
                return int(re.match(r'pos:\s+(\d+)', text)[1]) >= least
        except OSError:
            pass
    return False


def test_gives_way(bed):
    """Where memory is short the kernel ends this, and no guest"""
    guest = bed.guest(ram(65536, (0, 65536, b'x')))
    score = []

    def is_time(pid):
        score[:] = [Path(f'/proc/{pid}/oom_score_adj').read_text()]
        return reads(pid, guest, 'mem')

    status, _, error = meanwhile(bed, [guest], is_time, lambda: None)
    check_equal((status, error), (0, ''), 'status and errors')
    check_equal(score, ['1000\n'], 'oom_score_adj')


def test_found(bed):
    """Without process IDs it finds the QEMUs; with one, any program's"""
    first, second = two_guests(bed)
    bed.only(first, second)
    found = bed.count()
    check_equal([guest['pid'] for guest in found['guests']],
                sorted([first.pid, second.pid]), 'guests')
    check_equal(savings(found['private']['saved']), SAVED, 'saved')


def test_text(bed):
    """The tables have the same figures; a name can't drive a terminal"""
    first, second = two_guests(bed)
    hostile = bed.guest(ram(1024, (0, 1, b'')), name='a\x1b[2Jb')
    text = bed.out(first.pid, second.pid, hostile.pid)
    check('a\\x1b[2Jb' in text, text)
    for label, pages in (('resident', 165), ('saved if all is merged', 41),
                         ('  pages of zeros', 15),
                         ('  twins within a guest', 5),
                         ('  twins between guests', 21)):
        check(re.search(rf'^{label} +{pages} +[0-9.]+ +[0-9.]+ %$', text,
                        re.M), f'{label}: {text}')
    check('Runs of twins: 7, mean 9.1, median 6 pages' in text, text)
    row = re.search(rf'^ *{first.pid} +16.0 \|(.{{64}})\|$', text, re.M)
    check(row, text)
    check_equal({part: step for part, step in enumerate(row[1])
                 if step != ' '}, {0: '▂', 1: '▁', 3: '▃', 6: '▁'}, 'parts')
    plain = bed.out(first.pid, second.pid, environment={'LC_ALL': 'C'})
    check(plain.isascii() and '|:. -  .' in plain, plain)


def test_frames(bed):
    """Who may not see page frames can't tell what is merged already"""
    if os.geteuid():
        raise Skipped('only root can be somebody else')
    guest = bed.guest(ram(16, (0, 9, b'x')))
    saved = bed.count(guest)['private']['saved']
    check_equal(saved['merged_pages'], 0, 'merged')
    check(re.search('^of these saved already +0 ', bed.out(guest.pid), re.M),
          'text')
    if PTRACE_SCOPE.exists() and int(PTRACE_SCOPE.read_text()):
        raise Skipped('kernel.yama.ptrace_scope is not 0')
    directory, user = restricted.ordinary_user(bed.root)
    command = restricted.command(user)
    guest = bed.guest(ram(16, (0, 9, b'x')), command=command)
    bed.restrict(command)
    saved = bed.count(guest)['private']['saved']
    check_equal(saved['pages'], 8, 'saved')
    check('merged_pages' not in saved, saved)
    check(re.search('^of these saved already +unknown$', bed.out(guest.pid),
                    re.M), 'text')


def test_same_frames(bed):
    """Pages that are one page of the host are saved already"""
    if os.geteuid():
        raise Skipped('only root is told the page frames')
    found = bed.count(bed.guest(ram(16, (0, 3, b'x'), (3, 5, ZEROS),
                                    kind='memfd_twice', read=range(8))))
    saved = found['shared']['saved']
    check_equal((saved['within_pages'], saved['zero_pages'],
                 saved['merged_pages']), (5, 9, 3 + 5), 'saved')


def test_not_permitted(bed):
    """Whose process it is, and who may read it"""
    if os.geteuid():
        raise Skipped('only root can be somebody else')
    guest = bed.guest(ram(16, (0, 9, b'x')), name='theirs')
    _, user = restricted.ordinary_user(bed.root)
    bed.restrict(restricted.command(user))
    result = bed.run(guest.pid)
    error = result.stderr.decode()
    check_equal(result.returncode, 1, f'status; {error}')
    for words in (f'guest {guest.pid} (theirs): ', f'/proc/{guest.pid}/',
                  'Permission denied', 'root', 'ptrace_scope'):
        check(words in error, f'{words}: {error}')
    check_equal(result.stdout, b'', 'tables of no guest')


def test_no_guests(bed):
    """No QEMU, no process, no RAM: each says what to give"""
    bed.only()
    check('no QEMU runs here' in bed.fails(1), 'none')
    error = bed.fails(1, 2 ** 31 - 1)
    check('2147483647: there is no such process' in error, error)
    bed.roots = []
    result = bed.run(os.getpid())
    check_equal(result.returncode, 1, 'status')
    check(f'/proc/{os.getpid()}/smaps shows no guest RAM'
          in result.stderr.decode(), result.stderr)


def test_options(bed):
    """Wrong usage has status 2, and names value and way out"""
    check(re.match(r'ksm-census \d+\.\d+', bed.out('--version')), 'version')
    check('--huge-split-threshold=N' in bed.out('--help'), 'help')
    for arguments in (('--no-such-option',), ('x',), ('0',), ('1x',),
                      ('2147483648',), ('--huge-split-threshold=0',),
                      ('--huge-split-threshold=513',),
                      ('--huge-split-threshold=x',)):
        error = bed.fails(2, *arguments)
        value = arguments[0].rpartition('=')[2]
        check('--help' in error and value in error, error)


def test_plot(bed):
    """A picture, with what guests are called as no more than text"""
    first, second = two_guests(bed)
    hostile = bed.guest(ram(1024, (0, 2, b'x')),
                        name='"; print `x` </text>\nEND\n$')
    path = bed.root / 'census.svg'
    # Not of stderr: valgrind knows not all that GLib does here.
    result = bed.run(f'--plot={path}', first.pid, second.pid, hostile.pid)
    check_equal(result.returncode, 0, f'status; {result.stderr}')
    svg = ET.parse(path).getroot()
    said = [''.join(element.itertext()).strip() for element in svg.iter()
            if element.tag.endswith('}text')]
    for text in ('What merging saves of each guest', 'MiB of guest memory',
                 'guest (process ID)', 'zeros', 'within a guest',
                 'between guests', 'Runs of pages that have a twin',
                 'pages in a run, from', '% of the mapping', '% with a twin',
                 f'first ({first.pid})', f'second ({second.pid})',
                 f'???print??x????text??END?? ({hostile.pid})'):
        check(text in said, f'{text}: {said}')


def test_plot_without_gnuplot(bed):
    """It is named, with the package, before anything is read"""
    first, _ = two_guests(bed)
    path = bed.root / 'x.svg'
    error = bed.fails(1, f'--plot={path}', first.pid,
                      environment={'PATH': str(bed.root)})
    check(f'--plot={path}' in error and 'gnuplot-nox' in error, error)
    check(not path.exists(), 'it has made the file')


def test_plot_of_before(bed):
    """A picture stays until there is another, which takes all of its place"""
    guest = bed.guest(ram(65536, (0, 65536, b'x')))
    path = bed.root / 'census.svg'
    path.write_text('before' * 100000)
    seen = []
    # Not of stderr: see above.
    status, _, error = meanwhile(
        bed, [guest], lambda pid: reads(pid, guest, 'mem'),
        lambda: seen.append(path.read_text()[:6]), f'--plot={path}')
    check_equal((status, seen), (0, ['before']), f'before; {error}')
    ET.parse(path)


def test_full_disk(bed):
    """What can't be written is an error"""
    first, _ = two_guests(bed)
    bed.check_full_disk(first.pid)
    for path, words, shown in (('/dev/full', 'No space left', True),
                               ('/nonexistent/x.svg', 'No such file', False)):
        result = bed.run(f'--plot={path}', first.pid)
        error = result.stderr.decode()
        check_equal((result.returncode, bool(result.stdout)), (1, shown),
                    f'status, and whether it is shown; {error}')
        check(f'--plot={path}: {words}' in error and 'another file' in error,
              error)


if __name__ == '__main__':
    cases.main('What ksm-census finds, and how it is called.', globals(),
               Census)
