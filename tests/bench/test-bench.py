#!/usr/bin/env python3
#
# Benchmarks start, and what make bench writes has its form
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-bench.py [CASE]...
#
# All rows but those for which Linux boots are tried, with next to no memory.
# No value is judged: those of a trial say nothing.

import contextlib
import ctypes
import html.parser
import io
import json
import mmap
import os
import re
import subprocess
import sys
import types
import xml.etree.ElementTree as ET
from pathlib import Path
from unittest import mock

TOP = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(TOP / 'tests/vm'), str(TOP / 'tests/bench')]

from ksmbench import (  # noqa: E402
    disks, guests, hot, machine, nested, rows, rst)
from ksmbench.bench import Merging  # noqa: E402
from ksmbench.filled import Filling  # noqa: E402
from ksmbench.report import Report  # noqa: E402
from ksmbench.rows import Target, row  # noqa: E402
from ksmtest import cases, ksmhost, programs, sample  # noqa: E402
from ksmtest.checks import (  # noqa: E402
    Failure, Skipped, check, check_equal, wait_for)
from ksmtest.merging import MergingError  # noqa: E402
from ksmtest.vm import VM  # noqa: E402

SCRIPT = TOP / 'scripts/run-bench'
NUMBER = (int, float)
# As rows.py describes them; those that may be null have None.
FORM = {'id': str, 'value': (*NUMBER, None), 'unit': str,
        'target': (*NUMBER, None), 'bound': (str, None), 'met': (bool, None),
        'spread': (list, None), 'peers': dict, 'how': str, 'rounds': list}
# Nothing of this may become markup, or a command.
HOSTILE = '<b>&"x"\'`false`_{a} $(false) \\n'


class Bed(cases.Bed):
    # The script takes it.
    host_ksm = False

    def start(self, *options, command=(SCRIPT,), **values):
        env = {name: value for name, value in os.environ.items()
               if name not in ('QUICK', 'ONLY')}
        return subprocess.Popen(
            [*command, *options, f'--qemu={self.arguments.qemu}',
             f'--ksmtuned={self.arguments.ksmtuned}',
             f'--output={self.directory / "bench"}'],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            env={**env, 'TMPDIR': str(self.directory), **values})

    def bench(self, *options, **values):
        with self.start(*options, **values) as process:
            said, _ = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode,
                                           said)

    def read(self, name):
        return (self.directory / 'bench' / name).read_text()


def check_form(found):
    for name, types_of in FORM.items():
        kinds = types_of if isinstance(types_of, tuple) else (types_of,)
        check(name in found, f'{found["id"]} has no {name}')
        value = found[name]
        check(None in kinds if value is None
              else type(value) in kinds, f'{found["id"]}: {name} is {value!r}')
    check(set(found) <= {*FORM, 'series'}, f'more than rows.py has: {found}')
    check(found['bound'] in ('most', 'least', None)
          and len({found[name] is None
                   for name in ('target', 'bound', 'met')}) == 1,
          f'target without a bound, or so: {found}')
    for value in (*found['rounds'], *found['peers'].values()):
        check(value is None or type(value) in NUMBER, f'no figure: {found}')
    for series in found.get('series', ()):
        check_equal(set(series), {'name', 'unit', 'x_unit', 'points'},
                    'members of a series')


class Page(html.parser.HTMLParser):
    """A page's ids of elements, its text, and whether all ends that begins."""

    VOID = ('meta',)

    def __init__(self, text):
        super().__init__()
        self.open, self.ids, self.text, self.tags = [], [], '', []
        self.feed(text)
        self.close()
        check_equal(self.open, [], 'what has no end')

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.ids += [value for name, value in attributes if name == 'id']
        for name, value in attributes:
            check(name != 'src' and (name not in ('href', 'xlink:href')
                                     or value.startswith('#')),
                  f'{name}={value} is of another file')
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        check_equal(self.open.pop(), tag, 'what ends')

    def handle_data(self, data):
        self.text += data


def check_page(text, found, plots):
    page = Page(text)
    check_equal(len(set(page.ids)), len(page.ids), 'different ids of elements')
    for one in found:
        check(one['id'] in page.text, f'{one["id"]} is not on the page')
        check(one['how'] in page.text, f'{one["id"]}: how is not on the page')
    check_equal(page.tags.count('svg'), plots, 'plots on the page')
    check('script' not in page.tags, 'there is a script on the page')
    ET.fromstring(text)
    return page


def misses(text):
    return re.findall(r'^target missed: .*$', text, re.M)


def test_trial(bed):
    """each benchmark starts; rows, page and plots have their form"""
    if ksmhost.missing():
        raise Skipped(ksmhost.missing())
    asked = bed.bench('--list', '--trial').stdout.split()
    check(set(programs.script(SCRIPT).all_rows()) - set(asked)
          == {name for benchmark in (disks, guests, nested)
              for name in benchmark.ROWS}, f'rows of a trial: {asked}')
    process = bed.bench('--trial')
    check_equal(process.returncode, 0, f'status; {process.stdout}')
    found = json.loads(bed.read('report.json'))
    for one in found:
        check_form(one)
    check_equal([one['id'] for one in found], asked, 'rows')
    check_equal(misses(process.stdout), rows.missed(found), 'missed targets')
    facts = json.loads(bed.read('machine.json'))
    check_equal(list(facts['asked']), asked, 'rows of machine.json')
    check_equal(facts['size'], 'trial', 'size')
    check(re.match(r'10\.\d', facts['qemu']), f'QEMU: {facts["qemu"]}')
    svgs = list((bed.directory / 'bench').glob('*.svg'))
    for svg in svgs:
        ET.parse(svg)
    check({'cpu', 'time'} <= {svg.stem for svg in svgs}, f'plots: {svgs}')
    check_page(bed.read('index.html'), found, len(svgs))


def made_up(*groups):
    """The script, with these benchmarks, (rows, error) pairs, alone."""
    def benchmark(number, rows, error):
        def measure(bench, wanted):
            yield from rows
            if error:
                raise error

        targets = {one['id']: None for one in rows}
        if error:
            targets[f'lost-{number}'] = Target(1)
        return types.SimpleNamespace(ROWS=targets, GROUPS=[[*targets]],
                                     measure=measure,
                                     __doc__='Made up.\n\nMore.')

    bench = programs.script(SCRIPT)
    # Nothing is merged.
    bench.ksmhost = types.SimpleNamespace(
        KSMHost=contextlib.nullcontext, missing=lambda: None,
        merged_elsewhere=lambda: [])
    bench.BENCHMARKS = [benchmark(number, *group)
                        for number, group in enumerate(groups)]
    return bench


def run_main(bed, bench, *options, **values):
    """Runs the script as it is here; what it says and how it ends."""
    output = io.StringIO()
    command = ['run-bench', f'--qemu={bed.arguments.qemu}',
               f'--ksmtuned={bed.arguments.ksmtuned}',
               f'--output={bed.directory / "bench"}', *options]
    with mock.patch.object(sys, 'argv', command), \
            mock.patch.dict(os.environ, {'ONLY': '', 'QUICK': '', **values}), \
            mock.patch.object(bench.signal, 'signal'), \
            contextlib.redirect_stdout(output):
        try:
            bench.main()
        except SystemExit as end:
            return output.getvalue(), end.code
    return output.getvalue(), None


def test_missed(bed):
    """a missed target is named, and is no failure"""
    made = [row('made-up', 's', [24.04], 'how', target=Target(24)),
            row('made-up/high', 's', [5.25], 'how', target=Target(4)),
            row('made-up/low', 's', [0.5], 'how', target=Target(1, 'least')),
            row('made-up/met', 's', [0.5], 'how', target=Target(0.5))]
    output, end = run_main(bed, made_up((made, None)))
    check_equal(end, None, f'end; {output}')
    check_equal(misses(output),
                ['target missed: made-up 24.04 24',
                 'target missed: made-up/high 5.25 4',
                 'target missed: made-up/low 0.5 1'], 'missed targets')
    check((bed.directory / 'bench/targets.svg').exists(), 'no plot of targets')
    page = check_page(bed.read('index.html'), made, 1)
    for words in ('1 of 4 targets are met', 'Made up',
                  'missed, 1.00167 of target', 'missed, 1.31 of target',
                  'missed, 0.50 of target', 'met, 1.00 of target'):
        check(words in page.text, f'not on the page: {words}')


def test_failed(bed):
    """what can't be measured is named, and takes nothing else with it"""
    made = [row(name, 's', [2], 'how', target=Target(1)) for name in 'abc']
    stale = bed.directory / 'bench/report.json'
    stale.parent.mkdir()
    stale.write_text('[{"id": "stale"}]')
    output, end = run_main(bed, made_up(
        ([], Failure('it did not merge')), (made[:1], ValueError('a mistake')),
        (made[1:2], MergingError('no guest is up')), (made[2:], None)))
    found = {one['id']: one for one in json.loads(bed.read('report.json'))}
    lost = {name: found.pop(name) for name in list(found) if 'lost' in name}
    check_equal(list(found.values()), made, 'rows')
    for one, words in zip(lost.values(), ('it did not merge', 'a mistake',
                                          'no guest is up'), strict=True):
        check_form(one)
        check(words in one['how'] and not one['met'], f'{words}: {one}')
    check_equal(len(misses(output)), 6, f'missed targets; {output}')
    for words in ('it did not merge', 'ValueError: a mistake', 'Traceback',
                  'no guest is up'):
        check(words in str(end) and words in output,
              f'{words}: neither said, {output}, nor in the end, {end}')
    check_equal(str(end).count('Traceback'), 1, f'tracebacks; {end}')
    page = check_page(bed.read('index.html'), [*made, *lost.values()], 1)
    check('0 of 6 targets are met' in page.text, 'not all are counted')


def test_no_plots(bed):
    """where gnuplot fails, all is measured and kept all the same"""
    made = [row(name, 's', [2], 'how', target=Target(1)) for name in 'ab']
    bench = made_up((made[:1], Failure('it did not merge')), (made[1:], None))

    def draw(plots, directory):
        check(not plots, 'gnuplot')
        return plots

    with mock.patch.object(bench.plots, 'draw', draw):
        output, end = run_main(bed, bench)
    check('gnuplot' in str(end), f'end: {end}')
    check_equal([one['id'] for one in json.loads(bed.read('report.json'))],
                ['a', 'lost-0', 'b'], 'rows')


def test_unreached(bed):
    """a round that does not get there is no value, and a failure"""
    made = [row('made-up', 's', [3.5, None, 4.5], 'how', target=Target(9))]
    for options, failed in ((), True), (('--trial',), False):
        output, end = run_main(bed, made_up((made, None)), *options)
        check_equal('made-up: not every round' in str(end), failed,
                    f'{options}: {end}')
        check_equal(misses(output), ['target missed: made-up - 9'],
                    'missed targets')
        page = check_page(bed.read('index.html'), made, 0)
        check('missed, no value' in page.text, 'not said on the page')


def test_busy(bed):
    """that others use the machine is said, and on the page"""
    made = [row('made-up', 's', [1], 'how')]
    for percent, said in (99, True), (1, False):
        with mock.patch.object(machine, 'busy_percent', lambda: percent):
            output, end = run_main(bed, made_up((made, None)))
        check_equal(end, None, f'end; {output}')
        check_equal('others use 99 % of a core' in output, said, output)
        page = check_page(bed.read('index.html'), made, 0)
        check_equal('99 % of a core was in use' in page.text, said, 'page')
    command = 'import time\nend = time.time() + 20\nwhile time.time() < end: 1'
    with subprocess.Popen([sys.executable, '-c', command]) as process:
        check(machine.busy_percent() > 50, 'it does not see others')
        process.kill()


def test_nothing(bed):
    """a report is of its run, even if nothing could be measured"""
    stale = bed.directory / 'bench/report.json'
    stale.parent.mkdir()
    stale.write_text('[{"id": "stale"}]')
    bench = made_up(([], KeyboardInterrupt()))
    try:
        run_main(bed, bench)
    except KeyboardInterrupt:
        pass
    check_equal(json.loads(stale.read_text()), [], 'rows')


def expect_failure(words, function, *arguments):
    try:
        function(*arguments)
    except Failure as failure:
        check(words in str(failure), f'it says: {failure}')
    else:
        raise Failure(f'it does not say: {words}')


class Stalled:
    """A way of merging that gets nowhere."""

    name = 'stalled'

    def __init__(self):
        self.said = []
        self.bench = types.SimpleNamespace(say=self.said.append,
                                           sized=lambda seconds: 0)

    def start(self, guests):
        pass

    def cpu(self):
        return {}

    def is_busy(self):
        return False

    progress = hurry = is_busy


def test_goals(bed):
    """merging that does not reach its goal fails, also that of later pages"""
    saved = 0
    with mock.patch.object(ksmhost, 'read', lambda name: saved):
        way = Stalled()
        merging = Merging(way, [], Filling([], 1000))
        expect_failure('0 pages are merged after 0 s, of 990',
                       merging.reach, 0)
        check_equal(merging.wait(0), None, 'when it is reached')
        check_equal(len(way.said), 2, f'what is said; {way.said}')
        # More than that is alike, as it turns out.
        saved = 1100
        check(merging.reach(), 'it is not reached')
        merging.wait_rest()
        merging.more(100)
        expect_failure('1100 pages are merged after 0 s, of 1199',
                       merging.reach, 0)
        saved = 1199
        check(merging.reach(), 'it is not reached')


def test_savings(bed):
    """what KSM counts has to be saved of memory, also of what came since"""
    size = 64 * mmap.PAGESIZE
    with memory_of_ours(size) as (memory, guest), \
            mock.patch.object(ksmhost, 'read', lambda name: 16), \
            mock.patch.object(sample, 'ram_ranges', lambda guest: [
                (guest.ram, guest.ram + size)]):
        memory.write(bytes(size // 2))
        merging = Merging(Stalled(), [guest], Filling([], 16))
        expect_failure("16 pages are saved by KSM's counter, and 0 by the "
                       "processes' memory", merging.verify)
        memory.write(bytes(size // 2))
        expect_failure('and 0 by', merging.verify)
        # Its pages are gone, and it has not grown.
        memory.madvise(mmap.MADV_DONTNEED)
        merging.verify()


def test_sums(bed):
    """a checksum is told when all of it is printed"""
    guest = VM('qemu', bed.directory, 'guest')
    check_equal(guest.disk_sum(), None, 'sum, without a console')
    guest.console.write_bytes(b'files 12ab  -\r\nfiles 3\r\ndisk sum 34')
    check_equal(guest.file_sums(), ['12ab', '3'], 'sums')
    check_equal(guest.disk_sum(), None, 'sum, while it is printed')
    with guest.console.open('ab') as console:
        console.write(b'cd  -\r\nfiles')
    check_equal(guest.disk_sum(), '34cd', 'sum')


class Guest:
    """This process, if it were a guest."""

    name = 'guest'
    pid = os.getpid()

    def __init__(self, ram):
        self.ram = ram

    def verify(self):
        pass


@contextlib.contextmanager
def memory_of_ours(size):
    """Memory, and a guest that has it as its RAM."""
    with mmap.mmap(-1, size) as memory:
        ram = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        yield memory, Guest(ram)


def test_rewriter(bed):
    """a guest is rewritten all the time, or that is noticed"""
    contents = [bytes([number]) * 2 * hot.CHUNK for number in (1, 2)]
    with memory_of_ours(len(contents[0])) as (memory, guest):
        with hot.Rewriter(guest, contents) as rewriter:
            before = rewriter.written()
            wait_for(lambda: rewriter.written() > before + 8 * hot.CHUNK,
                     'memory to be written')
            check(memory[0] in (1, 2), 'nothing is written')
            rewriter.end()
        with hot.Rewriter(guest, contents) as rewriter:
            rewriter.written()
            rewriter._contents = [contents[0][:hot.CHUNK] + contents[1][:-1]
                                  + b'x'] * 2
            expect_failure('is not there any more', rewriter.end)
        guest.ram = mmap.PAGESIZE
        with hot.Rewriter(guest, contents) as rewriter:
            rewriter._process.wait()
            expect_failure('it is not rewritten any more', rewriter.written)
            expect_failure('it is not rewritten any more', rewriter.end)


def test_killed(bed):
    """killed, it leaves no original ksmtuned that sets the host's KSM"""
    if ksmhost.missing():
        raise Skipped(ksmhost.missing())
    before = ksmhost.read('run')
    with bed.start('--trial', ONLY='cold-25') as process:
        pid_file = wait_for(lambda: [
            path for path in bed.directory.glob('ksm-bench-*/original.pid')
            if path.read_text()], 'the original ksmtuned to run')[0]
        loop = Path('/proc', pid_file.read_text().strip())
        check(loop.exists(), f'{loop}: it does not run')
        process.kill()
    wait_for(lambda: not loop.exists(), 'it to end')
    # Until all is put back.
    with ksmhost.KSMHost():
        check_equal(ksmhost.read('run'), before, 'run')


def test_refuses(bed):
    """what can't be measured is refused, with the way out, before all else"""
    process = bed.bench('--trial', ONLY='nonsense')
    check(process.returncode == 1 and 'ONLY=nonsense' in process.stdout
          and 'cold-25' in process.stdout,
          f'nonsense: {process.returncode}, {process.stdout}')
    process = bed.bench('--trial', command=(sys.executable, SCRIPT),
                        PATH=str(bed.directory))
    check(process.returncode == 1 and 'gnuplot-nox' in process.stdout,
          f'no gnuplot: {process.returncode}, {process.stdout}')
    process = bed.bench(f'--rst={bed.directory / "document"}')
    check(process.returncode == 1 and 'make bench' in process.stdout,
          f'no report: {process.returncode}, {process.stdout}')
    check_equal(list(bed.directory.iterdir()), [], 'files')


def test_document(bed):
    """the project's own document is of all rows at full size, or refused"""
    made = [row(name, 's', [2], 'how') for name in 'ab']
    bench = made_up((made[:1], None), (made[1:], None))
    bench.TOP, bench.DOCUMENT = bed.directory, bed.directory / 'document'
    (bed.directory / 'bench').mkdir()
    for size, asked, words in (('quick', 'ab', 'a quick run'),
                               ('full', 'a', 'a full run without b'),
                               ('full', 'ab', None)):
        facts = machine.facts(bed.arguments.qemu, size,
                              {name: name for name in asked})
        Report(bed.directory / 'bench', facts, made[:1]).write()
        output, end = run_main(bed, bench, '--rst')
        if words:
            check(words in str(end) and '--rst=FILE' in str(end),
                  f'{size} {asked}: {end}')
            check(not bench.DOCUMENT.exists(), f'{size} {asked}: written')
        else:
            check_equal(end, None, 'end')
    check(':Not measured: b: the run was ended' in bench.DOCUMENT.read_text(),
          f'document:\n{bench.DOCUMENT.read_text()}')


def test_words(bed):
    """words are only words, on the page, on plots and in the document"""
    made = [row(f'id {HOSTILE}', 's', [2], f'how {HOSTILE}', target=Target(4),
                peers={f'way {HOSTILE}, s': [3], 'none, s': [None]},
                series=[{'name': HOSTILE, 'unit': HOSTILE, 'x_unit': HOSTILE,
                         'points': [[1, 2], [3, 4]]},
                        {'name': 'empty', 'unit': 's', 'x_unit': 's',
                         'points': []}]),
            row('nothing', HOSTILE, [None],
                '*how* |it| was_' + ' at length' * 20)]
    facts = machine.facts(bed.arguments.qemu, 'full',
                          {**{one['id']: HOSTILE for one in made},
                           f'lost {HOSTILE}': HOSTILE})
    report = Report(bed.directory, facts)
    for one in made:
        report.add(one)
    report.fail({f'lost {HOSTILE}': None}, f'why {HOSTILE}')
    report.write()
    made = report.rows
    plots = {path.stem: path.read_text()
             for path in bed.directory.glob('*.svg')}
    check_equal(len(plots), 3, f'plots; {list(plots)}')
    page = check_page((bed.directory / 'index.html').read_text(), made, 3)
    check(f'why {HOSTILE}' in page.text, 'why it is lost')
    check_equal(page.text.count('no value'), 4,
                'no value: of two rows, why, and of a bar')
    for name, text in plots.items():
        words = ''.join(ET.fromstring(text).itertext())
        check(HOSTILE in words, f'{name} lacks its words: {words}')
    document = bed.directory / 'performance.rst'
    process = subprocess.run(
        [SCRIPT, f'--rst={document}', f'--output={bed.directory}'],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    check_equal(process.returncode, 0, f'status; {process.stdout}')
    text = document.read_text()
    check_equal(text, rst.of_report(report.facts, made), 'document')
    check(r'\*how\* \|it\| was\_' in text and '- no value' in text,
          f'document:\n{text}')
    check(max(map(len, text.splitlines())) <= 80, f'long lines:\n{text}')


if __name__ == '__main__':
    cases.main('Benchmarks start, and what make bench writes has its form.',
               globals(), Bed)
