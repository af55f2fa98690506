# SPDX-License-Identifier: GPL-2.0-or-later
"""Linux guests that verify what they write, each with a busy engine.

What they do is in tests/vm/guest-init.
"""

import contextlib
import json
import re
import subprocess
from pathlib import Path

from . import cases, ksmfs
from .checks import PATIENCE, check, check_equal, wait_for
from .ksmtuned import Ksmtuned
from .vm import GUEST_UP, VM

TOP = Path(__file__).resolve().parents[3]
GUEST = TOP / "build/guest"
BOOT_SECONDS = 2 * PATIENCE


class Guest(VM):
    """A guest that verifies what it writes, with a busy engine."""

    def __init__(self, bed, name, *, ksm=True, workload="checksum",
                 number=0, append="", extra=(), memory="", **options):
        # Movable: else the guest can't give plugged memory back.
        append = (f"ksm.id={number} ksm.workload={workload} "
                  f"memhp_default_state=online_movable {append}")
        if ksm:
            extra = ("-object", json.dumps(bed.ksm_properties()), *extra)
        if memory:
            extra = ("-m", memory, *extra)
        self._more_checked = bed.more_checked
        super().__init__(bed.arguments.qemu, bed.directory, name,
                         accel=bed.arguments.accel, memory_mib=bed.memory_mib,
                         kernel=GUEST / "vmlinuz",
                         initrd=GUEST / "initrd.img", append=append,
                         extra=extra, **options)

    def wait_busy(self, seconds=BOOT_SECONDS):
        """Waits until it verifies files, and the engine is at work."""
        wait_for(lambda: self.check() or self.checked() > 0,
                 f"{self.name} to verify files", seconds)
        wait_for(lambda: self.check() or self.tracked() > 0,
                 f"the engine of {self.name} to track pages")

    def said(self, text):
        """How often it was on its console."""
        return self.console_text().count(text)

    def checked(self):
        """The last count since it booted; Failure if a file was wrong."""
        text = self.console_text()
        wrong = re.search(r"MISMATCH.*", text)
        check(not wrong, f"{self.name}: {wrong and wrong[0]}")
        for sign in ("Kernel panic", "BUG:", "Oops", "segfault"):
            check(sign not in text, f"{self.name}: {sign} on its console")
        counts = re.findall(r"^checked (\d+)$",
                            text.rpartition(GUEST_UP)[2], re.M)
        return int(counts[-1]) if counts else 0

    def wait_more_checked(self, after=None):
        """Its count has to go on growing, from what it is or from AFTER."""
        before = self.checked() if after is None else after
        wanted = before + self._more_checked
        wait_for(lambda: self.check() or self.checked() >= wanted,
                 f"{self.name} to verify {wanted} files")

    def tracked(self):
        return self.ksm()["figures"]["pages-tracked"]

    def wait_merged(self, pages):
        """Waits until more than so many of its pages are merged."""
        wait_for(lambda: self.check()
                 or self.ksm().get("pages-sharing", 0) > pages,
                 f"{pages} pages of {self.name} to be merged")

    def wait_engine_works(self):
        """The engine goes on: tracks pages, and ends passes."""
        scans = self.ksm()["full-scans"]
        wait_for(lambda: self.ksm()["full-scans"] > scans + 1
                 and self.tracked() > 0
                 and self.ksm()["state"] in ("running", "idle"),
                 f"the engine of {self.name} to go on ({self.ksm()})")

    def threads(self):
        names = []
        for path in Path(f"/proc/{self.pid}/task").glob("*/comm"):
            with contextlib.suppress(OSError):
                names.append(path.read_text().strip())
        return names

    def wait_migration(self, wanted=("completed",), patience=PATIENCE):
        def over():
            info = self.execute("query-migrate")
            status = info.get("status")
            check(status != "failed",
                  f"migration failed: {info.get('error-desc')}")
            return status in wanted
        wait_for(over, f"migration to be {wanted}", patience)

    def run_job(self, command, job, arguments):
        self.execute(command, {"job-id": job, **arguments})

        def over():
            for info in self.execute("query-jobs"):
                if info["id"] == job and info["status"] == "concluded":
                    check("error" not in info,
                          f"{job}: {info.get('error')}")
                    return True
            return False
        wait_for(over, f"job {job}")
        self.execute("job-dismiss", {"id": job})

    def wait_running(self):
        """Waits until it has received all that migrates into it."""
        wait_for(lambda: self.execute("query-status")["status"] == "running",
                 f"{self.name} to run on")

    def size_seen(self):
        return self.execute("query-balloon")["actual"] >> 20


class Bed(cases.Bed):
    """What a case needs: also a ksmtuned, and guests to be ended."""

    # Properties of the guests' ksm objects.
    ksm = {"sleep-millisecs": 10, "max-cpu-percent": 100,
           "huge-split-threshold": 1}
    memory_mib = 192
    # By so much the count of a guest has to grow afterwards: more than all of
    # its files.
    more_checked = 40

    @classmethod
    def add_options(cls, parser):
        super().add_options(parser)
        parser.add_argument("--accel", default="tcg,thread=multi",
                            help="of the guests: their QEMU's -accel")

    @staticmethod
    def prepare():
        # An emulated host has the image, and not what makes it.
        script = TOP / "scripts/guest-image"
        if script.exists():
            subprocess.run([script], check=True)

    def __init__(self, arguments, directory, stack):
        super().__init__(arguments, directory, stack)
        self.ksmtuned = self.enter(Ksmtuned(
            arguments.ksmtuned, directory, directory / "ksmtuned.log"))

    def ksm_properties(self):
        return {"qom-type": "ksm", "id": "ksm0", **self.ksm,
                "rendezvous": {"type": "unix",
                               "path": str(self.ksmtuned.socket)}}

    def start(self, name, **options):
        return self.enter(Guest(self, name, **options))

    def busy(self, name="guest", **options):
        guest = self.start(name, **options)
        guest.wait_busy()
        return guest

    def more_memory(self, name, mib):
        """Properties of an object, memory to be plugged in."""
        return {"qom-type": "memory-backend-ram", "id": name,
                "size": mib << 20}

    def socket(self, name):
        return f"unix:{self.directory}/{name}.sock"


class KVMBed(Bed):
    """Guests run under KVM, in an emulated host."""

    # All is emulated: the engines leave time to the guests.
    ksm = {**Bed.ksm, "sleep-millisecs": 100, "max-cpu-percent": 20}
    memory_mib = 96
    # With several guests, all of their files would take too long.
    more_checked = 8
    fill_mib = 8

    @classmethod
    def add_options(cls, parser):
        super().add_options(parser)
        parser.set_defaults(accel="kvm")

    def filled(self, number, workload="idle"):
        """So many guests, up, and with memory that all of them have."""
        guests = [self.start(f"guest-{n}", number=n, workload=workload,
                             append=f"ksm.fill={self.fill_mib}")
                  for n in range(number)]
        for guest in guests:
            guest.wait_console("guest filled", BOOT_SECONDS)
        return guests


class StockBed(cases.Bed):
    """Guests run under KVM, and have no engine."""

    programs = ("qemu",)
    memory_mib = KVMBed.memory_mib
    more_checked = KVMBed.more_checked

    @classmethod
    def add_options(cls, parser):
        super().add_options(parser)
        parser.add_argument("--accel", default="kvm", help="of the guests")


class KsmfsBed(KVMBed):
    """Guests have their RAM on a mount of ksmfs, in a file by their name."""

    # All memory is tracked from the start, so that each pass costs faults.
    ksm = {**KVMBed.ksm, "sleep-millisecs": 500}

    def __init__(self, arguments, directory, stack):
        super().__init__(arguments, directory, stack)
        self.mount = self.enter(ksmfs.Mount(directory))

    def more_memory(self, name, mib):
        return {"qom-type": "memory-backend-file", "id": name,
                "size": mib << 20, "share": True,
                "mem-path": str(self.mount.path / name)}

    def start(self, name, *, machine="pc", extra=(), **options):
        memory = {**self.more_memory(name, self.memory_mib), "id": "ram"}
        return super().start(name, machine=f"{machine},memory-backend=ram",
                             extra=("-object", json.dumps(memory), *extra),
                             **options)


def ram_on_ksmfs(guest, name="ram"):
    """What query-ksm says of a RAMBlock, which has to be on ksmfs."""
    found, = (block for block in guest.ksm()["ramblocks"]
              if block["name"].endswith(name))
    check_equal(found.get("backend"), "ksmfs", f"backend of {found}")
    return found
