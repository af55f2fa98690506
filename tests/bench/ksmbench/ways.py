# SPDX-License-Identifier: GPL-2.0-or-later
"""Ways of merging, that are compared: ours, and what a user has without it.

A way is a context manager.  In it, guests are started with its options and
filled; start() then lets merging begin.
"""

import contextlib
import json
import os
import subprocess
from pathlib import Path

from ksmtest import ksmhost, programs, sample
from ksmtest.checks import Failure, check_equal, wait_for
from ksmtest.ksmtuned import Ksmtuned

ORIGINAL = programs.BUILD / "original-ksmtuned/ksmtuned"
# All of its memory is too little for it: else it would not run ksmd at all.
SHORT_OF_MEMORY = "KSM_THRES_COEF=100"
PASSES_SECONDS = 120
# The iothread of the object ksm0.
ENGINE_THREAD = "IO ksm0"


def tasks(pid, name=""):
    """Thread IDs of a process: those whose names begin so."""
    return [int(task.name) for task in Path(f"/proc/{pid}/task").iterdir()
            if (task / "comm").read_text().startswith(name)]


class Way:
    """One way; CPU time is counted from start()."""

    name = None

    def __init__(self, bench, directory):
        self.bench = bench
        self.directory = directory
        self._stack = contextlib.ExitStack()
        self._ksmd = ksmhost.ksmd_pid()
        self._before = {}

    def __enter__(self):
        ksmhost.unmerge()
        return self

    def __exit__(self, *unused):
        self._stack.close()
        self.stop()

    def options(self):
        """More arguments for a guest's QEMU."""
        return ()

    def start(self, guests):
        self._guests = guests
        self._before = self._now()
        self._begin()

    def stop(self):
        ksmhost.write("run", 0)

    def threads(self):
        """Thread IDs of all that has a part in merging the guests."""
        return [self._ksmd]

    @contextlib.contextmanager
    def pinned(self, guests, cpu):
        """Meanwhile, all that merges GUESTS has this one core."""
        self._guests = guests
        before = {thread: os.sched_getaffinity(thread)
                  for thread in self.threads()}
        try:
            for thread in before:
                os.sched_setaffinity(thread, {cpu})
            yield
        finally:
            for thread, cpus in before.items():
                # One of a pool may have ended meanwhile.
                with contextlib.suppress(ProcessLookupError):
                    os.sched_setaffinity(thread, cpus)

    def pages(self):
        """Those of the guests that it keeps something for."""
        return known_to_ksmd()

    def wait_passes(self, number):
        """Until all memory was gone through so often."""
        until = ksmhost.read("full_scans") + number + 1
        wait_for(lambda: ksmhost.read("full_scans") >= until,
                 f"{number} scans of ksmd", PASSES_SECONDS)

    def is_busy(self):
        """Is there more to merge, as far as it knows?"""
        return False

    def hurry(self):
        """It does now what it would do by itself, later."""

    def progress(self):
        """Something that changes while it does more than to look for work."""

    def metadata(self):
        """Bytes kept of the guests' pages, by those who keep them; not ksmd."""
        return {}

    def cpu(self):
        """CPU seconds since start(), by what used them."""
        return {name: value - self._before[name]
                for name, value in self._now().items()}

    def _begin(self):
        raise NotImplementedError

    def _now(self):
        return {"ksmd": sample.cpu_seconds(self._ksmd)}


def known_to_ksmd():
    """Pages that it keeps something for."""
    return sum(ksmhost.read(f"pages_{kind}")
               for kind in ("shared", "sharing", "unshared", "volatile"))


def set_ksmd(**settings):
    """Settings of KSM, then lets it run; the advisor is none if not named."""
    for name, value in {"advisor_mode": "none", "smart_scan": 1,
                        **settings, "run": 1}.items():
        if ksmhost.read(name) not in (None, value):
            ksmhost.write(name, value)


class FullSpeed(Way):
    """All memory is mergeable, and ksmd never rests."""

    name = "ksmd-full-speed"

    def _begin(self):
        set_ksmd(pages_to_scan=20000, sleep_millisecs=0)


class Defaults(Way):
    """As the kernel starts: 100 pages, then 20 ms."""

    name = "ksmd-defaults"

    def _begin(self):
        set_ksmd(pages_to_scan=100, sleep_millisecs=20)


class Advisor(Way):
    """ksmd chooses its pace for itself, as it is set by default."""

    name = "ksmd-advisor"

    def _begin(self):
        # By which it sets pages_to_scan, and nobody else may.
        set_ksmd(sleep_millisecs=20, advisor_mode="scan-time")


class OriginalKsmtuned(Way):
    """ksmd as the distribution's ksmtuned sets it, on a host short of memory.

    It looks at memory once a minute.
    """

    name = "ksmd-original-ksmtuned"
    # It goes on in the background; its process group ends with our pipe.
    command = 'bash "$0" < /dev/null; read -r _; kill -9 0'

    def _begin(self):
        if not ORIGINAL.exists():
            raise Failure(f"{ORIGINAL} is missing: run 'make "
                          "original-ksmtuned'")
        set_ksmd()
        ksmhost.write("run", 0)
        pid_file = Path(self.directory) / "original.pid"
        group = subprocess.Popen(
            ["env", SHORT_OF_MEMORY, f"PIDFILE={pid_file}", "bash", "-c",
             self.command, ORIGINAL],
            stdin=subprocess.PIPE, start_new_session=True)
        self._stack.callback(group.communicate)
        # It is made empty first.
        wait_for(lambda: pid_file.exists() and pid_file.read_text(),
                 "the original ksmtuned to run")
        self._loop = int(pid_file.read_text())

    def _now(self):
        # It has not begun when it is first asked for.
        return {"ksmtuned": self._loop and with_children(self._loop),
                **super()._now()}

    _loop = 0


def with_children(pid):
    """CPU seconds of a process and of the children that it has waited for."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


class Engine(Way):
    """A ksm object in each guest, with default settings, and ksmtuned."""

    name = "qemu-ksm"
    backend = "ksmd"
    settings = ""

    def __enter__(self):
        super().__enter__()
        self._ksmtuned = self._stack.enter_context(Ksmtuned(
            self.bench.ksmtuned, self.directory,
            Path(self.directory) / "ksmtuned.log", settings=self.settings))
        return self

    def options(self):
        return ("-name", "debug-threads=on", "-object", json.dumps({
            "qom-type": "ksm", "id": "ksm0", "run": False,
            "backend": self.backend,
            "rendezvous": {"type": "unix",
                           "path": str(self._ksmtuned.socket)}}))

    def _begin(self):
        for guest in self._guests:
            guest.set_ksm("run", True)

    def _now(self):
        return {"engine": sum(guest.ksm()["cpu-ns"]
                              for guest in self._guests) / 1e9,
                "ksmtuned": self._ksmtuned.cpu_seconds(), **super()._now()}

    def threads(self):
        # QEMU's others don't merge: they answer what the benchmark asks.
        engines = [tasks(guest.pid, ENGINE_THREAD) for guest in self._guests]
        check_equal([len(found) for found in engines], [1] * len(engines),
                    f"threads {ENGINE_THREAD!r} of each guest")
        return (super().threads() + tasks(self._ksmtuned.pid)
                + sum(engines, []))

    def wait_passes(self, number):
        for guest in self._guests:
            guest.passes(number)

    def pages(self):
        return sum(guest.ksm()["figures"]["pages-tracked"]
                   for guest in self._guests)

    def metadata(self):
        return {"engine": sum(guest.ksm()["metadata-bytes"]
                              for guest in self._guests),
                "ksmtuned": self._ksmtuned.stats()["index_bytes"],
                "ksmtuned, all of its memory":
                    sample.process_pss(self._ksmtuned.pid)}

    def is_busy(self):
        return self._ksmtuned.stats().get("demand_waiting_pages", 0) > 0

    def hurry(self):
        for guest in self._guests:
            guest.execute("ksm-scan")

    def progress(self):
        # What ksmd has merged is taken for written, and hashed once more.
        return sum(guest.ksm()["figures"]["pages-hashed"]
                   for guest in self._guests)

    def stop(self):
        """ksmtuned stops ksmd."""


class Null(Engine):
    """Engines that find twins, and have nothing merged."""

    name = "qemu-ksm, backend null"
    backend = "null"
