#!/usr/bin/env python3
#
# What ksmbench/nested.py has measured in an emulated host
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
#   in-emulated-host.py [--quick] PART...

import argparse
import json
import sys
import traceback
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent),
                str(Path(__file__).resolve().parent.parent / "vm")]

from ksmbench import nested  # noqa: E402
from ksmbench.bench import Bench  # noqa: E402
from ksmtest import cases, ksmhost, programs  # noqa: E402

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def measure(bench, part):
    try:
        with ksmhost.KSMHost(), bench.directory() as directory:
            return {"found": nested.PARTS[part].measure_inside(bench,
                                                               directory)}
    except cases.FAILURES as error:
        return {"error": f"{type(error).__name__}: {error}"}
    except Exception:
        return {"error": traceback.format_exc()}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("parts", nargs="+", choices=nested.PARTS)
    arguments = parser.parse_args()
    # ksmd would have to split them first.
    HUGE_PAGES.write_text("never")
    bench = Bench(programs.BUILT["qemu"], programs.BUILT["ksmtuned"],
                  Path("/tmp"),
                  "quick" if arguments.quick else "full", print)
    for part in arguments.parts:
        found = measure(bench, part)
        print(nested.MARK + json.dumps({"part": part, **found}), flush=True)


if __name__ == "__main__":
    main()
