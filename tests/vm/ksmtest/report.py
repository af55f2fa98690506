# SPDX-License-Identifier: GPL-2.0-or-later
"""Figures of a demonstration: of a round, of all rounds, and as a table."""

import statistics

from .merging import MIB, PAGE
from .terminal import bold, green, table, yellow

# CPU time is compared up to this part of what plain ksmd saves in the end.
GOAL = 0.97


class Measured:
    """One way of merging with its figures; no figure at all if left out."""

    def __init__(self, merging=None):
        self._merging = merging
        self.figures = merging.run() if merging else {}

    def get(self, *names):
        value = self.figures
        for name in names:
            value = value.get(name) if value else None
        return value

    def unmerged(self):
        """Bytes of guest memory that would be in use if none was saved."""
        return self.figures["bytes_after"] + self.figures["bytes_saved"]

    def seconds_up_to(self, saved):
        """Seconds until so many bytes were saved; None if never."""
        reached = self._merging.up_to(saved)
        return reached and reached["seconds"]

    def cpu_up_to(self, saved):
        """CPU seconds by name until so much was saved, else those in all."""
        if not self._merging:
            return {}
        reached = self._merging.up_to(saved)
        return reached["cpu_seconds"] if reached else self.get("cpu_seconds")


def mergeable(engine):
    """Bytes that merging would save, huge pages aside; None if not known."""
    found, holders = engine["figures"], engine["ksmtuned"].get("index_shared")
    if holders is None:
        return None
    return PAGE * (found["pages-twins"] - holders + found["pages-zero"]
                   - found["pages-zero-shared"])


def of_round(engine, plain):
    """The figures of a round; None stands for what was not measured."""
    goal = GOAL * (plain.get("bytes_saved") or engine.get("bytes_saved") or 0)
    engine_goal = goal
    if plain.get("bytes_saved") and engine.figures:
        # What guests take at first varies, and is more with huge pages, which
        # is no merit of what saves it again: as little is to be left in use.
        engine_goal -= plain.unmerged() - engine.unmerged()
    engine_cpu = engine.cpu_up_to(engine_goal)
    plain_cpu = plain.cpu_up_to(goal)
    return {
        "backend": engine.get("backend"),
        "pages_sharing": engine.get("pages_sharing"),
        "bytes_saved": engine.get("bytes_saved"),
        "plain_bytes_saved": plain.get("bytes_saved"),
        "plain_pages_sharing": plain.get("pages_sharing"),
        "bytes_used": engine.get("bytes_after"),
        "plain_bytes_used": plain.get("bytes_after"),
        "available_bytes_saved": engine.get("available_bytes_saved"),
        "plain_available_bytes_saved": plain.get("available_bytes_saved"),
        "engine_cpu_seconds": engine_cpu.get("engine"),
        "ksmtuned_cpu_seconds": engine_cpu.get("ksmtuned"),
        "ksmd_cpu_seconds": engine_cpu.get("ksmd"),
        "plain_ksmd_cpu_seconds": plain_cpu.get("ksmd"),
        "seconds_to_95pct": engine.get("to_95pct", "seconds"),
        "plain_seconds_to_95pct": plain.get("to_95pct", "seconds"),
        "steady_cpu_percent": engine.get("steady_cpu_percent"),
        "plain_steady_cpu_percent": plain.get("steady_cpu_percent"),
        **({"mergeable_bytes": mergeable(engine.figures)}
           if engine.get("backend") == "null" else {}),
        # Where CPU seconds above are taken; at the end if not reached.
        "goal_bytes_saved": goal,
        "engine_goal_bytes_saved": engine_goal,
        "goal_reached": 0 < engine_goal <= (engine.get("bytes_saved") or 0),
        "engine": engine.figures,
        "plain": plain.figures,
    }


def median(values):
    values = list(values)
    return None if None in values else statistics.median(values)


def of_rounds(arguments, setup, rounds):
    """Medians over the rounds, and the rounds."""
    report = {"guests": arguments.guests, "backend": rounds[0]["backend"]}
    for name, value in rounds[0].items():
        if name not in ("backend", "goal_reached", "engine", "plain"):
            report[name] = median(r[name] for r in rounds)
    return {**report, "goal_reached": all(r["goal_reached"] for r in rounds),
            "accel": setup.accel, "memory_mib": arguments.memory_mib,
            "emulated_host": False,
            "rounds": rounds}


def total_cpu(figures):
    """CPU seconds of all that has a part in merging with the engine."""
    values = [figures[f"{name}_cpu_seconds"]
              for name in figures["engine"].get("cpu_seconds", ())]
    return None if None in values or not values else sum(values)


def shown(value, form="{}"):
    return "-" if value is None else form.format(value)


def show_table(terminal, report):
    """Medians, and the median of the ratios that each round has for itself."""
    rounds = report["rounds"]

    def row(title, form, value, plain=None, unit=1, compare=True):
        """VALUE and PLAIN: names of figures, or functions of a round."""
        columns = []
        for get in (value, plain):
            values = [get(r) if callable(get) else r.get(get) for r in rounds]
            columns.append([None if v is None else v / unit for v in values])
        ratios = [100 * v / p for v, p in zip(*columns) if v and p]
        return (title, *(shown(median(c), form) for c in columns),
                f"{statistics.median(ratios):.1f} %"
                if compare and len(ratios) == len(rounds) else "")

    reached = report["goal_reached"]
    peer = "engine" if report["plain_bytes_saved"] is None else "plain"
    ksmfs = report["backend"] == "ksmfs"
    rows = [
        ("", "engine", "plain ksmd", "engine / plain"),
        row(f"memory saved ({'ksmfs; ' if ksmfs else ''}PSS), MiB", "{:.1f}",
            "bytes_saved", "plain_bytes_saved", MIB),
        *([row("available memory is more by, MiB", "{:.1f}",
               "available_bytes_saved", "plain_available_bytes_saved", MIB)]
          if ksmfs else []),
        row("guest memory left in use, MiB", "{:.1f}", "bytes_used",
            "plain_bytes_used", MIB),
        row(f"pages_sharing ({'ksmfs; ' if ksmfs else ''}KSM)", "{:.0f}",
            "pages_sharing", "plain_pages_sharing"),
        row(f"CPU to {GOAL:.0%} of its savings, s" if peer == "engine"
            else "CPU until as little is left, s", "{:.3f}",
            total_cpu, "plain_ksmd_cpu_seconds", compare=reached),
        *([] if ksmfs else [
            row("  engine", "{:.3f}", "engine_cpu_seconds"),
            row("  ksmtuned", "{:.3f}", "ksmtuned_cpu_seconds"),
            row("  ksmd", "{:.3f}", "ksmd_cpu_seconds",
                "plain_ksmd_cpu_seconds", compare=False)]),
        row("seconds to 95 % of its savings", "{:.1f}", "seconds_to_95pct",
            "plain_seconds_to_95pct", compare=False),
        row("CPU once merged, % of a core", "{:.2f}", "steady_cpu_percent",
            "plain_steady_cpu_percent"),
    ]
    terminal.say()
    if len(rounds) > 1:
        terminal.say(f"Medians of {len(rounds)} rounds; in the last column of "
                     "what each round has there")
    lines = table(rows)
    terminal.say(bold(lines[0]))
    for line in lines[1:]:
        terminal.say(line)
    terminal.say()
    if peer == "plain" and report["bytes_saved"] and not reached:
        terminal.say(yellow(f"more is left in a round than at {GOAL:.0%} of "
                            "plain's savings: CPU times are not compared, that "
                            "of the engine is all that it used there"))


def show_mergeable(terminal, report):
    """What merging would bring, where nothing was merged."""
    terminal.say(green(
        f"merging would save at most {report['mergeable_bytes'] / MIB:.1f} MiB "
        f"of {report['rounds'][-1]['engine']['bytes_before'] / MIB:.1f}")
        + ": less where huge pages are left whole")


def why_missing(name, arguments, no_ksm):
    """Why a figure is None."""
    if name.startswith("plain_"):
        if no_ksm or arguments.only == "engine":
            return no_ksm or "left out by --only=engine"
        name = name.removeprefix("plain_")
    elif arguments.only == "plain":
        return "left out by --only=plain"
    elif arguments.backend == "ksmfs" and name in (
            "ksmtuned_cpu_seconds", "ksmd_cpu_seconds"):
        return "it has no part in merging on ksmfs"
    if name == "pages_sharing":
        return "this kernel has no KSM"
    if name == "seconds_to_95pct":
        return "nothing was saved"
    if name == "mergeable_bytes":
        return "ksmtuned does not tell how many digests have twins"
    return "its /proc entry can't be read"


def show(terminal, report, arguments, no_ksm):
    """All of a report that is for people."""
    show_table(terminal, report)
    if report.get("mergeable_bytes") is not None:
        show_mergeable(terminal, report)
    for name, value in report.items():
        if value is None:
            terminal.say(f"not measured: {name.replace('_', ' ')}: "
                         + why_missing(name, arguments, no_ksm))
