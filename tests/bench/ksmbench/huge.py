# SPDX-License-Identifier: GPL-2.0-or-later
"""Huge pages of a guest in which nothing is alike."""

import os

from ksmtest import sample
from ksmtest.checks import Failure

from . import ways
from .filled import MIB
from .rows import Target, row

ROWS = {"huge": Target(0.98, "least")}
GROUPS = [tuple(ROWS)]
PASSES = 10


def measure_one(bench, kind, mib):
    """The share of the guest's huge pages that is left."""
    with bench.way(kind) as way, \
            bench.filled(way, [bytearray(os.urandom(mib * MIB))]) as guests:
        guest, = guests
        ranges = [(guest.ram, guest.ram + mib * MIB)]
        before = sample.memory(guest.pid, ranges).huge
        if not before:
            raise Failure("the guest has no huge pages: "
                          "/sys/kernel/mm/transparent_hugepage/enabled must "
                          "not be never")
        way.start(guests)
        way.wait_passes(PASSES)
        guest.verify()
        return sample.memory(guest.pid, ranges).huge / before


def measure(bench, wanted):
    mib = bench.sized(512, 128)
    results = bench.in_turns("huge", 3, (ways.FullSpeed, ways.Engine),
                             lambda kind: measure_one(bench, kind, mib))
    yield row("huge", "of its huge pages", results[ways.Engine],
              f"a guest of {mib} MiB without twins; what it has left of its "
              f"huge pages after {PASSES} passes, or scans of ksmd",
              target=ROWS["huge"], peers={
                  "ksmd-full-speed, of its huge pages":
                      results[ways.FullSpeed]})
