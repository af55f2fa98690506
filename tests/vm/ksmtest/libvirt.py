# SPDX-License-Identifier: GPL-2.0-or-later
"""Hosts that run guests by libvirt: the distribution's, and what we install.

Each is a set of namespaces, with files of its own in /etc, /run and /var, a
made-up KSM, and processes that all end with it.  So several can run side by
side, and nothing of the machine around them is touched.
"""

import json
import os
import subprocess
from pathlib import Path
from xml.sax.saxutils import quoteattr

from . import cases
from .checks import PATIENCE, Failure, check, check_equal, wait_for
from .host import KSM_FILES
from .programs import BUILD
from .vm import die_with_parent, whole_lines

LIBVIRT = BUILD / "libvirt"
KERNEL, INITRD = "/run/guest/vmlinuz", "/run/guest/initrd.img"
# Who QEMU runs as, by what Debian's package sets up.
USER = "libvirt-qemu"
# Of a guest that runs Linux.
LINUX_MIB = 128

# The first process there, sh, reaps all that outlive their parents: libvirtd
# waits until they are gone.
SETUP = r"""
set -e
name=$1 own=$2 installed=$3 libvirt=$4 qemu=$5 guest=$6
hostname "$name"
mount -t tmpfs -o mode=0755 none "$own/tmp"
mkdir "$own/tmp/upper" "$own/tmp/work"
mount -t overlay -o "lowerdir=$installed/usr:$libvirt/usr:/usr" none /usr
mount -t overlay -o "lowerdir=$installed/etc:$libvirt/etc:/etc" \
    -o "upperdir=$own/tmp/upper,workdir=$own/tmp/work" none /etc
for d in /run /var/lib /var/cache; do
    mount -t tmpfs -o mode=0755 none $d
done
mount --bind "$own/log" /var/log
mkdir -m 0755 /run/lock /run/ksmtuned /run/qemu /run/guest /run/ksm
mount --bind "${qemu%/*}" /run/qemu
cp "$guest/vmlinuz" "$guest/initrd.img" /run/guest
for group in libvirt-qemu kvm; do
    getent group $group > /dev/null || groupadd --system $group
done
getent passwd libvirt-qemu > /dev/null ||
    useradd --system --no-create-home -g libvirt-qemu -G kvm libvirt-qemu
# As udev has it.
if mknod "$own/tmp/kvm" c 10 232 && [ -e /dev/kvm ]; then
    chown root:kvm "$own/tmp/kvm"
    chmod 0660 "$own/tmp/kvm"
    mount --bind "$own/tmp/kvm" /dev/kvm
fi
touch "$own/tmp/ready"
sleep infinity
exit
"""

# Two hosts have a console's file in common: each would remember its owner.
QEMU_CONF = """
remember_owner = 0
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
"""

LIBVIRTD_CONF = """
unix_sock_dir = "{own}"
auth_unix_rw = "none"
auth_unix_ro = "none"
host_uuid = "{uuid}"
log_outputs = "3:file:{own}/log/libvirtd.log"
"""


def missing():
    """What keeps us from making such hosts, and the way out, or None."""
    if os.getuid():
        return "mounts and namespaces: run as root"
    if not (LIBVIRT / "recipe").exists():
        return f"{LIBVIRT} is missing: run 'make libvirt'"
    return None


class VirshError(Failure):
    """virsh has failed; says what it said."""


class Host:
    """Context manager; its socket and logs are in DIRECTORY/NAME.

    QEMU_CONF: more lines of libvirt's qemu.conf.  REAL_KSM: the machine's KSM
    is not hidden; hold a ksmhost.KSMHost around it.  BEFORE: what the shell
    does there before libvirtd starts.
    """

    def __init__(self, name, directory, qemu, *, number=1, qemu_conf="",
                 real_ksm=False, before=":"):
        self.name = name
        self.own = Path(directory) / name
        self.socket = self.own / "libvirt-sock"
        self.uri = f"qemu+unix:///system?socket={self.socket}"
        self.emulator = f"/run/qemu/{Path(qemu).name}"
        self._qemu = Path(qemu)
        self._uuid = f"0fe6a9ce-7a3b-4cf0-a8d9-{number:012}"
        self._qemu_conf = QEMU_CONF + qemu_conf
        self._real_ksm = real_ksm
        self._before = before
        self._installed = self.own / "installed"
        self._shell = None
        self._daemons = []
        self._libvirtd = None
        self._inside = None

    def __enter__(self):
        try:
            for part in "tmp", "log":
                (self.own / part).mkdir(parents=True)
            install(self._installed)
            self._enter_namespaces()
            self._make_ksm()
            self.write("/etc/libvirt/qemu.conf", self._qemu_conf)
            self.write("/etc/libvirt/libvirtd.conf", LIBVIRTD_CONF.format(
                own=self.own, uuid=self._uuid))
            self.run("sh", "-c", self._before)
            self._start_ksmtuned()
            self.start_libvirtd()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *unused):
        if self._shell:
            # With it all that runs there: --kill-child.
            self._shell.kill()
            for process in self._shell, *self._daemons:
                process.wait()

    def _enter_namespaces(self):
        self._shell = subprocess.Popen(
            ["unshare", "--mount", "--propagation=private", "--uts", "--pid",
             "--fork", "--kill-child", "--mount-proc", "sh", "-c", SETUP,
             "host", self.name, self.own, self._installed, LIBVIRT,
             self._qemu, BUILD / "guest"],
            stdin=subprocess.DEVNULL, preexec_fn=die_with_parent)
        children = Path(f"/proc/{self._shell.pid}/task/{self._shell.pid}"
                        "/children")
        first, = wait_for(lambda: children.read_text().split(),
                          f"the first process of {self.name}")
        self._inside = Path(f"/proc/{first}/root")
        wait_for(lambda: self._shell.poll() is not None or
                 self.path(self.own / "tmp/ready").exists(), f"{self.name}")
        check(self._shell.poll() is None,
              f"{self.name}: its namespaces can't be set up")
        self._nsenter = ["nsenter", f"--target={first}", "--mount", "--uts",
                         "--pid", "--"]

    def _make_ksm(self):
        if self._real_ksm:
            return
        for name, value in KSM_FILES.items():
            self.write(f"/run/ksm/{name}", f"{value}\n")
        # What libvirt knows of, beside that.
        for name in "pages_unshared", "pages_volatile":
            self.write(f"/run/ksm/{name}", "0\n")
        self.run("mount", "--bind", "/run/ksm", "/sys/kernel/mm/ksm")

    def _start(self, log, *command):
        with open(self.own / f"log/{log}.log", "wb") as file:
            process = subprocess.Popen(
                [*self._nsenter, *command], stdin=subprocess.DEVNULL,
                stdout=file, stderr=file, preexec_fn=die_with_parent)
        self._daemons.append(process)
        return process

    def _start_ksmtuned(self):
        self._start("ksmtuned", "ksmtuned", f"--group={USER}", "--debug")
        wait_for(self.path("/run/ksmtuned/engine.sock").exists,
                 f"ksmtuned of {self.name}")

    def start_libvirtd(self):
        self._libvirtd = self._start("libvirtd.out", "libvirtd")
        wait_for(lambda: self._libvirtd.poll() is not None or
                 self.socket.exists(), f"libvirtd of {self.name}")
        check(self._libvirtd.poll() is None,
              f"libvirtd ended: {self.log('libvirtd')}")

    def stop_libvirtd(self):
        """Its guests run on."""
        self.run("kill", self.read("/run/libvirtd.pid").strip())
        check_equal(self._libvirtd.wait(PATIENCE), 0, "status of libvirtd")

    def path(self, path):
        """What PATH is there, as seen from here."""
        return self._inside / str(path).lstrip("/")

    def write(self, path, text):
        self.path(path).parent.mkdir(parents=True, exist_ok=True)
        self.path(path).write_text(text)

    def read(self, path):
        return self.path(path).read_text(errors="replace")

    def run(self, *command, stdin=None, status=0):
        """What COMMAND says there; Failure if it ends otherwise."""
        process = subprocess.run(
            [*self._nsenter, *map(str, command)], input=stdin, text=True,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            timeout=2 * PATIENCE)
        if process.returncode != status:
            raise VirshError(f"{' '.join(map(str, command))}: status "
                             f"{process.returncode}: {process.stderr}")
        return process.stdout + (process.stderr if status else "")

    def virsh(self, *arguments, **options):
        return self.run("virsh", f"--connect={self.uri}", *arguments,
                        **options)

    def define(self, xml):
        self.write("/run/domain.xml", xml)
        self.virsh("define", "--validate", "/run/domain.xml")

    def qmp(self, domain, command, **arguments):
        answer = json.loads(self.virsh(
            "qemu-monitor-command", domain,
            json.dumps({"execute": command, "arguments": arguments})))
        check("return" in answer, f"{command}: {answer}")
        return answer["return"]

    def ksm(self, domain):
        return self.qmp(domain, "query-ksm")

    def limits(self, domain):
        return {limit["limit"]: limit["message"]
                for limit in self.ksm(domain)["limits"]}

    def engines(self):
        """Names of the guests whose engines ksmtuned knows."""
        try:
            stats = json.loads(self.read("/run/ksmtuned/stats.json"))
        except (FileNotFoundError, ValueError):
            return []
        return [engine.get("name") for engine in stats.get("engines", [])]

    def state(self, domain):
        return self.virsh("domstate", domain).strip()

    def log(self, name):
        """That of ksmtuned, libvirtd, or by libvirt/qemu/NAME of a guest."""
        try:
            return (self.own / f"log/{name}.log").read_text(errors="replace")
        except FileNotFoundError:
            return ""


def install(root):
    """What the services' build installs, below ROOT."""
    subprocess.run(
        ["meson", "install", "-C", BUILD / "service", "--no-rebuild",
         "--quiet"], check=True, env={**os.environ, "DESTDIR": str(root)},
        stdout=subprocess.PIPE)
    check((root / "usr").is_dir(), "the services have a prefix that is not "
          "below /usr: give configure another --prefix")


def domain_xml(name, emulator, *, memory_mib=64, arguments=("-object",
                                                            "ksm,id=ksm0"),
               backing="", os_xml="", devices="", memory_xml=""):
    """A small guest under TCG; BACKING is what is in its <memoryBacking>."""
    commandline = "".join(f"<qemu:arg value={quoteattr(argument)}/>"
                          for argument in arguments)
    if backing:
        backing = f"<memoryBacking>{backing}</memoryBacking>"
    if commandline:
        commandline = f"<qemu:commandline>{commandline}</qemu:commandline>"
    return f"""
<domain type='qemu'
        xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{name}</name>
  {memory_xml}
  <memory unit='MiB'>{memory_mib}</memory>
  {backing}
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type>{os_xml}</os>
  <features><acpi/></features>
  <devices><emulator>{emulator}</emulator>{devices}</devices>
  {commandline}
</domain>
"""


class Bed(cases.Bed):
    """Hosts with libvirt, to be ended with the case."""

    programs = ("qemu",)
    host_ksm = False

    @staticmethod
    def prepare():
        reason = missing()
        if reason:
            print(f"1..0 # SKIP {reason}")
            raise SystemExit(cases.SKIP)

    def host(self, name="host", **options):
        return self.enter(Host(name, self.directory, self.arguments.qemu,
                               **options))

    def start(self, host, name="guest", **options):
        """A guest that has no disk: its firmware waits for one."""
        host.define(domain_xml(name, host.emulator, **options))
        host.virsh("start", name)

    def start_linux(self, host, name="guest", workload="checksum", **options):
        """A guest that verifies what it writes; its console is returned."""
        console = self.directory / f"{name}.console"
        host.define(domain_xml(
            name, host.emulator, memory_mib=LINUX_MIB,
            os_xml=f"<kernel>{KERNEL}</kernel><initrd>{INITRD}</initrd>"
                   "<cmdline>console=ttyS0 quiet panic=-1 "
                   f"ksm.workload={workload}</cmdline>",
            devices="<serial type='file'>"
                    f"<source path='{console}' append='on'/></serial>",
            **options))
        host.virsh("start", name)
        return Console(console)


class Console:
    """What a guest of Bed.start_linux() has said."""

    def __init__(self, path):
        self._path = path

    def text(self):
        return whole_lines(self._path)

    def checked(self):
        """How many files it has verified; Failure if one was wrong."""
        text = self.text()
        for sign in "MISMATCH", "Kernel panic", "BUG:", "Oops":
            check(sign not in text, f"{sign} on the console: {text[-2000:]}")
        counts = [int(line.split()[1]) for line in text.splitlines()
                  if line.startswith("checked ") and line[8:].strip().isdigit()]
        return counts[-1] if counts else 0

    def wait_more_checked(self):
        before = self.checked()
        wait_for(lambda: self.checked() > before, "files to be verified",
                 2 * PATIENCE)
