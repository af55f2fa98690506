#!/usr/bin/env python3
#
# Rewrites a part of a process' memory for ever, with several contents in turn
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
#   rewriter.py PID ADDRESS SIZE FD
#
# FD is an open file of contents, one after the other, of SIZE bytes each.  A
# line of input is answered with the number of bytes that were written so far;
# with the end of its input it ends.

import mmap
import os
import select
import sys

CHUNK = 1 << 20


def rewrite(memory, address, size, contents):
    at = written = 0
    while True:
        if select.select([0], [], [], 0)[0]:
            if not os.read(0, 64):
                return
            print(written, flush=True)
        part = contents[at:at + CHUNK]
        done = os.pwrite(memory, part, address + at % size)
        if done < len(part):
            sys.exit(f"{done} of {len(part)} bytes written at "
                     f"{address + at % size:#x}")
        written += done
        at = (at + done) % len(contents)


def main():
    pid, address, size, fd = map(int, sys.argv[1:])
    memory = os.open(f"/proc/{pid}/mem", os.O_RDWR)
    with mmap.mmap(fd, 0, prot=mmap.PROT_READ) as contents, \
            memoryview(contents) as view:
        rewrite(memory, address, size, view)


if __name__ == "__main__":
    main()
