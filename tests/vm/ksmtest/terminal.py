# SPDX-License-Identifier: GPL-2.0-or-later
"""Prints to the terminal, and keeps a copy of all of it in a file.

Colours (SGR sequences) are left out where the output is no terminal, unless
CLICOLOR_FORCE is set; the copy has them, for scripts/render-capture.  A
progress line replaces the one before it in a terminal, and is a line of its own
everywhere else, also where TERM=dumb.
"""

import os
import re
import shutil
import sys

SGR = re.compile(r"\033\[[0-9;]*m")
BAR = re.compile(r"\[#*-*\] ")


def coloured(code, text):
    return f"\033[{code}m{text}\033[0m"


def bold(text):
    return coloured(1, text)


def green(text):
    return coloured(32, text)


def yellow(text):
    return coloured(33, text)


def plain(text):
    """The text without its colours."""
    return SGR.sub("", text)


def bar(part, width=16):
    """A bar that is filled to PART, of 1."""
    filled = round(width * min(1, max(0, part)))
    return f"[{green('#' * filled)}{'-' * (width - filled)}]"


def has_bar(text):
    """Is it a progress line, or what it looked like elsewhere?"""
    return bool(BAR.match(plain(text)))


def count(number):
    """A large number in few columns: 48.9k."""
    if number < 10000:
        return str(number)
    return f"{number / 1000:.{1 if number < 100000 else 0}f}k"


class Terminal:
    def __init__(self, capture):
        self._capture = open(capture, "w", encoding="utf-8")
        self._live = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
        # https://no-color.org, http://bixense.com/clicolors
        self._colours = ("NO_COLOR" not in os.environ
                         and (self._live or "CLICOLOR_FORCE" in os.environ))
        self._drawn = ""

    def say(self, text=""):
        """Prints lines that stay."""
        self._settle()
        print(text if self._colours else plain(text), flush=True)
        self._keep(text)

    def progress(self, text):
        self._keep(text)
        text = text if self._colours else plain(text)
        if not self._live:
            print(text, flush=True)
            return
        # A line that is wider than the terminal takes several rows of it.
        rows = max(0, len(plain(self._drawn)) - 1) \
            // shutil.get_terminal_size().columns
        up = f"\033[{rows}A" if rows else ""
        self._drawn = text
        print(f"\r{up}\033[J{text}", end="", flush=True)

    def close(self):
        self._settle()
        self._capture.close()

    def _settle(self):
        if self._drawn:
            print(flush=True)
            self._drawn = ""

    def _keep(self, text):
        print(text, file=self._capture, flush=True)


def table(rows, right_from=1):
    """Lines of a table; columns from RIGHT_FROM on are aligned right."""
    widths = [max(len(plain(row[column])) for row in rows)
              for column in range(len(rows[0]))]

    def cell(column, text):
        space = " " * (widths[column] - len(plain(text)))
        return space + text if column >= right_from else text + space

    return ["  ".join(cell(c, text) for c, text in enumerate(row)).rstrip()
            for row in rows]
