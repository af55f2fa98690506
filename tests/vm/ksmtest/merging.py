# SPDX-License-Identifier: GPL-2.0-or-later
"""Guests that boot, come to rest and are merged: by the engine, or by ksmd.

The engine has ksmd merge, or ksmfs.  All ways are measured alike.  Nothing
merges until the guests have come to rest; the memory that they have then is
what savings are counted from, and that moment is where CPU time starts.
Merging is over when the savings have come to rest too.
"""

import contextlib
import dataclasses
import json
import time
from pathlib import Path

from . import ksmhost, sample
from .terminal import bar, bold, count, yellow
from .vm import GUEST_UP, VM

MIB = 1 << 20
PAGE = sample.PAGE

BOOT_SECONDS = 180
SUM_SECONDS = 60
# Savings have come to rest that move by no more than this part of them.
TOLERANCE = 0.005

# Never a rest for ksmd, and yet it obeys at once.
PLAIN_PAGES_TO_SCAN = 20000
# ksmd needs a scan for checksums, one to meet twins, and one to be sure.
PLAIN_SCANS = 3


class MergingError(Exception):
    """Guests or savings did not get where they should; says where they are."""


@dataclasses.dataclass
class Setup:
    """The guests, and how long merging them may take."""

    qemu: Path
    accel: str
    guests: int
    memory_mib: int
    kernel: Path
    initrd: Path
    append: str
    output: Path        # consoles and logs
    seconds: int
    verify: bool = False    # what the guests' files hold, once merged


class Merging:
    """One way of merging the guests; run() does all of it."""

    name = None         # of files and figures
    title = None        # for people
    flat_seconds = None     # savings that are flat for so long are at rest
    steady_seconds = None   # for so long is CPU time taken after that
    # From one reading to the next, alike for all: a map of memory in small
    # pieces takes some ms to read, and ksmd is done in about a second.
    sample_seconds = 0.2
    machine = "pc,mem-merge=on"

    def __init__(self, setup, terminal):
        self.setup = setup
        self.terminal = terminal
        self.vms = []
        self.series = sample.Series()
        self.savings = None
        self._ksmd = ksmhost.ksmd_pid()
        self._cpu_start = {}
        self._said = None
        self._part = 0

    # The ways differ in these.

    def vm_options(self):
        """More arguments for QEMU."""
        return ()

    def make_savings(self):
        """Savings that count from now on."""
        return sample.Savings(self.vms)

    def counter(self, name):
        """A figure of the host's merging, by KSM's name."""
        return ksmhost.read(name)

    def start_merging(self):
        raise NotImplementedError

    def stop_merging(self):
        """Ends merging; the guests are still there."""

    def cpu_now(self):
        """CPU seconds by name; None where they can't be read."""
        return {"ksmd": sample.cpu_seconds(self._ksmd) if self._ksmd else None}

    def columns(self):
        """Figures for the line that is shown each second."""
        raise NotImplementedError

    def work_done(self):
        """The part, of 1, of the memory that has been gone through."""
        raise NotImplementedError

    def flat_for(self):
        """Seconds for which nothing more has been saved."""
        return self.series.flat_for(TOLERANCE)

    def is_steady(self):
        return self.work_done() >= 1 and self.flat_for() >= self.flat_seconds

    # They have these in common.

    def run(self):
        """Returns a dictionary of figures; raises VMError, MergingError."""
        self.terminal.say(bold(self.title))
        with contextlib.ExitStack() as stack:
            self._boot(stack)
            held = self._sums()
            self._settle()
            self._cpu_start = self.cpu_now()
            # Time begins here, and not with the first reading after it.
            self.series.add(0, dict.fromkeys(self._cpu_start, 0))
            self.start_merging()
            self._merge()
            result = self.result()
            result.update(self._steady())
            self.stop_merging()
            self._verify(held)
        return result

    def check(self):
        """Raises an error if something that has to live has died."""
        for vm in self.vms:
            vm.check()

    def _boot(self, stack):
        setup = self.setup
        workload = "ksm.workload=sum" if setup.verify else ""
        for number in range(setup.guests):
            vm = VM(setup.qemu, setup.output, f"{self.name}-{number}",
                    accel=setup.accel, machine=self.machine,
                    memory_mib=setup.memory_mib, kernel=setup.kernel,
                    initrd=setup.initrd,
                    append=f"ksm.id={number} {workload} {setup.append}",
                    extra=self.vm_options())
            stack.callback(vm.stop)
            vm.start()
            self.vms.append(vm)
        fills = "ksm.fill=" in setup.append or "ksm.unique=" in setup.append
        ready = "guest filled" if fills else GUEST_UP
        start = time.monotonic()
        up = 0
        while up < setup.guests:
            time.sleep(1)
            self.check()
            up = sum(vm.console_has(ready) for vm in self.vms)
            elapsed = time.monotonic() - start
            if up < setup.guests and elapsed > BOOT_SECONDS:
                raise MergingError(f"{up} of {setup.guests} guests are up after "
                                   f"{BOOT_SECONDS} s; see {setup.output}")
            self.terminal.progress(f"{bar(up / setup.guests)} {elapsed:3.0f} s"
                                   f"  guests up {up}/{setup.guests}")

    def _sums(self):
        """What the guests say that their files hold, if that is verified.

        They are asked by a key, and write nothing while they wait for it.
        """
        if not self.setup.verify:
            return []
        before = [len(vm.file_sums()) for vm in self.vms]
        for vm in self.vms:
            vm.press("ret")
        deadline = time.monotonic() + SUM_SECONDS
        while any(len(vm.file_sums()) == known
                  for vm, known in zip(self.vms, before)):
            self.check()
            if time.monotonic() > deadline:
                raise MergingError("not all guests have read their files in "
                                   f"{SUM_SECONDS} s; see {self.setup.output}")
            time.sleep(0.1)
        return [vm.file_sums()[-1] for vm in self.vms]

    def _verify(self, held):
        for vm, before, now in zip(self.vms, held, self._sums()):
            if now != before:
                raise MergingError(f"{vm.name}: its files have the checksum "
                                   f"{now}, and had {before} before they were "
                                   "merged")

    def _settle(self):
        """Waits until the guests touch no more memory."""
        rest = sample.Series()
        while rest.flat_for(0.001) < 2 and rest.seconds < 30:
            time.sleep(0.5)
            self.check()
            self.savings = self.make_savings()
            rest.add(self.savings.before, {})
        if not self.savings.before:
            raise MergingError("no guest memory in /proc/PID/smaps at the "
                               "addresses that 'info ramblock' tells")
        self.terminal.say(
            f"guest memory in use: {self.savings.before / MIB:.1f} MiB")

    def _merge(self):
        while True:
            self._read()
            if self.is_steady():
                return
            if self.series.seconds > self.setup.seconds:
                self.terminal.say(yellow(
                    f"savings not at rest after {self.setup.seconds} s"))
                return
            time.sleep(self.sample_seconds)

    def _read(self):
        """Takes a reading, and shows it once a second."""
        self.check()
        cpu = {name: None if now is None else now - self._cpu_start[name]
               for name, now in self.cpu_now().items()}
        self.series.add(self.savings.saved(), cpu)
        moment, saved, cpu = self.series.readings[-1]
        if self._said and moment - self._said[0] < 1:
            return
        before = self._said or self.series.readings[0]
        elapsed = moment - before[0] or 1
        self._said = self.series.readings[-1]
        self.terminal.progress("  ".join([
            f"{bar(self._progress())} {self.series.seconds:3.0f} s",
            f"guests up {len(self.vms)}", *self.columns(),
            bold(f"saved {saved / MIB:.1f} MiB"),
            *(f"{name} {100 * (cpu[name] - before[2][name]) / elapsed:.1f}%"
              for name in ("engine", "ksmd") if cpu.get(name) is not None)]))

    def _progress(self):
        """How far all is: most of it is work, the rest is to see it done."""
        work = min(1, self.work_done())
        rest = min(1, self.flat_for() / self.flat_seconds) if work == 1 else 0
        self._part = max(self._part, 0.7 * work + 0.3 * rest)
        return self._part

    def _steady(self):
        """CPU time that goes on being used once all is merged."""
        self._part = 1
        start = self.series.readings[-1]
        while self.series.readings[-1][0] < start[0] + self.steady_seconds:
            time.sleep(0.5)
            self._read()
        end = self.series.readings[-1]
        elapsed = end[0] - start[0]
        percent = {name: None if end[2][name] is None
                   else 100 * (end[2][name] - start[2][name]) / elapsed
                   for name in end[2]}
        return {"steady_seconds": elapsed,
                "steady_cpu_percent": None if None in percent.values()
                else sum(percent.values()),
                "steady_cpu_percent_of": percent}

    def result(self):
        """Figures, now that the savings have come to rest."""
        _, saved, cpu = self.series.readings[-1]
        after, huge_after = self.savings.used()
        figures = {
            "bytes_before": self.savings.before,
            "bytes_after": after,
            "bytes_saved": saved,
            "available_bytes_saved": self.savings.available(),
            "process_bytes_saved": self.savings.process_saved(),
            "huge_bytes_before": self.savings.huge_before,
            "huge_bytes_after": huge_after,
            "pages_sharing": self.counter("pages_sharing"),
            "pages_shared": self.counter("pages_shared"),
            "seconds": self.series.seconds,
            "cpu_seconds": cpu,
            "curve": [
                {"seconds": moment, "bytes_saved": bytes_saved,
                 "cpu_seconds": cpu}
                for moment, bytes_saved, cpu in self.series.curve(TOLERANCE)],
        }
        for percent in (85, 95, 97):
            figures[f"to_{percent}pct"] = self.up_to(saved * percent / 100)
        return figures

    def up_to(self, saved):
        """Seconds and CPU seconds until so much was saved; None if never."""
        reached = self.series.reached(saved) if saved > 0 else None
        return reached and {"seconds": reached[0], "cpu_seconds": reached[1]}


class EngineMerging(Merging):
    """A ksm object in each QEMU."""

    name = "engine"
    flat_seconds = 5
    steady_seconds = 10

    def __init__(self, setup, terminal, backend):
        super().__init__(setup, terminal)
        self._backend = backend
        self._infos = []
        self._twins = sample.Series()

    def ksm_properties(self):
        # Not running: it stands by until the guests have come to rest.
        return {"qom-type": "ksm", "id": "ksm0", "run": False,
                "backend": self._backend}

    def vm_options(self):
        return ("-object", json.dumps(self.ksm_properties()))

    def start_merging(self):
        for vm in self.vms:
            vm.set_ksm("run", True)

    def cpu_now(self):
        self._infos = [vm.ksm() for vm in self.vms]
        # With nothing merged, as by backend null, savings are flat from the
        # start: what is known to be alike has to come to rest as well.
        self._twins.add(PAGE * (self._total("pages-twins")
                                + self._total("pages-zero")), {})
        return {"engine": sum(info["cpu-ns"] for info in self._infos) / 1e9}

    def _total(self, figure):
        return sum(info["figures"][figure] for info in self._infos)

    def _blocks(self):
        return [block for info in self._infos for block in info["ramblocks"]]

    def merged(self):
        """Pages of which others have become a part."""
        return self.counter("pages_sharing") or 0

    def columns(self):
        return [f"tracked {count(self._total('pages-tracked'))}",
                f"hashed {count(self._total('pages-hashed'))}",
                f"twins {count(self._total('pages-twins'))}",
                f"merged {count(self.merged())}"]

    def work_done(self):
        return self._total("pages-hashed") * PAGE / self.savings.before

    def flat_for(self):
        return min(super().flat_for(), self._twins.flat_for(TOLERANCE))

    def is_steady(self):
        # Pages written often are never hashed, so not all has to be; but
        # then it takes more to believe that there is no more to come.
        patience = (1 if self.work_done() >= 1 else 3) * self.flat_seconds
        return (self._total("pages-hashed") > 0
                and self.flat_for() >= patience)

    def result(self):
        backends = {block["backend"] for block in self._blocks()
                    if "backend" in block}
        limits = sorted({limit["message"] for info in self._infos
                         for limit in info["limits"]})
        for message in limits:
            self.terminal.say(yellow(f"limit: {message}"))
        return {
            **super().result(),
            "backend": (backends.pop() if len(backends) == 1
                        else self._backend),
            "limits": limits,
            "figures": {name: self._total(name)
                        for name in self._infos[0]["figures"]},
            "metadata_bytes": sum(info["metadata-bytes"]
                                  for info in self._infos),
        }


class KsmtunedMerging(EngineMerging):
    """Engines that ksmtuned tells of each other; ksmd merges, if anything."""

    title = "With the engine: a ksm object in each QEMU, and ksmtuned"

    def __init__(self, setup, terminal, backend, ksmtuned):
        super().__init__(setup, terminal, backend)
        self._ksmtuned = ksmtuned

    def ksm_properties(self):
        return {**super().ksm_properties(),
                "rendezvous": {"type": "unix",
                               "path": str(self._ksmtuned.socket)}}

    def check(self):
        super().check()
        self._ksmtuned.check()

    def cpu_now(self):
        return {**super().cpu_now(), "ksmtuned": self._ksmtuned.cpu_seconds(),
                **Merging.cpu_now(self)}

    def flat_for(self):
        # Told, and not yet merged: more is to come, however long it takes.
        waiting = PAGE * self._ksmtuned.stats().get("demand_waiting_pages", 0)
        if waiting > TOLERANCE * self.savings.before:
            return 0
        return super().flat_for()

    def result(self):
        return {**super().result(), "ksmtuned": self._ksmtuned.stats()}


class KsmfsMerging(EngineMerging):
    """Engines of guests whose memory is on a mount of ksmfs.

    They need no ksmtuned and no ksmd: what merging takes is all done by their
    iothreads, in the kernel too, and so in the CPU time of the engine.
    """

    title = "With the engine: guest memory on ksmfs, a ksm object in each QEMU"
    machine = "pc,mem-merge=on,memory-backend=ram"

    def __init__(self, setup, terminal, mount):
        super().__init__(setup, terminal, "ksmfs")
        self._mount = mount

    def vm_options(self):
        # A directory: the file has no name, and goes with its QEMU.
        return ("-object", f"memory-backend-file,id=ram,share=on,"
                f"size={self.setup.memory_mib}M,mem-path={self._mount.path}",
                *super().vm_options())

    def make_savings(self):
        return sample.MountSavings(self.vms, self._mount)

    def counter(self, name):
        return self._mount[name]

    def merged(self):
        return super().merged() + self.counter("ksm_zero_pages")

    def result(self):
        results = [block["merge-results"] for block in self._blocks()
                   if "merge-results" in block]
        return {**super().result(),
                "ksm_zero_pages": self.counter("ksm_zero_pages"),
                "merge_results": {name: sum(r[name] for r in results)
                                  for name in results[0]} if results else {}}


class PlainMerging(Merging):
    """The kernel's own way: ksmd reads all memory, as fast as it can."""

    name = "plain"
    title = "Plain ksmd at full speed over all guest memory"
    flat_seconds = 3
    steady_seconds = 3

    def start_merging(self):
        if ksmhost.read("advisor_mode") not in (None, "none"):
            ksmhost.write("advisor_mode", "none")
        ksmhost.write("sleep_millisecs", 0)
        ksmhost.write("pages_to_scan", PLAIN_PAGES_TO_SCAN)
        self._scans_start = ksmhost.read("full_scans")
        ksmhost.write("run", 1)

    def stop_merging(self):
        ksmhost.write("run", 0)

    def columns(self):
        return [f"full scans {self._scans()}",
                f"merged {count(self.counter('pages_sharing'))}"]

    def work_done(self):
        return self._scans() / PLAIN_SCANS

    def _scans(self):
        return ksmhost.read("full_scans") - self._scans_start
