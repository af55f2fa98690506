# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs a command as on a host that has less, or permits less.

    python3 tests/vm/ksmtest/restricted.py [OPTION]... -- COMMAND ARGUMENTS...

--no-pagemap-scan   as before Linux 6.7: ioctl(PAGEMAP_SCAN) is not known
--no-userfaultfd    as in many containers: userfaultfd is not permitted
--no-ksm            as without CONFIG_KSM: no /sys/kernel/mm/ksm, no figures
                    in /proc, MADV_MERGEABLE is not known (root only)
--user=NAME         as this user, without any privilege (root only)
--cgroup=DIRECTORY  in this cgroup (root only)

System calls are answered by a seccomp filter, files are hidden by mounts of
the command's own.
"""

import argparse
import ctypes
import errno
import os
import platform
import pwd
import signal
import struct
import sys
from pathlib import Path

# It is also run by its path.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from ksmtest.checks import Skipped  # noqa: E402

# Numbers of system calls, and the kernel's name of their set.
ARCHITECTURES = {
    "x86_64": {"audit": 0xc000003e, "ioctl": 16, "madvise": 28,
               "userfaultfd": 323},
    "aarch64": {"audit": 0xc00000b7, "ioctl": 29, "madvise": 233,
                "userfaultfd": 282},
}

ORDINARY_USER = "nobody"

PAGEMAP_SCAN = 0xc0606610
USERFAULTFD_IOC_NEW = 0xaa00
MADV_MERGEABLE, MADV_UNMERGEABLE = 12, 13

# System call, number of an argument, its value, and the answer to it.
NO_PAGEMAP_SCAN = [("ioctl", 1, PAGEMAP_SCAN, errno.ENOTTY)]
NO_USERFAULTFD = [("userfaultfd", None, None, errno.EPERM),
                  ("ioctl", 1, USERFAULTFD_IOC_NEW, errno.EPERM)]
NO_KSM = [("madvise", 2, MADV_MERGEABLE, errno.EINVAL),
          ("madvise", 2, MADV_UNMERGEABLE, errno.EINVAL)]

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS = 1, 22, 38
SECCOMP_MODE_FILTER = 2
SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO = 0x7fff0000, 0x00050000
BPF_LOAD, BPF_JUMP_IF_EQUAL, BPF_RETURN = 0x20, 0x15, 0x06
# In struct seccomp_data.
AT_NUMBER, AT_ARCHITECTURE, AT_ARGUMENTS = 0, 4, 16
CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 4096, 16384, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def command(*options):
    """What to put in front of a command; Skipped where it would not work."""
    if platform.machine() not in ARCHITECTURES:
        raise Skipped("the numbers of system calls are not known for "
                      + platform.machine())
    return (sys.executable, __file__, *options, "--")


def ordinary_user(parent):
    """A directory in PARENT of a user's without rights, and the option."""
    directory = parent / ORDINARY_USER
    if not directory.exists():
        user = pwd.getpwnam(ORDINARY_USER)
        directory.mkdir()
        os.chown(directory, user.pw_uid, user.pw_gid)
    return directory, f"--user={ORDINARY_USER}"


def must(result, what):
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def instruction(code, value, if_true=0, if_false=0):
    return struct.pack("=HBBI", code, if_true, if_false, value)


def deny(rules):
    """Lets the kernel answer system calls as RULES say."""
    numbers = ARCHITECTURES[platform.machine()]
    program = [instruction(BPF_LOAD, AT_ARCHITECTURE),
               instruction(BPF_JUMP_IF_EQUAL, numbers["audit"], 1, 0),
               instruction(BPF_RETURN, SECCOMP_RET_ALLOW)]
    for name, argument, value, answer in rules:
        test = []
        if argument is not None:
            # The low half: of all that is compared here the other is 0.
            test = [instruction(BPF_LOAD, AT_ARGUMENTS + 8 * argument),
                    instruction(BPF_JUMP_IF_EQUAL, value, 0, 1)]
        program += [instruction(BPF_LOAD, AT_NUMBER),
                    instruction(BPF_JUMP_IF_EQUAL, numbers[name], 0,
                                len(test) + 1),
                    *test,
                    instruction(BPF_RETURN, SECCOMP_RET_ERRNO | answer)]
    program.append(instruction(BPF_RETURN, SECCOMP_RET_ALLOW))
    code = ctypes.create_string_buffer(b"".join(program))
    header = ctypes.create_string_buffer(
        struct.pack("@HP", len(program), ctypes.addressof(code)))
    must(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    must(_libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, header, 0, 0),
         "seccomp")


def mount(source, target, kind, flags):
    must(_libc.mount(source, target, kind, ctypes.c_ulong(flags), None),
         f"mount on {target.decode()}")


def hide_ksm():
    must(_libc.unshare(CLONE_NEWNS), "unshare")
    mount(b"none", b"/", None, MS_REC | MS_PRIVATE)
    mount(b"tmpfs", b"/sys/kernel/mm/ksm", b"tmpfs", 0)
    figures = b"/proc/%d/ksm_stat" % os.getpid()
    if os.path.exists(figures):
        mount(b"/dev/null", figures, None, MS_BIND)


def become(name):
    user = pwd.getpwnam(name)
    os.setgroups([])
    os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
    os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--no-pagemap-scan", action="append_const",
                        dest="rules", const=NO_PAGEMAP_SCAN, default=[])
    parser.add_argument("--no-userfaultfd", action="append_const",
                        dest="rules", const=NO_USERFAULTFD)
    parser.add_argument("--no-ksm", action="append_const", dest="rules",
                        const=NO_KSM)
    parser.add_argument("--user")
    parser.add_argument("--cgroup", type=Path)
    parser.add_argument("command")
    parser.add_argument("arguments", nargs="*")
    options = parser.parse_args()

    # Now, as the user may not be permitted to look for it.
    program = os.open(options.command, os.O_RDONLY)
    if NO_KSM in options.rules:
        hide_ksm()
    if options.cgroup:
        (options.cgroup / "cgroup.procs").write_text(str(os.getpid()))
    if options.user:
        become(options.user)
        # A change of the user clears what die_with_parent() had set.
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    deny([rule for rules in options.rules for rule in rules])
    os.execve(program, [options.command, *options.arguments], os.environ)


if __name__ == "__main__":
    main()
