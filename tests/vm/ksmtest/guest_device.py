# SPDX-License-Identifier: GPL-2.0-or-later
"""A ksm-guest device, as its driver sees it: docs/specs/ksm-guest.rst."""

SLOT = 0x1e
OPTIONS = ("-device", f"ksm-guest,addr={SLOT:#x}")

NONE, NEVER, EAGERLY, VOLATILE = range(4)
OK, BUSY = 0, 7

_COUNT, _COMMAND, _RESULT, _ACCEPTED, _DONE = 0x20, 0x24, 0x28, 0x30, 0x34
_SET = 1
_BUFFER, _ENTRY_SIZE = 0x1000, 16

# Where nothing else is, neither RAM.
_BAR = 0xe0000000
_CONFIG_ADDRESS, _CONFIG_DATA = 0xcf8, 0xcfc
_CONFIG_COMMAND, _CONFIG_BAR = 0x04, 0x10
_MEMORY_ENABLED = 2


class GuestDevice:
    """REQUEST sends lines of the qtest protocol, and returns the answers."""

    def __init__(self, request):
        self._request = request

    def enable(self):
        for at, value in (_CONFIG_BAR, _BAR), (_CONFIG_COMMAND,
                                               _MEMORY_ENABLED):
            self._request(
                b"outl %#x %#x" % (_CONFIG_ADDRESS,
                                   1 << 31 | SLOT << 11 | at),
                b"outl %#x %#x" % (_CONFIG_DATA, value))

    def set(self, entries):
        """Advises for each (ADDRESS, PAGES, ADVICE): the result."""
        lines = []
        for number, (address, pages, advice) in enumerate(entries):
            words = address & 0xffffffff, address >> 32, pages, advice
            lines += [_write(_BUFFER + number * _ENTRY_SIZE + 4 * word, value)
                      for word, value in enumerate(words)]
        answers = self._request(*lines, _write(_COUNT, len(entries)),
                                _write(_COMMAND, _SET), _read(_RESULT))
        return int(answers[-1], 16)

    def is_done(self):
        """All that was accepted is carried out."""
        accepted, done = self._request(_read(_ACCEPTED), _read(_DONE))
        return accepted == done


def _write(at, value):
    return b"writel %#x %#x" % (_BAR + at, value)


def _read(at):
    return b"readl %#x" % (_BAR + at)
