# SPDX-License-Identifier: GPL-2.0-or-later
"""An emulated host: a Linux under TCG that has KVM, KSM and our programs.

Its processor has AMD's virtualisation, so guests in it run under real KVM
wherever the emulated host itself runs.  Nothing of the machine around it is
needed or changed.  Everything is in its initial RAM disk: Debian's kernel and
modules, this machine's Python, QEMU and ksmtuned as they were built with the
libraries that they need, and the tests.
"""

import re
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from . import initramfs, programs, writers
from .vm import VM, VMError, tail

TOP = Path(__file__).resolve().parents[3]
HOST_INIT = TOP / "tests/vm/host-init"
# What guests run, and the emulated host unless it gets another kernel.
GUEST = TOP / "build/guest"
# brd: block devices in memory, for direct I/O.
MODULES = ("kvm-amd", "ccp", "hwpoison-inject", "brd")
# Of the standard library; what tests have no use for.
LEFT_OUT = ("config-", "dist-packages", "ensurepip", "idlelib", "lib2to3",
            "pydoc_data", "site-packages", "test", "tkinter", "turtledemo",
            "unittest")
FIRMWARE = ("/usr/share/seabios/bios-256k.bin",
            "/usr/share/qemu/kvmvapic.bin",
            "/usr/share/qemu/linuxboot_dma.bin")

# What the kernel says when it has found a fault of its own.
KERNEL_FAULT = re.compile(
    r"BUG|WARNING:|Oops|general protection|KASAN|UBSAN|INFO: |"
    r"possible .* locking|kmemleak: [1-9]|Kernel panic|Call Trace")
EXIT_STATUS = re.compile(r"^# exit status (\d+)$", re.M)


class HostError(Exception):
    """The emulated host did not do what it has to; says why."""


def ksmfs_module(kernel):
    """Where the module for a KERNEL is built, a directory of guest-image's."""
    return (TOP / "build/kmod-guest" if kernel == GUEST
            else kernel / "kmod") / "ksmfs.ko"


def missing(kernel=GUEST, module=True):
    """What is not built that it needs, and the way out; None if all is.

    MODULE: whether ksmfs has to be there.
    """
    unbuilt = programs.missing(*programs.BUILT.values(),
                               *programs.HELPERS.values())
    if unbuilt:
        return unbuilt
    # The last thing that guest-image makes.
    for directory in (GUEST, kernel):
        if not (directory / "recipe").exists():
            return (f"{directory} is not complete: run scripts/guest-image, "
                    "with --kernel= for another one")
    ksmfs = ksmfs_module(kernel)
    if module and not ksmfs.exists():
        return (f"{ksmfs} is missing: run 'make kmod-guest', or 'make "
                "kmod-6.1' or for whichever kernel that is")
    return None


def libraries(binary):
    """The files that the dynamic linker maps for BINARY."""
    listing = subprocess.run(["ldd", binary], stdout=subprocess.PIPE,
                             stderr=subprocess.DEVNULL, text=True)
    return set(re.findall(r"(/\S+) \(0x", listing.stdout))


def stripped(binary):
    """Its contents less debugging information, most of which is that."""
    with tempfile.NamedTemporaryFile() as copy:
        subprocess.run(["strip", "-o", copy.name, binary], check=True)
        return Path(copy.name).read_bytes()


class Image:
    """The initial RAM disk of an emulated host, in which COMMAND runs.

    It has this checkout's tests, and what is in the directories BROUGHT.
    """

    def __init__(self, kernel, command, brought):
        self._archive = initramfs.Archive()
        self._present = set()
        initramfs.add_busybox(self._archive, GUEST / "busybox", HOST_INIT)
        initramfs.add_modules(self._archive, kernel / "linux", MODULES)
        ksmfs = ksmfs_module(kernel)
        if ksmfs.exists():
            self._archive.file("lib/modules/ksmfs.ko", ksmfs.read_bytes())
        self._add_python()
        for name in FIRMWARE:
            self._add(Path(name))
        self._add_checkout()
        for directory in brought:
            for path in filter(Path.is_file, directory.rglob("*")):
                self._add(path, path.relative_to(TOP))
        self._archive.file("command", command.encode())

    def contents(self):
        return self._archive.contents()

    def _add(self, path, name=None, data=None):
        """A file of this machine, at its own path or at NAME."""
        name = str(name or path).lstrip("/")
        if name not in self._present:
            self._present.add(name)
            status = path.stat()
            # By the time of its source, Python tells compiled code from old.
            self._archive.file(name, data or path.read_bytes(),
                               status.st_mode & 0o777, int(status.st_mtime))

    def _add_program(self, path, name=None, data=None):
        self._add(path, name, data)
        for library in libraries(path):
            self._add(Path(library))

    def _add_python(self):
        self._add_program(Path(sys.executable).resolve(), "/bin/python3")
        library = Path(sysconfig.get_path("stdlib"))
        for path in library.rglob("*"):
            inside = path.relative_to(library)
            if inside.parts[0].startswith(LEFT_OUT) or not path.is_file():
                continue
            if path.suffix == ".so":
                self._add_program(path)
            else:
                self._add(path)

    def _add_checkout(self):
        for path in (TOP / "tests").rglob("*"):
            if path.suffix == ".py" or path.name == "guest-init":
                self._add(path, path.relative_to(TOP))
            elif path.suffix == ".S":
                # There is no assembler there.
                self._add(path, path.relative_to(TOP).with_suffix(".bin"),
                          writers.assemble(path))
        for path in (*programs.BUILT.values(), *programs.HELPERS.values()):
            self._add_program(path, path.relative_to(TOP), stripped(path))
        self._add(TOP / "scripts/run-demo", "scripts/run-demo")
        for name in ("vmlinuz", "initrd.img"):
            self._add(GUEST / name, f"build/guest/{name}")


def kernel_faults(console):
    return [line for line in console.read_text(errors="replace").splitlines()
            if KERNEL_FAULT.search(line)]


def follow(vm, output, seconds, show, disturb):
    """Shows what appears in OUTPUT until the host is off; its exit status."""
    deadline = time.monotonic() + seconds
    shown = 0
    while True:
        ended = vm.process.poll() is not None
        text = (output.read_text(errors="replace").replace("\r", "")
                if output.exists() else "")
        whole = text if ended else text[:text.rfind("\n") + 1]
        show(whole[shown:])
        shown = len(whole)
        if ended:
            break
        if time.monotonic() > deadline:
            vm.log.write_text("\n".join(
                vm.qmp.human(f"info {what}") for what in
                ("registers", "lapic", "pic", "cpus")))
            raise HostError(f"not over after {seconds} s; its console:\n"
                            + tail(vm.console, 30))
        disturb(vm)
    status = EXIT_STATUS.findall(text)
    if not status:
        raise HostError("it went off before the command ended; its console:\n"
                        + tail(vm.console, 30))
    return int(status[-1])


def node_options(nodes, memory_mib, processors):
    """QEMU's options for so many NUMA nodes, each with a part of all."""
    options = []
    for node in range(nodes):
        options += ["-object", f"memory-backend-ram,id=node{node},"
                    f"size={memory_mib // nodes}M",
                    "-numa", ",".join([
                        f"node,nodeid={node},memdev=node{node}",
                        *(f"cpus={cpu}" for cpu in range(processors)
                          if cpu % nodes == node)])]
    return options


def run(command, directory, *, kernel=GUEST, qemu=programs.BUILT["qemu"],
        memory_mib=3072, processors=1, nodes=0, seconds=600, count=False,
        brought=(), show=print, disturb=lambda vm: time.sleep(0.2)):
    """Runs a shell COMMAND in a new emulated host; returns its exit status.

    KERNEL is the directory of a kernel that guest-image made.  With more than
    one of its PROCESSORS, TCG's emulation of AMD's virtualisation lets guests
    and hosts crash: only without guests.  NODES are NUMA nodes, where it has
    any.  With COUNT, its clocks count instructions: each takes a nanosecond,
    and to wait takes no time outside.  The files in the directories BROUGHT, of
    this checkout, are there, too.  SHOW gets the output as it comes, between
    calls of DISTURB with the host's VM.
    Console and output stay in DIRECTORY.  HostError where the host fails, or
    its kernel finds a fault of its own.
    """
    initrd, output = directory / "initrd.img", directory / "output"
    output.unlink(missing_ok=True)
    initrd.write_bytes(Image(kernel, command, brought).contents())
    vm = VM(qemu, directory, "host", memory_mib=memory_mib,
            accel="tcg,thread=single" if count else "tcg,thread=multi",
            # Its memory is nothing for a KSM that something else tests here.
            machine="pc,mem-merge=off",
            cpu="max,+svm,+npt", kernel=kernel / "vmlinuz", initrd=initrd,
            # A periodic tick: TCG now and then loses the interrupt of a timer
            # that fires once, and all would wait for it for ever.
            append="loglevel=7 nohz=off highres=off "
            # One busy processor, and a slow one: a thread of low priority may
            # wait for half a minute to get on, and RCU with it.
            "rcupdate.rcu_cpu_stall_timeout=150",
            extra=("-serial", f"file:{output}", "-smp", str(processors),
                   *node_options(nodes, memory_mib, processors),
                   *(("-icount", "shift=0,sleep=off") if count else ())))
    try:
        with vm:
            status = follow(vm, output, seconds, show, disturb)
    except VMError as error:
        raise HostError(str(error)) from error
    finally:
        initrd.unlink()
    faults = kernel_faults(vm.console)
    if faults:
        raise HostError(f"its kernel found a fault, see {vm.console}:\n"
                        + "\n".join(faults[:10]))
    return status
