#!/usr/bin/env python3
#
# What is made of the metrics: alerts and the dashboard
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-ksm-metrics.py KSM-EXPORTER [CASE]...

import json
import re
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import cases  # noqa: E402
from ksmtest.checks import check, check_equal  # noqa: E402
from ksmtest.host import ShownHost, engine  # noqa: E402
from ksmtest.programs import promtool  # noqa: E402

RULES = TOP / 'service/prometheus/ksm.rules.yml'
RULES_TEST = TOP / 'tests/prometheus/ksm.rules.test.yml'
DASHBOARD = TOP / 'service/grafana/ksm.json'
# What Grafana puts in.
VARIABLES = {'$instance': '.*', '$guest': '.*', '$__rate_interval': '5m'}


class Exporter(ShownHost):
    programs = ('ksm-exporter',)

    def names(self):
        """Of all metrics, on a host that lacks nothing."""
        text = (TOP / 'service/host/sysfs.c').read_text()
        for name in re.findall(r'^    { "(\w+)", KSM_SYSFS_', text, re.M):
            self.set(name, 1)
        self.add_guest(200, b'web', 1, 1, 1, 1)
        self.add_mount('0:50', '/a', **dict.fromkeys((
            'pages_used', 'pages_allocated', 'pages_shared', 'pages_sharing',
            'pages_unshared', 'ksm_zero_pages', 'merges', 'cow_breaks',
            'max_kernel_pages'), 1))
        self.start_ksmtuned(
            engine(200, ksmfs_sharing_pages=1), policy='demand',
            **dict.fromkeys((
                'index_entries', 'index_shared', 'index_bytes', 'twins_told',
                'cpu_ns', 'demand_waiting_pages', 'ksmd_wakeups',
                'decisions'), 1))
        return set(re.findall(r'^(ksm_\w+)', self.out('--print'), re.M))


def queried(expression):
    """The metrics in an expression of PromQL."""
    return set(re.findall(r'\bksm_\w+', re.sub(r'"[^"]*"', '', expression)))


def panels():
    return [panel for panel in json.loads(DASHBOARD.read_text())['panels']
            if panel['type'] != 'row']


def test_rules(host):
    """Prometheus takes them, and each says what is so, and what to do."""
    count = int(re.search(r'(\d+) rules found',
                          promtool('check', 'rules', RULES))[1])
    text = RULES.read_text()
    for name in 'alert', 'expr', 'severity', 'summary', 'description':
        check_equal(len(re.findall(rf'^ +(?:- )?{name}: \S', text, re.M)),
                    count, name)


def test_rules_raised(host):
    """Each alert is raised where it should be, and not elsewhere."""
    promtool('test', 'rules', RULES_TEST)
    text = RULES_TEST.read_text()
    for name in re.findall(r'alert: (\w+)', RULES.read_text()):
        check(f'alertname: {name}\n' in text or f'alertname="{name}"' in text,
              f'{name} has no test')


def test_rules_metrics(host):
    """What they look at is what the exporter tells."""
    expressions = re.findall(r'^ {8}expr:(.*(?:\n {10}.+)*)',
                             RULES.read_text(), re.M)
    asked = queried(' '.join(expressions))
    check(len(asked) > 10, f'only {asked}')
    check_equal(asked - host.names(), set(), 'unknown metrics')


def test_dashboard(host):
    """What it shows is what the exporter tells, in PromQL."""
    names = host.names()
    text = DASHBOARD.read_text()
    expressions = [target['expr'] for panel in panels()
                   for target in panel['targets']]
    check(len(expressions) > 20, f'only {len(expressions)} expressions')
    check_equal(queried(re.sub(r'label_values\((\w+)[^)]*\)', r'\1',
                               ' '.join(expressions))) - names, set(),
                'unknown metrics')
    check_equal(set(re.findall(r'label_values\((\w+)', text)) - names, set(),
                'unknown metrics of variables')
    rules = host.root / 'rules.yml'
    for variable, value in VARIABLES.items():
        expressions = [expression.replace(variable, value)
                       for expression in expressions]
    # JSON is YAML.
    rules.write_text(json.dumps({'groups': [{'name': 'x', 'rules': [
        {'record': f'x{number}', 'expr': expression}
        for number, expression in enumerate(expressions)]}]}))
    promtool('check', 'rules', rules)


def test_dashboard_panels(host):
    """Each is told from others, says what it shows, and has its place."""
    check_equal(len({panel['id'] for panel in panels()}), len(panels()), 'ids')
    taken = set()
    for panel in panels():
        check(panel['title'] and panel['description'].endswith('.'),
              f"{panel['title']}: no description")
        at = panel['gridPos']
        place = {(x, y) for x in range(at['x'], at['x'] + at['w'])
                 for y in range(at['y'], at['y'] + at['h'])}
        check(at['x'] + at['w'] <= 24 and not place & taken,
              f"{panel['title']} is where another is")
        taken |= place


if __name__ == '__main__':
    cases.main('Check alerts and the dashboard.', globals(), Exporter)
