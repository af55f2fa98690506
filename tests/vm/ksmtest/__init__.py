# SPDX-License-Identifier: GPL-2.0-or-later
"""What the demonstration and the host tests share.

programs   QEMU and ksmtuned, on the command line
checks     what a test expects, and waits for
qmp        the QEMU monitor
vm         one QEMU process with a Linux guest in it
qtest      one whose guest is the test
restricted a host that has less, or permits less
cases      runs test cases one by one
initramfs  builds the guest's initial RAM disk
ksmhost    the host's KSM settings: lock, save, put back
sample     what memory and CPU time the processes take
ksmtuned   a ksmtuned for one test alone
wire       the frames between engine and ksmtuned
engine     a connection to ksmtuned, as the engine makes it
daemon     a ksmtuned on a made-up host, and what runs tests on it
merging    guests that are merged, by the engine or by ksmd, and measured
terminal   progress line, tables, and a copy of all that was printed
"""
