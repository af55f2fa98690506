# SPDX-License-Identifier: GPL-2.0-or-later
"""How much more is executed for the same work of a guest with an engine.

The only processor of the emulated host is the guest's, and whatever engine,
ksmtuned, ksmd and the kernel do for merging, or for tracking what is written,
is executed beside its work.  The guest never rests, and a page that it goes
through always takes it the same.  A turn has fresh guests, one at a time: one
without an engine, one with it.
"""

import contextlib
import json
import time
from pathlib import Path

from ksmtest import instructions, ksmfs, ksmhost, sample
from ksmtest.checks import PATIENCE, check, wait_for
from ksmtest.ksmtuned import Ksmtuned

from . import filled
from .filled import MIB
from .merges import (
    MEAN_RUN, SHARE, check_merged, memory_object, memory_on)
from .rows import Target, row
from .ways import set_ksmd
from .working import WorkingGuest

TARGETS = {"idle": Target(1.02), "converging": Target(1.10)}
ROWS = {f"guest-slowdown/{backend}-{phase}": target
        for backend in ("ksmd", "ksmfs") for phase, target in TARGETS.items()}
# Pages that the guest writes, 2 MiB.
HOT = 512
LOOK = 0.05
# To ask an engine takes some of what is measured.
ASK = 0.5


def minor_faults(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2]
               .split()[7])


class Window:
    """What a guest gets done from its making on, and what that takes."""

    def __init__(self, guest, name):
        self._guest = guest
        self._name = name
        self._before = self._now()

    def _now(self):
        guest = self._guest
        return {"pages": guest.done(), "instructions": instructions.executed(),
                "seconds": time.monotonic(),
                "mapped": guest.kvm_figure("pf_fixed"),
                "faults": minor_faults(guest.pid)}

    def close(self):
        grown = {name: value - self._before[name]
                 for name, value in self._now().items()}
        found = {"each": grown["instructions"] / grown["pages"],
                 **{name: grown[name] / grown["seconds"]
                    for name in ("mapped", "faults")},
                 "seconds": grown["seconds"]}
        print(f"# {self._name}: " + ", ".join(
            f"{name} {value:.0f}" for name, value in found.items()),
            flush=True)
        return found


class Turn:
    """One of several; each way has a guest of its own."""

    def __init__(self, bench, directory, filling):
        self._bench = bench
        self._directory = directory
        self._content = b"".join(filling.contents)
        self._savable = filling.savable
        self._mib = (filled.BASE + len(self._content)) // MIB
        self._absent_seconds = bench.sized(2, 0.5)
        self._idle_seconds = bench.sized(8, 1)
        # Without a guest at work, until an engine comes to its slowest pace.
        self._rest_seconds = bench.sized(20, 3)

    def measure(self):
        with ksmfs.Mount(self._directory) as mount:
            private = memory_object("ram", self._mib)
            on_ksmfs = memory_on(mount, self._mib)
            return {
                "ksmd": {**self._without_engine(private, self._plain_ksmd),
                         **self._by_ksmd(private)},
                "ksmfs": {**self._without_engine(on_ksmfs),
                          **self._by_ksmfs(on_ksmfs, mount)}}

    @contextlib.contextmanager
    def _guest(self, options, ksm=None):
        """A guest at work, with an engine of these properties or none."""
        ksmhost.unmerge()
        if ksm:
            options = {**options, "extra": (
                *options["extra"], "-object", json.dumps({
                    "qom-type": "ksm", "id": "ksm0", "run": False, **ksm}))}
        with WorkingGuest(self._bench.qemu, self._directory, "guest",
                          self._content, hot=HOT, **options) as guest:
            guest.fill()
            yield guest

    def _wait_merged(self, merged):
        goal = instructions.SHARE_MERGED * self._savable
        deadline = time.monotonic() + PATIENCE
        while merged() < goal:
            check(time.monotonic() < deadline,
                  f"{merged()} pages are merged in {PATIENCE} s, of "
                  f"{self._savable} that can be")
            time.sleep(LOOK)

    def _while_merging(self, name, guest, start, merged):
        window = Window(guest, name)
        start()
        self._wait_merged(merged)
        return window.close()

    @staticmethod
    def _for(name, guest, seconds):
        window = Window(guest, name)
        time.sleep(seconds)
        return window.close()

    def _without_engine(self, options, more=lambda unused: {}):
        with self._guest(options) as guest:
            found = {"absent": self._for("absent", guest, self._absent_seconds),
                     **more(guest)}
            guest.verify()
            return found

    def _plain_ksmd(self, guest):
        """The kernel's own way, at its own pace and at full speed."""
        def own_pace():
            set_ksmd(pages_to_scan=100, sleep_millisecs=20)

        def full_speed():
            set_ksmd(pages_to_scan=20000, sleep_millisecs=0)

        found = {}

        def look(name):
            found[name] = self._for(name, guest, self._absent_seconds)

        own_pace()
        look("ksmd-default, converging")
        name = "ksmd-full-speed, converging"
        found[name] = self._while_merging(
            name, guest, full_speed, lambda: ksmhost.read("pages_sharing"))
        look("ksmd-full-speed, idle")
        own_pace()
        look("ksmd-default, idle")
        ksmhost.write("run", 0)
        return found

    def _by_engine(self, guest, merged, savings):
        found = {"converging": self._while_merging(
            "converging", guest, lambda: guest.set_ksm("run", True), merged)}
        # With a guest at work, to wait takes minutes.
        guest.execute("stop")
        time.sleep(self._rest_seconds)
        check_merged("engine", merged(), savings, [guest])
        self._end_of_pass(guest)
        guest.execute("cont")
        # What was merged meanwhile is mapped again by what reads it.
        rounds = guest.rounds()
        wait_for(lambda: guest.rounds() > rounds + 1,
                 "the guest to go through all of its memory again")
        found["idle"] = self._whole_passes(guest)
        guest.verify()
        return found

    def _whole_passes(self, guest):
        """From the end of a pass to that of another one."""
        window = Window(guest, "idle")
        time.sleep(self._idle_seconds)
        self._end_of_pass(guest)
        return window.close()

    def _end_of_pass(self, guest):
        before = guest.ksm()["full-scans"]
        if self._bench.quick:
            guest.execute("ksm-scan")
        while guest.ksm()["full-scans"] == before:
            time.sleep(ASK)

    def _by_ksmd(self, options):
        with Ksmtuned(self._bench.ksmtuned, self._directory,
                      Path(self._directory) / "ksmtuned.log",
                      settings="") as ksmtuned, \
                self._guest(options, {"backend": "ksmd", "rendezvous": {
                    "type": "unix", "path": str(ksmtuned.socket)}}) as guest:
            return self._by_engine(guest,
                                   lambda: ksmhost.read("pages_sharing"),
                                   sample.Savings([guest]))

    def _by_ksmfs(self, options, mount):
        with self._guest(options, {"backend": "ksmfs"}) as guest:
            return self._by_engine(guest, lambda: mount["pages_sharing"],
                                   sample.MountSavings([guest], mount))


def measure_inside(bench, directory):
    """All of it, in an emulated host that counts instructions."""
    mib = bench.sized(64, 16)
    filling = filled.twins(mib // 2, SHARE, MEAN_RUN, filled.numbered_pages())
    turn = Turn(bench, directory, filling)
    return {"mib": mib, "quick": bench.quick,
            # It depends on when the engine gets to run, by a few percent.
            "rounds": [turn.measure() for _ in bench.rounds(3)]}


CONVERGING = ("from run=on until "
              f"{instructions.SHARE_MERGED:.0%} of the twins are merged")
IDLE = "once all is merged, from the end of a pass to that of a later one"


def rows(found, wanted):
    """Rows of what measure_inside() has found."""
    for name in wanted:
        backend, phase = name.split("/")[1].split("-")
        turns = [turn[backend] for turn in found["rounds"]]
        when = CONVERGING if phase == "converging" else IDLE + (
            ", asked for a second later" if found["quick"] else
            ", at the engine's own pace")

        def ratios(window):
            return [turn[window]["each"] / turn["absent"]["each"]
                    for turn in turns]

        peers = {f"{label}, {what}": [turn[window][figure] for turn in turns]
                 for label, window in (("engine", phase), ("absent", "absent"))
                 for figure, what in (
                     ("each", "instructions a page of work"),
                     ("mapped", "pages mapped by KVM a second"),
                     ("faults", "minor faults of QEMU a second"),
                     ("seconds", "s"))}
        unit = "of the instructions without an engine"
        peers.update({f"{window.partition(',')[0]}, {unit}": ratios(window)
                      for window in turns[0] if window.endswith(f", {phase}")})
        yield row(name, unit,
                  ratios(phase),
                  f"emulated host, a KVM guest that reads {found['mib']} MiB, "
                  f"{SHARE:.0%} of the pages twins of others, and writes {HOT} "
                  "other pages all the time; instructions of all of the host "
                  f"for its work, {when}; a second is 10^9 instructions",
                  target=ROWS[name], peers=peers)
