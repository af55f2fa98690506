# SPDX-License-Identifier: GPL-2.0-or-later
"""What the demonstration and the host tests share.

cases      runs test cases one by one, and what each of them gets
checks     what a test expects, and waits for
programs   QEMU and ksmtuned, on the command line
ksmhost    the host's KSM settings: lock, save, change, put back
restricted a host that has less, or permits less
qmp        the QEMU monitor
vm         one QEMU process with a guest in it
qtest      one whose guest is the test
writers    guests that write, verify and rewrite pages
initramfs  builds the initial RAM disk of a Linux guest
ksmtuned   a ksmtuned for one test alone
daemon     one on a made-up host, for one test case
libvirt    hosts that run guests by libvirt
engine     a connection to ksmtuned, as the engine makes it
wire       the frames between engine and ksmtuned
merging    guests that are merged, by the engine or by ksmd, and measured
sample     what memory and CPU time the processes take
instructions  what an emulated host executes for something
report     figures of a demonstration, and a table of them
kmod       whether the running kernel can load ksmfs; loads it
terminal   progress line, tables, and a copy of all that was printed
"""
