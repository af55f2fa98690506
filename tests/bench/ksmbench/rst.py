# SPDX-License-Identifier: GPL-2.0-or-later
"""The report as a document of docs/, in reStructuredText."""

import re
import textwrap

from . import machine
from .rows import aim, measured, number, spread, verdict

WIDTH = 80
COLUMNS = ("Row", "Value", "Target", "Result", "Rounds")


def plain(text):
    """Without a meaning of its characters as markup."""
    return re.sub(r"([\\*`|_])", r"\\\1", text)


def literal(text):
    return f"``{text}``"


def wrapped(text, first="", rest=""):
    return textwrap.fill(text, WIDTH, initial_indent=first,
                         subsequent_indent=rest, break_long_words=False,
                         break_on_hyphens=False)


def cells(row):
    return (literal(row["id"]),
            plain(measured(row)), aim(row), verdict(row), spread(row))


def table(rows):
    lines = [".. list-table::", "   :header-rows: 1", ""]
    for line in [COLUMNS, *map(cells, rows)]:
        lines += [wrapped(cell, "     - " if index else "   * - ",
                          " " * 7).rstrip()
                  for index, cell in enumerate(line)]
    return "\n".join(lines)


def about(row):
    """How it was measured, and its peers."""
    peers = "; ".join(f"{name}: {number(value)}"
                      for name, value in row["peers"].items())
    return "\n".join([literal(row["id"]),
                      wrapped(plain(f"{row['how']}."), " " * 2, " " * 2),
                      *([wrapped(plain(f"Beside it: {peers}."), " " * 2,
                                 " " * 2)] if peers else [])])


def of_report(facts, rows):
    described = "\n".join(
        wrapped(plain(words), f":{what}: ", "    ")
        for what, words in machine.described(facts, rows))
    how = "\n\n".join(map(about, rows))
    return f"""\
.. SPDX-License-Identifier: GPL-2.0-or-later
   Made by scripts/run-bench --rst

Performance
===========

What ``make bench`` has measured on one machine. Ratios are what counts; times
differ from one machine to the next.

{described}

{table(rows)}

How it was measured
-------------------

{how}
"""
