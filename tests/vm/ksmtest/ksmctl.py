# SPDX-License-Identifier: GPL-2.0-or-later
"""ksmctl on a host that is made up, for one test case."""

import contextlib
import json
import subprocess
import threading

from .checks import PATIENCE
from .host import ShownHost
from .pseudoterminal import Pseudoterminal

# Of ksmctl's environment.
LIMIT_VARIABLE = "KSM_MAX_KERNEL_PAGES"


class Ksmctl(ShownHost):
    """What ksmctl sees of a host, and ksmctl itself."""

    programs = ("ksmctl",)

    def limit(self, device):
        return (self.ksmfs / device / "max_kernel_pages").read_text().strip()

    def environment(self, changes=None):
        return super().environment({LIMIT_VARIABLE: None, **(changes or {})})

    def status(self):
        return json.loads(self.out("status", "--json"))

    def domains(self):
        return json.loads(self.out("domains", "--json"))

    @contextlib.contextmanager
    def output(self, *arguments):
        """A file with what it says while it runs; ended afterwards."""
        process = subprocess.Popen(
            self.command_line(*arguments), stdout=subprocess.PIPE, text=True,
            env=self.environment())
        timer = threading.Timer(PATIENCE, process.kill)
        timer.start()
        try:
            yield process.stdout
        finally:
            timer.cancel()
            process.kill()
            process.wait()
            process.stdout.close()

    def terminal(self, *arguments, term="xterm", **options):
        return self.enter(contextlib.closing(
            Pseudoterminal(self.command_line(*arguments),
                           self.environment({"TERM": term}), **options)))
