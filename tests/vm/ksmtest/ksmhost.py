# SPDX-License-Identifier: GPL-2.0-or-later
"""The host's KSM settings: one user at a time, and all put back at the end.

There is one set of KSM settings for all of a host, and one ksmd, which may be
kept to some processors, or be nice.  Whoever changes them holds a lock, from
before they are read until they are as they were.  Both the lock and the duty
to put things back are with a process of its own, the keeper.  It waits for the
end of a pipe that its user holds, so that it does its work however that user
ends.  Should the keeper be killed too, what it saved is found in a file by the
next one.

As a command it guards any other one:

    python3 tests/vm/ksmtest/ksmhost.py COMMAND ARGUMENTS...
"""

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

SYSFS = Path("/sys/kernel/mm/ksm")
# Elsewhere for the test of this alone: all else has to find the same lock.
LOCKS = Path(os.environ.get("KSM_HOST_LOCKS", "/run/lock"))
LOCK = LOCKS / "ksm-host.lock"
SAVED = LOCKS / "ksm-host.saved"

# Set while a process above us holds the lock: taking it again would wait
# for ourselves.
HELD = "KSM_HOST_LOCK_HELD"

# In the order in which they are put back: the advisor, once chosen, refuses
# pages_to_scan, and nothing may run before all the rest is in place.
SETTINGS = (
    "sleep_millisecs", "pages_to_scan", "smart_scan", "use_zero_pages",
    "advisor_max_cpu", "advisor_min_pages_to_scan",
    "advisor_max_pages_to_scan", "advisor_target_scan_time", "advisor_mode",
    "run",
)


def missing():
    """What keeps us from using KSM here and the way out, or None."""
    if not SYSFS.is_dir():
        return ("this kernel has no KSM (/sys/kernel/mm/ksm is missing): "
                "boot one with CONFIG_KSM=y, which the distributions' are")
    if not os.access(SYSFS / "run", os.W_OK):
        return ("changing /sys/kernel/mm/ksm is not permitted: "
                "run as root, for example with sudo")
    return None


def read(name):
    """A setting or a figure; of a choice, what is chosen.  None if absent."""
    try:
        text = (SYSFS / name).read_text().strip()
    except FileNotFoundError:
        return None
    if "[" in text:
        return text[text.index("[") + 1:text.index("]")]
    return int(text)


def write(name, value):
    (SYSFS / name).write_text(str(value))


def ksmd_pid():
    """Process ID of ksmd, or None: kernel thread, so child of kthreadd."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().split()
        except OSError:
            continue
        if fields[1] == "(ksmd)" and fields[3] == "2":
            return int(path.parent.name)
    return None


def get_nice(pid):
    return os.getpriority(os.PRIO_PROCESS, pid)


def set_nice(pid, nice):
    os.setpriority(os.PRIO_PROCESS, pid, nice)


# What else is put back, of ksmd as a process: how it is read, and set.
OF_KSMD = {
    "ksmd_processors": (lambda pid: sorted(os.sched_getaffinity(pid)),
                        os.sched_setaffinity),
    "ksmd_nice": (get_nice, set_nice),
}


def read_all():
    """All that is put back, by name; None for what is absent."""
    pid = ksmd_pid()
    return {**{name: read(name) for name in SETTINGS},
            **{name: get(pid) if pid else None
               for name, (get, _) in OF_KSMD.items()}}


@contextlib.contextmanager
def ksmd(pages_to_scan=5000, sleep_millisecs=10):
    """ksmd merges what is marked, meanwhile; in a KSMHost."""
    settings = {"advisor_mode": "none", "smart_scan": 0,
                "pages_to_scan": pages_to_scan,
                "sleep_millisecs": sleep_millisecs, "run": 1}
    for name, value in settings.items():
        if read(name) not in (None, value):
            write(name, value)
    try:
        yield
    finally:
        write("run", 0)


def unmerge():
    """Undoes all merging on the host and clears KSM's counters."""
    write("run", 2)
    write("run", 0)


def merged_elsewhere():
    """Names of the processes, not ours, that have merged pages now.

    KSM's own counters can't tell: with ksmd stopped they keep what
    processes had that are gone.
    """
    names = []
    for path in Path("/proc").glob("[0-9]*/ksm_merging_pages"):
        try:
            if int(path.read_text()) > 0:
                names.append((path.parent / "comm").read_text().strip())
        except (OSError, ValueError):
            continue
    return sorted(set(names))


class KSMHost:
    """Context manager: inside it the KSM settings are ours."""

    def __init__(self):
        self.keeper = None

    def __enter__(self):
        self.keeper = start_keeper()
        return self

    def __exit__(self, *unused):
        if self._end_keeper() != 0:
            # It was killed.  The next one puts back what it saved.
            self.keeper = start_keeper()
            self._end_keeper()

    def _end_keeper(self):
        self.keeper.stdin.close()
        return self.keeper.wait()


def start_keeper():
    """Takes the lock, saves the settings; returns the process that keeps both.

    Closing its stdin, or dying, makes it put the settings back.
    """
    held = HELD in os.environ
    lock = os.open(os.devnull if held else LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not held:
            lock_or_wait(lock)
            restore_after_crash()
        saved = read_all()
        keeper = subprocess.Popen(
            [sys.executable, __file__, "--keep", json.dumps(saved),
             "nested" if held else "outermost"],
            stdin=subprocess.PIPE, pass_fds=[lock], start_new_session=True,
            # Only what it says at its start is waited for.
            stdout=subprocess.PIPE)
        ready = keeper.stdout.readline()
        keeper.stdout.close()
        if not ready:
            keeper.stdin.close()
            keeper.wait()
            raise OSError("nothing would put the KSM settings back: "
                          f"is {SAVED.parent} writable?")
        return keeper
    finally:
        os.close(lock)


def lock_or_wait(lock):
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for {LOCK}: something else uses the host's KSM",
              file=sys.stderr, flush=True)
        fcntl.flock(lock, fcntl.LOCK_EX)


def restore_after_crash():
    """Puts back what a killed keeper left; to be called with the lock held."""
    try:
        restore(json.loads(SAVED.read_text()))
    except (FileNotFoundError, ValueError):
        pass
    SAVED.unlink(missing_ok=True)


def restore(saved):
    """Puts settings back; one that can't be written keeps none from it."""
    if saved["run"] == 0:
        attempt(unmerge)
    if read("advisor_mode") not in (None, "none"):
        attempt(write, "advisor_mode", "none")
    for name in SETTINGS:
        if saved[name] is not None and read(name) != saved[name]:
            attempt(write, name, saved[name])
    found = read_all()
    for name, (_, set_it) in OF_KSMD.items():
        if saved.get(name) not in (None, found[name]):
            attempt(set_it, ksmd_pid(), saved[name])


def attempt(function, *arguments):
    try:
        function(*arguments)
    except OSError as error:
        print(f"ksmhost: {function.__name__}{arguments}: {error}",
              file=sys.stderr)


def keep(saved, outermost):
    """The keeper: waits for the end of stdin, then puts settings back."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), signal.SIG_IGN)
    if outermost:
        partial = SAVED.with_suffix(".new")
        partial.write_text(json.dumps(saved))
        os.replace(partial, SAVED)
    print("ready", flush=True)
    os.close(1)
    sys.stdin.read()
    restore(saved)
    if outermost:
        SAVED.unlink(missing_ok=True)


def main():
    if sys.argv[1:2] == ["--keep"]:
        keep(json.loads(sys.argv[2]), sys.argv[3] == "outermost")
        return
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    if missing():
        sys.exit(f"ksmhost: {missing()}")
    keeper = start_keeper()
    os.environ[HELD] = "1"
    # The command's own copy of the pipe makes the keeper wait for it.
    os.set_inheritable(keeper.stdin.fileno(), True)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
