# SPDX-License-Identifier: GPL-2.0-or-later
"""The frames between engine and ksmtuned, as ksm-wire.h defines them.

Fields can be given values that no engine would send.
"""

import os
import struct

HEADER = struct.Struct("=HBBI")
HELLO = struct.Struct("=IIQ48s")
ENTRY = struct.Struct("=QII")
DEMAND = struct.Struct("=QQ")
REPORT = struct.Struct("=10QII208s")
BUDGET = struct.Struct("=II")
(T_HELLO, T_WELCOME, T_REFUSE, T_PUBLISH, T_WITHDRAW, T_TWINS,
 T_DEMAND, T_REPORT, T_BUDGET) = range(1, 10)
# Of ksmtuned: it takes REPORT.
FEATURES = 1
# Of an engine: it takes BUDGET.
TAKES_BUDGET = 2
RELEASE = 1
VERSION = 1
MAX_PAYLOAD = 65536
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
TWIN = 1


def frame(kind, payload=b"", fds=0, reserved=0, length=None):
    length = len(payload) if length is None else length
    return HEADER.pack(kind, fds, reserved, length) + payload


def hello(version=VERSION, page_size=PAGE_SIZE, features=0, name=b"test"):
    return frame(T_HELLO, HELLO.pack(version, page_size, features, name))


def entries(*pages, flags=0):
    return b"".join(ENTRY.pack(digest, page, flags) for digest, page in pages)


def publish(*pages):
    return frame(T_PUBLISH, entries(*pages))


def withdraw(*pages):
    return frame(T_WITHDRAW, entries(*pages))


def demand(marked, total):
    return frame(T_DEMAND, DEMAND.pack(marked, total))


def report(*figures, state=0, backends=1, limit=b""):
    """FIGURES: the ten that come first."""
    return frame(T_REPORT, REPORT.pack(*figures, state, backends, limit))
