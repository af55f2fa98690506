# SPDX-License-Identifier: GPL-2.0-or-later
"""What a test expects, and waits for."""

import os
import re
import time

# Longest wait for anything, in seconds; generous, as a busy machine or a
# wrapper makes all slow.
PATIENCE = float(os.environ.get("KSM_PATIENCE", 30))
# From one look to the next, in seconds: to look may take the very CPU that
# something is waited for.
POLL = float(os.environ.get("KSM_POLL", 0.02))


class Failure(Exception):
    """A test did not find what it has to; says what came instead."""


class Skipped(Exception):
    """A test can't be done here; says why."""


def linux_version(release=os.uname().release):
    """As far as it tells what a kernel can do: (6, 12)."""
    return tuple(map(int, re.match(r"(\d+)\.(\d+)", release).groups()))


def check(condition, what):
    if not condition:
        raise Failure(what)


def check_equal(got, wanted, what):
    check(got == wanted, f"{what}: {got!r}, not {wanted!r}")


def wait_for(condition, what, patience=PATIENCE):
    """Waits for CONDITION() to be true, and returns it."""
    end = time.monotonic() + patience
    while True:
        value = condition()
        if value:
            return value
        check(time.monotonic() < end, f"waited in vain for {what}")
        time.sleep(POLL)


def wait_steady(figure, seconds, tolerance):
    """What FIGURE() is once it has moved no further for so many seconds."""
    value, since = figure(), time.monotonic()
    while time.monotonic() < since + seconds:
        time.sleep(0.2)
        now = figure()
        if abs(now - value) > tolerance:
            value, since = now, time.monotonic()
    return value
