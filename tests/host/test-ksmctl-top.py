#!/usr/bin/env python3
#
# ksmctl top, on a terminal
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-ksmctl-top.py KSMCTL [CASE]...
#
# KSMCTL_WRAPPER in the environment, e.g. "valgrind -q", goes before it.

import os
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import cases  # noqa: E402
from ksmtest.checks import PATIENCE, check, check_equal  # noqa: E402
from ksmtest.host import KSMTUNED_PID, MIB, engine  # noqa: E402
from ksmtest.ksmctl import Ksmctl  # noqa: E402
from ksmtest.pseudoterminal import Pseudoterminal  # noqa: E402


def add_two_guests(host):
    host.add_guest(11, b'FIRST', 20, 1000, 0, 9 * MIB)
    host.add_guest(22, b'second', 30, 2000, 0, 8 * MIB)


def check_order(terminal, *words):
    for word in words:
        terminal.wait_for(word)
    places = [terminal.output.index(word.encode()) for word in words]
    check_equal(places, sorted(places), f'places of {words}')


def test_top(host):
    """The most saved first; s sorts by the next column; q ends it."""
    add_two_guests(host)
    host.add_guest(33, b'\x1b]0;title\x07')
    terminal = host.terminal('top')
    check_order(terminal, 'SAVED', 'second', 'FIRST', '\\x1b]0;title\\x07')
    terminal.write('s')
    check_order(terminal, 'FIRST', 'second')
    terminal.write('q')
    check_equal(terminal.end(), 0, 'exit status')


def test_top_engines(host):
    """Engines are shown, why they don't merge, and why none is known."""
    add_two_guests(host)
    host.start_ksmtuned(engine(22, limit='\x1b[2Jno twins: wait'))
    for size, seen in ((24, 120), True), ((24, 80), False):
        terminal = host.terminal('top', size=size)
        check_order(terminal, 'ENGINE', 'running', 'second',
                    '\\x1b[2Jno twins: wait', 'no engine', 'FIRST')
        check_equal(b'BACKEND' in terminal.output and
                    b'ksmd ' in terminal.output.split(b'NAME')[1], seen,
                    'backends')
        # By each of the columns, once around.
        for _ in range(10 if seen else 7):
            terminal.write('s')
            terminal.wait_for('\x1b[')
        terminal.wait_for('SAVED')
        (host.runtime / 'lock').unlink()
        terminal.wait_for('ksmtuned does not run')
        (host.runtime / 'lock').write_text(f'{KSMTUNED_PID}\n')
        terminal.write('q')
        check_equal(terminal.end(), 0, 'exit status')


def test_top_refresh(host):
    """Figures follow the host."""
    terminal = host.terminal('top')
    terminal.wait_for('0 guests')
    add_two_guests(host)
    check_order(terminal, 'second', 'FIRST')
    terminal.write('Q')
    check_equal(terminal.end(), 0, 'exit status')


def test_top_resize(host):
    """A screen of any size is drawn, at once, and nothing beyond it."""
    host.add_guest(11, b'x' * 300 + b'TAIL')
    host.add_guest(22, b'second')
    terminal = host.terminal('top', size=(24, 200))
    terminal.wait_for('second')
    check(b'TAIL' not in terminal.output, repr(terminal.output))
    seconds = []
    for lines in 24, 30, 20:
        terminal.resize(1, 1)
        time.sleep(0.1)
        terminal.output = b''
        start = time.monotonic()
        terminal.resize(lines, 100)
        terminal.wait_for('second')
        seconds.append(time.monotonic() - start)
        check(b'TAIL' not in terminal.output, repr(terminal.output))
    # Else it would be drawn each 2 seconds, the first maybe earlier.
    check(sorted(seconds)[1] < 1, f'drawn after {seconds} s')
    terminal.write('q')
    check_equal(terminal.end(), 0, 'exit status')


def test_top_interrupted(host):
    """Ctrl-C or SIGTERM ends it, and the terminal is as before."""
    for end in (lambda terminal: terminal.write('\x03'),
                lambda terminal: terminal.process.terminate()):
        terminal = host.terminal('top')
        terminal.wait_for('0 guests')
        check(b'\x1b[?1049h' in terminal.output, repr(terminal.output))
        terminal.output = b''
        end(terminal)
        check_equal(terminal.end(), 0, 'exit status')
        check(b'\x1b[?1049l' in terminal.output, repr(terminal.output))


def test_top_hangup(host):
    """A terminal that is gone ends it, also where SIGHUP is ignored."""
    command = ['sh', '-c', 'trap "" HUP; exec "$@"', 'sh',
               *host.command_line('top')]
    terminal = Pseudoterminal(command, host.environment({'TERM': 'xterm'}))
    try:
        terminal.wait_for('0 guests')
        os.close(terminal.fd)
        terminal.fd = os.open('/dev/null', os.O_RDWR)
        terminal.process.wait(timeout=PATIENCE)
    finally:
        terminal.close()


def test_top_no_screen(host):
    """Where there is no full screen, it says what to do."""
    for term in 'dumb', 'no-such-terminal', None:
        terminal = host.terminal('top', term=term)
        check_equal(terminal.end(), 1, 'exit status')
        output = terminal.output.decode()
        check(f"TERM='{term or ''}'" in output and '--watch' in output, output)
    error = host.fails(1, 'top')
    check('no terminal' in error and '--watch' in error, error)


if __name__ == '__main__':
    cases.main('Watch a host that is made up with ksmctl.', globals(), Ksmctl)
