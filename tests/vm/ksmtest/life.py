# SPDX-License-Identifier: GPL-2.0-or-later
"""What happens to guests in their lives, while the engine is busy with them.

After each the guest has to go on verifying, and the engine to go on working.
"""

import time

from .checks import PATIENCE, Failure, Skipped, check, wait_for
from .linux import BOOT_SECONDS
from .qmp import QMPError


def set_capabilities(guest, *capabilities):
    guest.execute("migrate-set-capabilities", {"capabilities": [
        {"capability": name, "state": True} for name in capabilities]})


def migrate(bed, source, capabilities=(), postcopy=False, extra=()):
    """A guest from one QEMU to another, which is returned."""
    target = bed.start("target", extra=("-incoming", "defer", *extra))
    for guest in (source, target):
        if capabilities:
            set_capabilities(guest, *capabilities)
    uri = bed.socket("migration")
    target.execute("migrate-incoming", {"uri": uri})
    if postcopy:
        # Slow at first, so that much is left for postcopy.
        source.execute("migrate-set-parameters",
                       {"max-bandwidth": 8 << 20})
    before = source.checked()
    source.execute("migrate", {"uri": uri})
    if postcopy:
        time.sleep(1)
        source.execute("migrate-start-postcopy")
        wait_for(lambda: target.execute("query-migrate").get("status")
                 == "postcopy-active", "postcopy to begin")
        check(target.ksm()["state"] == "yielded",
              f"the receiving engine is {target.ksm()['state']}")
        source.execute("migrate-set-parameters", {"max-bandwidth": 0})
    source.wait_migration()
    target.wait_running()
    # What it had printed before is on the console of the source.
    wait_for(lambda: target.check() or target.checked() >= before,
             "the guest to verify files at its target")
    target.wait_more_checked()
    target.wait_engine_works()
    source.checked()
    return target


def add_snapshot_disk(guest, path):
    """A node 'disk' that takes snapshots."""
    file = {"driver": "file", "filename": str(path)}
    guest.run_job("blockdev-create", "create-file",
                  {"options": {**file, "size": 0}})
    guest.execute("blockdev-add", {**file, "node-name": "file"})
    guest.run_job("blockdev-create", "create-disk", {"options": {
        "driver": "qcow2", "file": "file", "size": 64 << 20}})
    guest.execute("blockdev-add", {"driver": "qcow2", "node-name": "disk",
                                   "file": "file"})


def take_snapshot(guest, command):
    """COMMAND is snapshot-save or snapshot-load, of the only one."""
    guest.run_job(command, command, {"tag": "one", "vmstate": "disk",
                                     "devices": ["disk"]})
    if guest.execute("query-status")["status"] == "paused":
        guest.execute("cont")
    guest.wait_more_checked()
    guest.wait_engine_works()


def balloon(guest, mib):
    """Its balloon leaves it so much."""
    guest.execute("balloon", {"value": mib << 20})
    wait_for(lambda: guest.check() or abs(guest.size_seen() - mib) <= 1,
             f"the balloon to leave {mib} MiB")
    guest.wait_more_checked()


# The least that x86 Linux plugs and unplugs.
PLUGGED_MIB = 128


def plug(bed, guest):
    """Memory 'more', which the engine sees."""
    guest.execute("object-add", bed.more_memory("more", PLUGGED_MIB))
    guest.execute("device_add", {"driver": "pc-dimm", "id": "dimm",
                                 "memdev": "more"})
    wait_for(lambda: any(block["name"].endswith("more")
                         and "backend" in block
                         for block in guest.ksm()["ramblocks"]),
             "the engine to see the new memory")
    guest.wait_more_checked()


def unplug(guest):
    guest.execute("device_del", {"id": "dimm"})
    try:
        guest.qmp.take_event("DEVICE_DELETED", PATIENCE / 3)
    except TimeoutError:
        raise Skipped("the guest did not give the memory back: plugged, "
                      "not unplugged")
    guest.execute("object-del", {"id": "more"})
    # It goes with the last reference to it, some of which wait for RCU.
    wait_for(lambda: not any(block["name"].endswith("more")
                             for block in guest.ksm()["ramblocks"]),
             "the engine to let go of the memory", PATIENCE / 6)
    guest.wait_more_checked()


# Without -no-reboot's action, which is to end.
MAY_RESET = ("-action", "reboot=reset")


def reset(guest):
    """A guest that was started with MAY_RESET."""
    boots = guest.said("guest up")
    guest.execute("system_reset")
    wait_for(lambda: guest.check() or guest.said("guest up") > boots,
             "the guest to come up again", BOOT_SECONDS)
    wait_for(lambda: guest.check() or guest.checked() > 0,
             "files to be verified again")
    guest.wait_more_checked()
    guest.wait_engine_works()


def renew_engine(bed, guest, pauses):
    """object-del in mid-pass, object-add again, after each of the PAUSES."""
    threads = guest.threads()
    for pause in pauses:
        guest.execute("object-del", {"id": "ksm0"})
        # Others come and go, for a connection for instance.
        wait_for(lambda: len(guest.threads()) < len(threads),
                 "its thread to end")
        try:
            guest.ksm()
        except QMPError as error:
            check(error.error_class == "DeviceNotFound", str(error))
        else:
            raise Failure("query-ksm answers without a ksm object")
        guest.execute("object-add", bed.ksm_properties())
        check(len(guest.threads()) <= len(threads) + 1,
              f"more threads than at first: {guest.threads()}")
        time.sleep(pause)
        guest.execute("ksm-scan")
    guest.wait_engine_works()
    guest.wait_more_checked()
    guest.execute("object-del", {"id": "ksm0"})
    guest.wait_more_checked()
