#!/usr/bin/env python3
#
# Benchmarks start, and what make bench writes has its form
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-bench.py [CASE]...
#
# One row of each benchmark is tried, with next to no memory.  No value is
# judged: those of a trial say nothing.

import contextlib
import html.parser
import io
import json
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

from ksmbench import machine, rst, rows  # noqa: E402
from ksmbench.report import Report  # noqa: E402
from ksmbench.rows import Target, row  # noqa: E402
from ksmtest import cases, ksmhost, programs  # noqa: E402
from ksmtest.checks import Skipped, check, check_equal  # noqa: E402

SCRIPT = TOP / 'scripts/run-bench'
# These take too long for a test.
NOT_TRIED = {'guests', 'nested'}    # Linux boots

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

    def bench(self, *options, command=(SCRIPT,), **values):
        env = {name: value for name, value in os.environ.items()
               if name not in ('QUICK', 'ONLY')}
        return subprocess.run(
            [*command, *options, f'--qemu={self.arguments.qemu}',
             f'--ksmtuned={self.arguments.ksmtuned}',
             f'--output={self.directory / "bench"}'],
            text=True, env={**env, **values}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)

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
    tried = [next(iter(benchmark.ROWS))
             for benchmark in programs.script(SCRIPT).BENCHMARKS
             if benchmark.__name__.rpartition('.')[2] not in NOT_TRIED]
    asked = bed.bench('--list', ONLY=','.join(tried)).stdout.split()
    process = bed.bench('--trial', ONLY=','.join(tried))
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


def test_missed(bed):
    """a missed target is named, and is no failure"""
    bench, output = programs.script(SCRIPT), io.StringIO()
    # Nothing is merged.
    bench.ksmhost = types.SimpleNamespace(
        KSMHost=contextlib.nullcontext, missing=lambda: None,
        merged_elsewhere=lambda: [])
    made = [row('made-up', 's', [3.5, None, 4.5], 'how', target=Target(9)),
            row('made-up/high', 's', [5.25], 'how', target=Target(4)),
            row('made-up/low', 's', [0.5], 'how', target=Target(1, 'least')),
            row('made-up/met', 's', [0.5], 'how', target=Target(0.5))]
    bench.BENCHMARKS = [types.SimpleNamespace(
        ROWS={one['id']: None for one in made}, __doc__='Made up.\n\nMore.',
        measure=lambda bench, wanted: iter(made))]
    options = ['run-bench', f'--qemu={bed.arguments.qemu}',
               f'--ksmtuned={bed.arguments.ksmtuned}',
               f'--output={bed.directory / "bench"}']
    with mock.patch.object(sys, 'argv', options), \
            mock.patch.dict(os.environ, ONLY=''), \
            contextlib.redirect_stdout(output):
        bench.main()
    check_equal(misses(output.getvalue()),
                ['target missed: made-up - 9',
                 'target missed: made-up/high 5.25 4',
                 'target missed: made-up/low 0.5 1'], 'missed targets')
    check((bed.directory / 'bench/targets.svg').exists(), 'no plot of targets')
    page = check_page(bed.read('index.html'), made, 1)
    for words in ('1 of 4 targets are met', 'Made up', 'missed, no value',
                  'missed, 1.31 of target', 'missed, 0.50 of target',
                  'met, 1.00 of target'):
        check(words in page.text, f'not on the page: {words}')


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
                          {one['id']: HOSTILE for one in made})
    report = Report(bed.directory, facts)
    for one in made:
        report.add(one)
    plots = {path.stem: path.read_text()
             for path in bed.directory.glob('*.svg')}
    check_equal(len(plots), 3, f'plots; {list(plots)}')
    page = check_page((bed.directory / 'index.html').read_text(), made, 3)
    check_equal(page.text.count('no value'), 2, 'no value: of a row, of a bar')
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
