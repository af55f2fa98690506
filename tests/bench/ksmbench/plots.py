# SPDX-License-Identifier: GPL-2.0-or-later
"""The plots of a report, drawn by gnuplot.

Each is an SVG file.  Its colours are those of COLOURS, for which a page may
have others.
"""

import dataclasses
import re
import shutil
import subprocess
from itertools import cycle, groupby

from ksmtest.checks import Failure

from .rows import is_part, number

COLOURS = {"ink": "#24292f", "line": "#d0d7de", "met": "#1a7f37",
           "missed": "#bc4c00", "way0": "#0969da", "way1": "#bf8700",
           "way2": "#8250df", "way3": "#6e7781", "way4": "#cf222e"}
WAYS = [name for name in COLOURS if name.startswith("way")]
# The first of them, where ways are compared.
OURS = "qemu-ksm"

# A curve of more points shows none of them.
MARKED = 20
# What spans more than this is on a log scale.
WIDE = 50

WIDTH = 720
LINE = 22
MARGINS = 90

STYLE = f"""
set encoding utf8
set border 1 lc rgb '{COLOURS['ink']}'
set tics nomirror scale 0.5 tc rgb '{COLOURS['ink']}'
set key outside top left horizontal Left reverse tc rgb '{COLOURS['ink']}'
set style fill solid noborder
"""


@dataclasses.dataclass
class Plot:
    """SCRIPT draws it, into an SVG of HEIGHT that is called NAME."""

    name: str
    title: str
    note: str
    height: int
    script: str
    svg: str = ""


def missing():
    """Why nothing can be drawn and the way out, or None."""
    if not shutil.which("gnuplot"):
        return ("gnuplot is missing: install the package gnuplot-nox, as "
                "'make bench' does")
    return None


def quoted(text):
    # In single quotes, gnuplot expands nothing.
    return "'" + " ".join(text.split()).replace("'", "''") + "'"


def labels(axis, texts):
    return f"set {axis}tics (" + ", ".join(
        f"{quoted(text)} {at:g}" for at, text in texts) + ")"


def drawing(curves):
    """A plot command; CURVES: (points, title, how it is drawn) triples."""
    blocks, parts = [], []
    for index, (points, title, how) in enumerate(curves):
        lines = "\n".join(" ".join(f"{value:.9g}" for value in point)
                          for point in points)
        blocks.append(f"$curve{index} << END\n{lines}\nEND")
        parts.append(f"$curve{index} {how} title {quoted(title)}")
    return "\n".join([*blocks, "plot " + ", ".join(parts)])


def log_tics(low, high):
    """1, 2 and 5 of each power of ten, between them."""
    tics = [factor * 10.0 ** power for power in range(-9, 10)
            for factor in (1, 2, 5)]
    tics = [tic for tic in tics if low <= tic <= high]
    return tics if len(tics) < 12 else tics[::3]


def over_target(row, value):
    return (value / row["target"] if row["bound"] == "most"
            else row["target"] / value)


def targets(rows):
    """Value over target, of all rows for which that can be on a log scale."""
    rows = [row for row in rows if row["target"] is not None]
    shown = [row for row in rows if row["target"] and row["spread"]
             and row["value"] and all(value > 0 for value in row["spread"])]
    if not shown:
        return
    points = {"met": [], "missed": []}
    for place, row in enumerate(shown):
        points["met" if row["met"] else "missed"].append(
            [over_target(row, row["value"]), -place,
             *sorted(over_target(row, value) for value in row["spread"])])
    ends = [end for point in sum(points.values(), []) for end in point[2:]]
    low, high = min(*ends, 0.4) / 1.3, max(*ends, 2) * 1.3
    left_out = [row["id"] for row in rows if row not in shown]
    yield Plot(
        "targets", "Value over target",
        "Left of the line a target is met. Bars span the rounds. Where a value "
        "has to be at least its target, it is target over value."
        + (" Not shown, since a value or a target is 0 or none: "
           f"{', '.join(left_out)}." if left_out else ""),
        MARGINS + LINE * len(shown),
        "\n".join([
            labels("y", [(-place, row["id"])
                         for place, row in enumerate(shown)]),
            labels("x", [(tic, f"{tic:g}") for tic in log_tics(low, high)]),
            "set logscale x",
            f"set xrange [{low:g}:{high:g}]",
            f"set yrange [{0.5 - len(shown):g}:0.5]",
            f"set grid x y lc rgb '{COLOURS['line']}' lt 1",
            "set arrow from 1, graph 0 to 1, graph 1 nohead lw 2 "
            f"lc rgb '{COLOURS['ink']}'",
            drawing([(points[word], word,
                      f"with xerrorbars pt {point} ps 0.9 lw 2 "
                      f"lc rgb '{COLOURS[word]}'")
                     for word, point in (("met", 7), ("missed", 5))
                     if points[word]])]))


def ways_of(row, unit):
    """Values of the ways that are compared in UNIT, ours first."""
    ways = {OURS: row["value"]} if row["unit"] == unit else {}
    for peer, value in row["peers"].items():
        name, _, its_unit = peer.rpartition(", ")
        if its_unit == unit and not is_part(peer):
            ways[name] = value
    return dict(sorted(ways.items(), key=lambda way: way[0] != OURS))


def bars(rows, name, unit, title):
    """The ways of each row side by side; its longest bar is as long as all."""
    compared = [(row["id"], ways_of(row, unit)) for row in rows]
    compared = [(row, ways) for row, ways in compared if len(ways) > 1]
    if not compared:
        return
    points, tics, texts, at = {}, [], [], 0
    for row, ways in compared:
        tics.append((at - (len(ways) - 1) / 2, row))
        longest = max((value or 0 for value in ways.values())) or 1
        for way, value in ways.items():
            length = (value or 0) / longest
            points.setdefault(way, []).append(
                [0, at, 0, length, at - 0.4, at + 0.4])
            shown = "no value" if value is None else number(value)
            texts.append(f"set label {quoted(shown)} at {length:g}, "
                         f"{at} offset 0.7, 0 tc rgb '{COLOURS['ink']}'")
            at -= 1
        at -= 0.7
    curves = [(points[way], way, "with boxxyerror "
               f"lc rgb '{COLOURS[WAYS[index % len(WAYS)]]}'")
              for index, way in enumerate(points)]
    yield Plot(name, title, "Each row has a scale of its own; the figures are "
               "medians.", MARGINS + round(LINE * 0.8 * -at), "\n".join([
                   labels("y", tics), *texts, "unset xtics", "set border 2",
                   f"set yrange [{at + 1:g}:0.7]", "set xrange [0:1.12]",
                   drawing(curves)]))


def is_wide(places):
    """Would most of these be at one end, on a linear scale?"""
    return min(places) > 0 and max(places) > WIDE * min(places)


def curves(row):
    """A row's series, those of the same units together."""
    def units(series):
        return series["x_unit"], series["unit"]

    def style(series):
        few = len(series["points"]) <= MARKED
        return "linespoints pt 7 ps 0.5" if few else "lines"

    stem = re.sub(r"[^A-Za-z0-9]+", "-", row["id"])
    ordered = sorted(row.get("series", ()), key=lambda series: (
        units(series), series["name"] != OURS))
    groups = groupby(ordered, units)
    for index, ((x_unit, unit), group) in enumerate(groups):
        lines = [(series["points"], series["name"],
                  f"with {style(series)} lw 2 lc rgb '{colour}'")
                 for series, colour in zip(group, map(COLOURS.get, cycle(WAYS)))
                 if series["points"]]
        places = [point[0] for points, _, _ in lines for point in points]
        if lines:
            yield Plot(f"series-{stem}-{index}", row["id"], "", 360,
                       "\n".join([
                           f"set xlabel {quoted(x_unit)} "
                           f"tc rgb '{COLOURS['ink']}'",
                           f"set ylabel {quoted(unit)} "
                           f"tc rgb '{COLOURS['ink']}'",
                           "set border 3",
                           f"set grid x y lc rgb '{COLOURS['line']}' lt 1",
                           *(["set logscale x"] if is_wide(places) else []),
                           "set yrange [0:*]", drawing(lines)]))


def of_rows(rows):
    """All plots that there is something for."""
    return [*targets(rows), *bars(rows, "cpu", "CPU s", "CPU time, in seconds"),
            *bars(rows, "time", "s", "Time, in seconds"),
            *(plot for row in rows for plot in curves(row))]


def draw(plots, directory):
    """Draws them, each into NAME.svg, in place of those of another report."""
    for old in directory.glob("*.svg"):
        old.unlink()
    script = "".join(
        f"reset session\n"
        f"set terminal svg size {WIDTH},{plot.height} noenhanced "
        "font 'sans-serif,13' background 'white'\n"
        f"set output {quoted(plot.name + '.svg')}\n{STYLE}{plot.script}\n"
        "unset output\n" for plot in plots)
    process = subprocess.run(["gnuplot"], input=script, text=True,
                             cwd=directory, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT)
    if process.returncode:
        raise Failure(f"gnuplot: {process.stdout.strip()}")
    for plot in plots:
        plot.svg = (directory / f"{plot.name}.svg").read_text()
    return plots
