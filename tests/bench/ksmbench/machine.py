# SPDX-License-Identifier: GPL-2.0-or-later
"""Where and when a report was made: machine.json.

date            in UTC, when the run began
cpu, cores, memory_bytes, kernel
qemu            its version
commit          of qemu-ksm; null without git
huge_pages      when the kernel makes them of a process' memory by itself
size            "full", "quick" or "trial"
seconds         that the run took, so far if it was not ended
asked           for each row that was asked for, what it is about
busy_percent    of a core, that was in use just before
"""

import os
import platform
import re
import subprocess
import time
from pathlib import Path

TOP = Path(__file__).resolve().parents[3]
HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")
# Looked at for so long, before anything is measured.
BUSY_SECONDS = 2
BUSY_PERCENT = 10
SIZES = {"full": "full",
         "quick": "quick: one round of each, and less memory",
         "trial": "a trial, whose values say nothing"}


def output_of(*command):
    """The first line that it prints; None if it can't be run, or fails."""
    try:
        return subprocess.run(command, check=True, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
                              ).stdout.partition("\n")[0]
    except (OSError, subprocess.CalledProcessError):
        return None


def cpu_model():
    models = re.findall(r"^model name\s*: (.*)$",
                        Path("/proc/cpuinfo").read_text(), re.M)
    return models[0] if models else platform.machine()


def is_virtual():
    """Is this itself a guest, where all that concerns memory takes longer?"""
    return bool(re.search(r"^flags\s*:.* hypervisor\b",
                          Path("/proc/cpuinfo").read_text(), re.M))


def huge_pages():
    """What is chosen; None without them."""
    try:
        return re.search(r"\[(\w+)\]", HUGE_PAGES.read_text())[1]
    except FileNotFoundError:
        return None


def busy_seconds():
    """CPU seconds of all that has run, also in the kernel, so far."""
    user, nice, system, _, _, irq, softirq, *_ = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


def busy_percent():
    begin, before = time.monotonic(), busy_seconds()
    time.sleep(BUSY_SECONDS)
    return round(100 * (busy_seconds() - before) / (time.monotonic() - begin))


def is_busy(facts):
    """Was more in use than what a machine at rest needs for itself?"""
    return facts["busy_percent"] > BUSY_PERCENT


def facts(qemu, size, asked):
    version = output_of(qemu, "--version") or ""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M", time.gmtime()),
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": (os.sysconf("SC_PHYS_PAGES")
                         * os.sysconf("SC_PAGE_SIZE")),
        "virtual": is_virtual(),
        # Without what somebody's build of it is called.
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
        "huge_pages": huge_pages(),
        "busy_percent": busy_percent(),
        "qemu": version.removeprefix("QEMU emulator version "),
        "commit": output_of("git", "-C", TOP, "describe", "--always",
                            "--dirty", "--exclude=*"),
        "size": size,
        "seconds": 0,
        "asked": asked,
    }


def unmeasured(facts, rows):
    """Names of rows that were asked for and are none of ROWS."""
    known = {row["id"] for row in rows}
    return [name for name in facts["asked"] if name not in known]


def described(facts, rows):
    """(what, words) pairs for people."""
    minutes, seconds = divmod(round(facts["seconds"]), 60)
    return [
        ("Date", f"{facts['date']} UTC"),
        ("Machine", f"{facts['cpu']}, {facts['cores']} cores, "
                    f"{facts['memory_bytes'] / (1 << 30):.1f} GiB"
                    + ", itself a virtual one" * facts["virtual"]),
        ("Kernel", facts["kernel"]),
        ("Huge pages", f"transparent_hugepage={facts['huge_pages'] or 'none'}"),
        ("QEMU", facts["qemu"]),
        ("qemu-ksm", facts["commit"] or "not known: no git"),
        ("Run", f"{SIZES[facts['size']]}; took {minutes} min {seconds} s"),
        *([("Others", f"{facts['busy_percent']} % of a core was in use before "
            "it began: all figures are worse for it")] if is_busy(facts)
          else []),
        *(("Not measured", f"{name}: the run was ended before")
          for name in unmeasured(facts, rows)),
    ]
