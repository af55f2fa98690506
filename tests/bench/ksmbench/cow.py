# SPDX-License-Identifier: GPL-2.0-or-later
"""The first write to a merged page: on ksmfs, and where ksmd has merged it.

tests/kmod/ksmfs-cow.c does it; a nanosecond is an instruction.
"""

import subprocess

from ksmtest import ksmfs, ksmhost, programs
from ksmtest.checks import Failure, check_equal, wait_for

from .rows import Target, row
from .ways import set_ksmd

ROWS = {"ksmfs-cow": Target(1.0)}


def written(pages, arguments, merged):
    """Runs ksmfs-cow; instructions a page by what pages they were.

    MERGED() tells how many pages are merged: all have to be.
    """
    process = subprocess.Popen(
        [programs.HELPERS["cow"], *arguments, str(pages)], text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT)
    with process:
        said = process.stdout.readline()
        if said != "filled\n":
            raise Failure(f"ksmfs-cow: {said}{process.stdout.read()}")
        wait_for(lambda: merged() >= pages, f"{pages} pages to be merged")
        ksmhost.write("run", 0)
        said, _ = process.communicate("merged\n")
    check_equal(process.returncode, 0, f"status of ksmfs-cow; {said}")
    return {name: int(number) for name, number
            in map(str.split, said.splitlines())}


def measure_inside(bench, directory):
    """All of it, in an emulated host that counts instructions."""
    pages = bench.sized(8192, 2048)
    rounds = []
    for _ in bench.rounds(3):
        ksmhost.unmerge()
        set_ksmd(pages_to_scan=20000, sleep_millisecs=0)
        by_ksmd = written(pages, ["ksmd"],
                          lambda: ksmhost.read("pages_sharing"))
        with ksmfs.Mount(directory) as mount:
            by_ksmfs = written(pages, ["ksmfs", mount.path],
                               lambda: mount["pages_sharing"])
        rounds.append({"ksmd": by_ksmd, "ksmfs": by_ksmfs})
    return {"pages": pages, "rounds": rounds}


def rows(found, wanted):
    """Rows of what measure_inside() has found."""
    rounds = found["rounds"]
    if "ksmfs-cow" in wanted:
        yield row("ksmfs-cow", "of ksmd's instructions",
                  [each["ksmfs"]["read"] / each["ksmd"]["read"]
                   for each in rounds],
                  f"emulated host, a process that writes a word of each of "
                  f"{found['pages'] // 2} merged pages, which it has read "
                  "before", target=ROWS["ksmfs-cow"], peers={
                      f"{way}, instructions, {name} before":
                          [each[way][name] for each in rounds]
                      for way in ("ksmd", "ksmfs")
                      for name in ("read", "unread")})
