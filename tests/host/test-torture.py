#!/usr/bin/env python3
#
# Guests that write, verify and rewrite pages while all is merged and split
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Usage: test-torture.py [--writes=N | --seconds=N] [OPTION]...
#
# The guests are boot sectors, see torture-writer.S.  A checked write is one
# write of half a page (2 KiB, in 4-byte stores), after which all of that page
# was read, compared with what it has to be, and found right.
#
# ksmd runs all the time, and not when ksmtuned wants it to: a demand for pages
# that are written again soon makes ksmtuned wait, longer than this test is.
# So ksmtuned is given no ksmd to control, and only tells engines their twins.
#
# Where KVM runs the boot sector fast, all guests run under KVM.  Where it
# has to emulate each instruction, one guest does, and the others under TCG.

import argparse
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(TOP / 'tests/vm'))

from ksmtest import ksmhost, programs  # noqa: E402
from ksmtest.checks import Failure  # noqa: E402
from ksmtest.ksmtuned import Ksmtuned, KsmtunedError  # noqa: E402
from ksmtest.qmp import QMPError  # noqa: E402
from ksmtest.vm import VM, VMError  # noqa: E402

SOURCE = Path(__file__).resolve().parent / 'torture-writer.S'
SKIP = 77

# As in torture-writer.S
PARAMETERS = struct.Struct('<III')
PARAMETERS_AT = 0x1f0
STATE_AT = 0x600
FILLING, RUNNING, MISMATCH = 0x6b736d01, 0x6b736d02, 0x6b736d03
ARENA = 0x1000000
PAGE = 4096

MIB = 1 << 20
FAST = {'pages': 8192, 'hot_writes': 256}
SLOW = {'pages': 1024, 'hot_writes': 1}
# Checked writes a second: what TCG reaches is 50,000 and more, what KVM does
# that emulates is 600.
FAST_RATE = 5000
PROBE_SECONDS = 6
# At most half of a core for ksmd, while there is something to do
KSMD = {'sleep_millisecs': 20, 'pages_to_scan': 1000, 'smart_scan': 0,
        'run': 1}
# To do the default number of writes in, by the slowest machine.
PATIENCE = 300


def say(text):
    print(f'# {text}', flush=True)


def assemble(directory):
    """The boot sector's bytes."""
    item, image = directory / 'writer.o', directory / 'writer.bin'
    subprocess.run(['as', '--32', '-o', item, SOURCE], check=True)
    subprocess.run(['ld', '-m', 'elf_i386', '-Ttext', '0x7c00', '--oformat',
                    'binary', '-o', image, item], check=True)
    return image.read_bytes()


class Writer(VM):
    """A guest that writes, and what it says of itself."""

    def __init__(self, qemu, directory, number, image, *, accel,
                 pages, hot_writes, extra=()):
        name = f'writer-{number}'
        self.accel = accel
        self.pages = pages
        self.checked = self.cold = self.rounds = 0
        self.sharing = self.most_sharing = 0
        self.ksm = {}
        self._last = {}
        disk = bytearray(image.ljust(64 * 1024, b'\0'))
        PARAMETERS.pack_into(disk, PARAMETERS_AT,
                             (number + 1) << 20, hot_writes, pages)
        drive = directory / f'{name}.img'
        drive.write_bytes(disk)
        super().__init__(
            qemu, directory, name, accel=accel,
            memory_mib=ARENA // MIB + pages * PAGE // MIB + 16,
            extra=('-drive', f'file={drive},format=raw,if=ide,snapshot=on',
                   *extra))

    def read(self):
        """Brings all figures up to date; Failure if a page was wrong."""
        self.check()
        text = self.qmp.human(f'xp /7wx {STATE_AT:#x}')
        words = [int(word, 16) for line in text.splitlines()
                 for word in line.partition(':')[2].split()]
        state, rounds, checked, cold, page, version, _ = words
        if state == MISMATCH:
            raise Failure(
                f'{self.name} ({self.accel}): page {page} (guest address '
                f'{ARENA + page * PAGE:#x}) is wrong in version {version}, '
                f'round {rounds}, after {self.checked} checked writes\n'
                + self.difference(page))
        if state not in (FILLING, RUNNING):
            if self._last:
                raise Failure(f'{self.name}: its own memory is wrong: '
                              f'state {state:#x}')
            return False
        if state == RUNNING:
            self.rounds += self._grown('rounds', rounds)
            self.checked += self._grown('checked', checked)
            self.cold += self._grown('cold', cold)
        return state == RUNNING

    def read_ksm(self):
        self.ksm = self.execute('query-ksm')
        self.sharing = self.ksm.get('pages-sharing', 0)
        self.most_sharing = max(self.most_sharing, self.sharing)

    def difference(self, page):
        """The start of a wrong page's halves, for whoever looks for it."""
        return self.qmp.human(f'xp /8wx {ARENA + page * PAGE:#x}') \
            + self.qmp.human(f'xp /8wx {ARENA + page * PAGE + 2048:#x}')

    def _grown(self, name, value):
        """What a counter of the guest, that wraps, has grown by."""
        grown = (value - self._last.get(name, 0)) % (1 << 32)
        if grown >= 1 << 31:
            raise Failure(f'{self.name}: its counter of {name} went back '
                          f'from {self._last[name]} to {value}')
        self._last[name] = value
        return grown


class Debugger:
    """The least of a gdb: writes into the memory of a guest."""

    def __init__(self, path):
        self._path = path

    def options(self):
        return ('-chardev', f'socket,id=gdb,path={self._path},server=on,'
                'wait=off', '-gdb', 'chardev:gdb')

    def write(self, address, data):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(str(self._path))
            for command in ('?', f'M{address:x},{len(data):x}:{data.hex()}',
                            'D'):
                packet = command.encode()
                connection.sendall(b'$%b#%02x' % (packet, sum(packet) % 256))
                answer = b''
                while answer[-3:-2] != b'#':
                    answer += connection.recv(4096)
                connection.sendall(b'+')
                if command != '?' and b'$OK#' not in answer:
                    raise Failure(f'gdb: {command[:20]}: {answer!r}')


def break_page(writer, debugger):
    """Makes a byte wrong that the guest is not about to write."""
    page = writer.pages * 3 // 4 + 1
    address = ARENA + page * PAGE + 1000
    was = int(writer.qmp.human(f'xp /1bx {address:#x}').split(':')[1], 16)
    debugger.write(address, bytes([was ^ 0xff]))
    return page


def test_detection(arguments, directory, image):
    """A guest notices one wrong byte."""
    debugger = Debugger(directory / 'gdb.sock')
    with Writer(arguments.qemu, directory, 9, image, accel='tcg', **FAST,
                extra=debugger.options()) as writer:
        wait_running([writer], 30)
        for _ in range(3):
            page = break_page(writer, debugger)
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                try:
                    writer.read()
                except Failure as failure:
                    if f'page {page} ' in str(failure):
                        return
                    raise
                time.sleep(0.05)
    raise Failure('a byte was made wrong three times and went unnoticed')


def wait_running(writers, seconds):
    deadline = time.monotonic() + seconds
    while not all([writer.read() for writer in writers]):
        if time.monotonic() > deadline:
            raise Failure(f'guests do not run after {seconds} s')
        time.sleep(0.05)


def probe_kvm(arguments, directory, image):
    """'fast', 'slow', or why KVM does not run the boot sector."""
    if arguments.accel == 'tcg':
        return 'not asked for'
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        return '/dev/kvm does not exist or is not permitted'
    try:
        with Writer(arguments.qemu, directory, 8, image, accel='kvm',
                    **SLOW) as writer:
            start = time.monotonic()
            wait_running([writer], PROBE_SECONDS)
            checked, start = writer.checked, time.monotonic()
            while writer.checked - checked < 50:
                time.sleep(0.1)
                writer.read()
                if time.monotonic() > start + PROBE_SECONDS:
                    return f'it did not write for {PROBE_SECONDS} s'
            rate = (writer.checked - checked) / (time.monotonic() - start)
            say(f'KVM does {rate:.0f} checked writes a second at first')
            # A pause may lie between two readings.
            return 'fast' if rate > FAST_RATE else 'slow'
    except (Failure, VMError) as error:
        return str(error).splitlines()[0]


def start_writers(arguments, directory, image, ksmtuned, stack):
    kvm = probe_kvm(arguments, directory, image)
    say(f'KVM: {kvm}')
    writers = []
    debugger = Debugger(directory / 'gdb.sock')
    for number in range(arguments.guests):
        under_kvm = kvm == 'fast' or (kvm == 'slow' and number == 0)
        slow = under_kvm and kvm == 'slow'
        ksm = (f'ksm,id=ksm0,sleep-millisecs={10 + 20 * number},'
               'max-cpu-percent=50,huge-split-threshold=1,'
               f'rendezvous.type=unix,rendezvous.path={ksmtuned.socket}')
        writer = Writer(
            arguments.qemu, directory, number, image,
            accel='kvm' if under_kvm else 'tcg', **(SLOW if slow else FAST),
            extra=('-object', ksm, *(debugger.options() if number == 1
                                     else ())))
        stack.callback(writer.stop)
        writer.start()
        if slow:
            for thread in os.listdir(f'/proc/{writer.pid}/task'):
                os.setpriority(os.PRIO_PROCESS, int(thread), 15)
        writers.append(writer)
    return writers, debugger


def pages_split():
    """KSM pages on this host that were written, ever; None if unknown."""
    for line in Path('/proc/vmstat').read_text().splitlines():
        name, value = line.split()
        if name == 'cow_ksm':
            return int(value)
    return None


def start_ksmd():
    if ksmhost.read('advisor_mode') not in (None, 'none'):
        ksmhost.write('advisor_mode', 'none')
    for name, value in KSMD.items():
        if ksmhost.read(name) is not None:
            ksmhost.write(name, value)


def report(writers, seconds, split):
    total = sum(writer.checked for writer in writers)
    cold = sum(writer.cold for writer in writers)
    sharing = sum(writer.sharing for writer in writers)
    breaks = sum(writer.ksm['cow-breaks'] for writer in writers)
    say(f'{seconds:4.0f} s  checked writes {total} (after a pause {cold})  '
        f'merged now {sharing}  written again {breaks}  split {split}')


def test_torture(arguments, directory, image):
    """No page is wrong while all is merged and split."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(ksmhost.KSMHost())
        ksmtuned = stack.enter_context(Ksmtuned(
            arguments.ksmtuned, directory, directory / 'ksmtuned.log',
            extra=(f'--sysfs-root={directory}/none',)))
        writers, debugger = start_writers(arguments, directory, image,
                                          ksmtuned, stack)
        wait_running(writers, 60)
        split_before = pages_split()
        start_ksmd()
        start = said = time.monotonic()
        while True:
            time.sleep(0.1)
            ksmtuned.check()
            for writer in writers:
                writer.read()
                writer.read_ksm()
            now = time.monotonic()
            total = sum(writer.checked for writer in writers)
            if arguments.break_it and now > start + 5:
                page = break_page(writers[1], debugger)
                say(f'{writers[1].name}: page {page} made wrong')
                arguments.break_it = False
            if arguments.seconds is None:
                done = total >= arguments.writes
            else:
                done = arguments.seconds and now - start >= arguments.seconds
            if now - said >= 5 or done:
                split = (None if split_before is None
                         else pages_split() - split_before)
                report(writers, now - start, split)
                said = now
            if done:
                break
            if arguments.seconds is None and now - start > PATIENCE:
                raise Failure(f'{total} checked writes in {PATIENCE} s: '
                              'this machine is too slow')
        for writer in writers:
            say(f'{writer.name} ({writer.accel}): {writer.rounds} rounds, '
                f'{writer.checked} checked writes, at most '
                f'{writer.most_sharing} pages merged, '
                f'{writer.ksm["cow-breaks"]} written again')
        for writer in writers:
            if not writer.most_sharing:
                raise Failure(f'{writer.name}: not a page was ever merged')
            if not writer.ksm['cow-breaks']:
                raise Failure(f'{writer.name}: no merged page was written')
        if split == 0:
            raise Failure('the kernel split no page')


def run(number, test, arguments, directory, image):
    what = test.__doc__.rstrip('.')
    try:
        test(arguments, directory, image)
    except (Failure, VMError, KsmtunedError, QMPError, OSError) as error:
        for line in str(error).splitlines():
            say(line)
        print(f'not ok {number} - {what}', flush=True)
        return False
    print(f'ok {number} - {what}', flush=True)
    return True


def skip(reason):
    print(f'1..0 # SKIP {reason}')
    sys.exit(SKIP)


def parse_arguments():
    parser = argparse.ArgumentParser(
        description='Write and verify pages while they are merged and split.')
    programs.add_options(parser)
    parser.add_argument('--writes', type=int, metavar='N', default=10_000_000,
                        help='checked writes, of all guests together '
                             '(default: %(default)s)')
    parser.add_argument('--seconds', type=int, metavar='N',
                        help='go on for so long instead; 0: for ever')
    parser.add_argument('--guests', type=int, metavar='N', default=3)
    parser.add_argument('--accel', choices=('auto', 'tcg'), default='auto')
    parser.add_argument('--break', dest='break_it', action='store_true',
                        help='make a byte wrong, to see the test fail')
    arguments = parser.parse_args()
    if arguments.guests < 2:
        parser.error('--guests: it takes two to have twins')
    return arguments


def main():
    # Raised as an exception: QEMUs are ended and the settings put back.
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(128 + 15))
    arguments = parse_arguments()
    unbuilt = programs.missing(arguments.qemu, arguments.ksmtuned)
    if unbuilt:
        sys.exit(f'test-torture: {unbuilt}')
    if ksmhost.missing():
        skip(ksmhost.missing())
    with tempfile.TemporaryDirectory(prefix='ksm-torture-') as name:
        directory = Path(name)
        image = assemble(directory)
        print('1..2', flush=True)
        passed = [run(number, test, arguments, directory, image)
                  for number, test in enumerate(
                      (test_detection, test_torture), 1)]
    sys.exit(0 if all(passed) else 1)


if __name__ == '__main__':
    main()
