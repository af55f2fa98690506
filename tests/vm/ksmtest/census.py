# SPDX-License-Identifier: GPL-2.0-or-later
"""Which pages of guests are alike, found by reading them all."""

import array
import hashlib
import os

from . import sample
from .checks import check
from .qtest import PAGE, PRESENT

# Of the pages that could be saved.
SHARE_MERGED = 0.95


def count(pages):
    """Of PAGES, not counting zero pages: how many, and how many too many."""
    seen, number = set(), 0
    for data in pages:
        if data.count(0) != PAGE:
            number += 1
            seen.add(hashlib.blake2b(data, digest_size=16).digest())
    return number, number - len(seen)


def of_mount(mount):
    """Contents of the pages of all files of a mount."""
    for path in mount.path.iterdir():
        with open(path, "rb") as file:
            while data := file.read(PAGE):
                yield data


def of_guests(guests):
    """Contents of the pages of guests' RAM that are in memory."""
    for guest in guests:
        with open(f"/proc/{guest.pid}/mem", "rb", 0) as memory, \
                open(f"/proc/{guest.pid}/pagemap", "rb", 0) as pagemap:
            for begin, end in sample.ram_ranges(guest):
                entries = array.array("Q", os.pread(
                    pagemap.fileno(), (end - begin) // PAGE * 8,
                    begin // PAGE * 8))
                for number, entry in enumerate(entries):
                    if entry & PRESENT:
                        yield os.pread(memory.fileno(), PAGE,
                                       begin + number * PAGE)


def check_merged(guests, contents, saved):
    """Nearly all is merged of what is alike in the CONTENTS of their memory.

    SAVED tells how many pages merging saves.
    """
    for guest in guests:
        guest.execute("stop")
    pages, alike = count(contents)
    now = saved()
    print(f"# {pages} pages that are not zero, {alike} could be saved, {now} "
          "are")
    check(now >= SHARE_MERGED * alike, f"{now} of {alike} pages are merged")
    for guest in guests:
        guest.execute("cont")
        guest.check()
