# SPDX-License-Identifier: GPL-2.0-or-later
"""What all benchmarks need: programs, rounds, guests that are filled."""

import contextlib
import tempfile
import time

from ksmtest import ksmhost, sample
from ksmtest.checks import Failure, check

from .filled import MIB, PAGE, FilledGuest
from .rows import in_words

# Of what can be saved: merging is over, where its time is taken.
SHARE = 0.99
# The most that a curve has.
POINTS = 200
# From one look to the next, in seconds.
LOOK = 0.02
# What has not come until then, in seconds, won't come.
LIMIT = 120
# Nothing more is saved, if for so many seconds there was nothing.
REST = 3
# What memory is needed for besides.
SPARE_MIB = 1024
# A trial has so much less of memory and time than a quick run.
TRIAL = 16
# And waits no longer, in seconds: it is only to see that all starts.
TRIAL_LIMIT = 2


def cpu_sum(parts):
    """CPU seconds of all that has a part in merging."""
    return sum(parts.values())


class Bench:
    """What was asked for on the command line.

    SIZE is "full", "quick", or "trial": as quick, and with next to no memory.
    """

    def __init__(self, qemu, ksmtuned, output, size, say):
        self.qemu = qemu
        self.ksmtuned = ksmtuned
        self.output = output
        self.quick = size != "full"
        # Those that take minutes; a trial sees that they start.
        self.has_slow_peers = size != "quick"
        self.say = say
        self._trial = size == "trial"

    def rounds(self, number):
        return range(1 if self.quick else number)

    def sized(self, usual, quick=None):
        """As a quick run has it, if that is something else than USUAL."""
        size = quick if self.quick and quick is not None else usual
        return max(1, size // TRIAL) if self._trial else size

    def limit(self, usual, quick=None):
        """Seconds, for what a trial can do without; as sized()."""
        return TRIAL_LIMIT if self._trial else self.sized(usual, quick)

    @staticmethod
    def need(mib):
        """Failure if so much memory for guests and their contents is not there.

        Available, that is, beside what QEMU and Python take for themselves.
        """
        needed = mib + SPARE_MIB
        available = sample.memory_available() // MIB
        check(available >= needed,
              f"{needed} MiB of memory are needed, and {available} are "
              "available: end what uses them, or measure with QUICK=1")

    def in_turns(self, name, number, kinds, measure):
        """{kind: what MEASURE(kind) gave in each round}, of NUMBER in full."""
        results = {kind: [] for kind in kinds}
        for _ in self.rounds(number):
            for kind, found in results.items():
                found.append(measure(kind))
                self.say(f"{name}: {kind.name}: {in_words(found[-1])}")
        return results

    @staticmethod
    def directory():
        """One for a socket, whose path has to be short."""
        return tempfile.TemporaryDirectory(prefix="ksm-bench-")

    @contextlib.contextmanager
    def way(self, kind, **options):
        """A way of merging, with nothing merged on the host before."""
        with self.directory() as directory:
            with kind(self, directory, **options) as way:
                yield way

    @contextlib.contextmanager
    def filled(self, way, contents, **options):
        """Guests that hold CONTENTS, and are merged that way from start()."""
        with contextlib.ExitStack() as stack:
            guests = []
            for number, content in enumerate(contents):
                guest = FilledGuest(self.qemu, way.directory,
                                    f"guest-{number}", content,
                                    way.options(), **options)
                stack.enter_context(guest)
                guest.fill()
                guests.append(guest)
            yield guests


class Merging:
    """Guests that are being merged, from start() on.

    Savings are taken from KSM's counter while they come, as it is exact for
    pages that are no zero pages and in no huge pages; verify() then has the
    memory of the processes confirm it.
    """

    def __init__(self, way, guests, filling):
        self.goal = SHARE * filling.savable
        self._way = way
        self._guests = guests
        self._savings = sample.Savings(guests)
        self.series = sample.Series()
        self.saved = 0
        self._at_rest = None
        way.start(guests)
        self._look()

    def _look(self):
        self.saved = ksmhost.read("pages_sharing")
        self.series.add(self.saved, self._way.cpu())

    def wait(self, limit=LIMIT):
        """Waits until the goal is reached, or for LIMIT seconds.

        Returns when that was: seconds and CPU seconds by name, or None.
        """
        while self.saved < self.goal and self.series.seconds < limit:
            time.sleep(LOOK)
            self._look()
        reached = self.series.reached(self.goal)
        if not reached:
            self._way.bench.say(self._state())
        return reached

    def reach(self, limit=LIMIT):
        """The same, and raises Failure if the goal is not reached."""
        reached = self.wait(limit)
        if not reached:
            raise Failure(self._state())
        return reached

    def _state(self):
        return (f"{self._way.name}: {self.saved} pages are merged after "
                f"{self.series.seconds:.0f} s, of {self.goal:.0f} that have to "
                "be")

    def curve(self):
        """What was saved over time: a series of a row, but for its name."""
        readings = self.series.readings
        start = readings[0][0]
        return {"unit": "MiB saved", "x_unit": "seconds",
                "points": [[moment - start, saved * PAGE / MIB]
                           for moment, saved, _
                           in readings[::len(readings) // POINTS + 1]]}

    def more(self, pages):
        """So many are to be saved beside those that were so at rest.

        Time and CPU time begin anew.
        """
        self.goal = self._at_rest + SHARE * pages
        self.series = sample.Series()
        self._look()

    def wait_rest(self, limit=LIMIT):
        """Waits until nothing more is saved, nor done for it."""
        deadline = time.monotonic() + limit
        since, last = time.monotonic(), None
        rest = self._way.bench.sized(REST)
        while time.monotonic() < since + rest or self._way.is_busy():
            if time.monotonic() > deadline:
                raise Failure(f"{self._way.name}: merging is not over after "
                              f"{limit} s")
            time.sleep(10 * LOOK)
            self._look()
            # Passes are seconds apart, where there is nothing to do.
            self._way.hurry()
            now = self.saved, self._way.progress()
            if now != last:
                since, last = time.monotonic(), now
        self._at_rest = self.saved

    def verify(self):
        """Memory is saved, and the guests hold what they held."""
        pages = min(self.saved, self.goal)
        # QEMU may use some more of its guests' memory than it did before, of
        # which less is freed than shared; of huge pages more may be.
        saved = max(self._savings.freed(), self._savings.shared()) // PAGE
        if saved < pages:
            raise Failure(f"{self._way.name}: {pages:.0f} pages are saved by "
                          f"KSM's counter, and {saved} by the processes' "
                          "memory")
        for guest in self._guests:
            guest.verify()
