# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest that advises what to merge, and which page frames it is in then."""

import re
import struct

from . import life
from .checks import PATIENCE, check, check_equal, wait_for
from .linux import BOOT_SECONDS
from .sample import PAGE, ram_ranges

FILL_MIB = 4
# Emulated, beside others, an engine takes long to part what was merged.
SECONDS = 100
DEVICE = ('-device', 'ksm-guest')
PRESENT, FRAME = 1 << 63, (1 << 55) - 1
FILE_PAGES = (256 << 10) // PAGE


def frames(guest, pages):
    """The host's page frames of a guest's PAGES, where there are some."""
    entries = []
    with open(f'/proc/{guest.pid}/pagemap', 'rb', buffering=0) as pagemap, \
            open(f'/proc/{guest.pid}/mem', 'rb', buffering=0) as mem:
        for page in pages:
            address = guest.host_address(page)
            # Of a file, it may be there and not mapped.
            mem.seek(address)
            mem.read(1)
            pagemap.seek(address // PAGE * 8)
            entries.append(struct.unpack('Q', pagemap.read(8))[0])
    return [entry & FRAME for entry in entries if entry & PRESENT]


def mapped(frame):
    """How often a frame is mapped on this host."""
    with open('/proc/kpagecount', 'rb', buffering=0) as counts:
        counts.seek(frame * 8)
        return struct.unpack('Q', counts.read(8))[0]


def check_apart(guest, pages):
    """PAGES of the guest are in frames that nobody else has."""
    found = frames(guest, pages)
    check_equal(len(found), len(pages), f'pages of {guest.name} in memory')
    shared = [frame for frame in found if mapped(frame) != 1]
    check(not shared, f'{guest.name}: of {len(found)} frames that are never to '
          f'be merged, {len(shared)} are mapped more than once')


def has_shared(guest, pages):
    return any(mapped(frame) > 1 for frame in frames(guest, pages))


def map_all(guest):
    """Has its QEMU map all of its RAM: what is merged on ksmfs may not be."""
    with open(f'/proc/{guest.pid}/mem', 'rb', buffering=0) as mem:
        for begin, end in ram_ranges(guest):
            mem.seek(begin)
            while begin < end:
                begin += len(mem.read(min(end - begin, 1 << 20)))


class Advised:
    """Guests, one of which can advise, and what they have alike.

    Each is made by START, which is the bed's.
    """

    def __init__(self, bed, start=None):
        self.guests = [
            (start or bed.start)(name, number=number, workload='advise',
                                 append=f'ksm.fill={FILL_MIB}',
                                 extra=(*DEVICE, *life.MAY_RESET))
            for number, name in enumerate(('one', 'other'))]
        for guest in self.guests:
            guest.wait_console('guest filled', BOOT_SECONDS)
        self.one = self.guests[0]

    def advise(self, line, status=0, meanwhile=lambda: None):
        """The guest one runs ksm-guest: what it says.

        MEANWHILE is called when it has been told to.
        """
        before = len(self.one.console_text())

        def said():
            self.one.check()
            return re.search(r'(?s)(.*)^advised (\d+)$',
                             self.one.console_text()[before:], re.M)
        self.one.type(line)
        meanwhile()
        wait_for(said, f'ksm-guest {line}', 2 * SECONDS)
        check_equal(int(said()[2]), status, f'status of ksm-guest {line}, '
                    f'which said {said()[1]}')
        return said()[1]

    def file(self, advice, number, **options):
        """Advises something of a file: the guest's addresses of its pages."""
        said = self.advise(f'--verbose --timeout={SECONDS} {advice} '
                           f'--file /tmp/fill/alike.{number}', **options)
        pages = [int(first, 16) + page * PAGE for first, n in
                 re.findall(r'(0x[0-9a-f]+) pages (\d+)', said)
                 for page in range(int(n))]
        check_equal(len(pages), FILE_PAGES, f'pages of the file: {said}')
        return pages


def check_nomerge(advised, look=lambda: None):
    """What a guest says is never merged is in frames of its own.

    LOOK is called before frames are looked at.
    """
    one = advised.one

    def is_shared(*files):
        look()
        return all(has_shared(one, pages) for pages in files)

    def check_is_apart(pages):
        look()
        check_apart(one, pages)
    secret, known = advised.file('none', 1), advised.file('none', 2)
    wait_for(lambda: is_shared(secret, known), 'both to be merged')
    check_equal(advised.file('nomerge', 1), secret, 'where it is')
    # At once, and also when all was looked at again.
    check_is_apart(secret)
    second = advised.file('nomerge', 3)
    check_is_apart(second)
    one.passes(3)
    check_is_apart(secret + second)
    # Where its mark was that of a whole region, it is made anew.
    wait_for(lambda: one.check() or is_shared(known),
             'the rest to be merged, still or again', 2 * PATIENCE)
    check_equal(one.ksm()['advice']['pages-never'], 2 * FILE_PAGES, 'pages')
    check('accepts advice' in advised.advise('status'), 'status')

    advised.advise('release')
    wait_for(lambda: is_shared(secret), 'it to be merged again')
