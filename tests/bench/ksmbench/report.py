# SPDX-License-Identifier: GPL-2.0-or-later
"""A report: its rows and its machine, in two files of a directory.

The page is beside them.  All is written anew with each row: what has been
measured before something fails is kept, and can be looked at meanwhile.
"""

import json
import time

from . import page, plots, rows


class Report:
    def __init__(self, directory, facts, measured=()):
        self.directory = directory
        self.facts = facts
        self.rows = list(measured)
        self._start = time.monotonic()

    @classmethod
    def read(cls, directory):
        return cls(directory,
                   json.loads((directory / "machine.json").read_text()),
                   json.loads((directory / "report.json").read_text()))

    def add(self, row):
        self.rows.append(row)
        self.write()

    def fail(self, targets, why):
        """Those of the rows {name: target} that are not there won't come.

        Draws nothing, as that may be what has failed.
        """
        known = {row["id"] for row in self.rows}
        self.rows += [rows.row(name, "", [], why, target=target)
                      for name, target in targets.items() if name not in known]
        self._save()

    def _save(self):
        self.facts["seconds"] = round(time.monotonic() - self._start)
        for name, content in (("machine.json", self.facts),
                              ("report.json", self.rows)):
            (self.directory / name).write_text(
                json.dumps(content, indent=2) + "\n")

    def write(self):
        self._save()
        drawn = plots.draw(plots.of_rows(self.rows), self.directory)
        (self.directory / "index.html").write_text(
            page.of_report(self.facts, self.rows, drawn))
