# SPDX-License-Identifier: GPL-2.0-or-later
"""The report as a page: one file, without a script, for light and dark."""

import re
from html import escape
from itertools import groupby
from pathlib import Path

from . import machine
from .plots import COLOURS
from .rows import aim, is_part, number, spread, verdict

STYLE = Path(__file__).with_name("page.css")
COLUMNS = ("Row", "Value", "Target", "Result", "Rounds")


def summary(rows):
    with_target = [row for row in rows if row["target"] is not None]
    met = sum(row["met"] for row in with_target)
    return (f"{met} of {len(with_target)} targets are met."
            " Times are of one machine: ratios are what counts.")


def head(facts, rows):
    lines = "\n".join(f"<dt>{escape(what)}</dt><dd>{escape(words)}</dd>"
                      for what, words in machine.described(facts, rows))
    return (f"<h1>qemu-ksm, measured</h1>\n<p>{escape(summary(rows))}</p>\n"
            f'<dl class="machine">\n{lines}\n</dl>')


def peers(row, parts):
    items = "".join(f"<li>{escape(name)} <b>{number(value)}</b></li>"
                    for name, value in row["peers"].items()
                    if is_part(name) == parts)
    return f'<ul class="peers">{items}</ul>' if items else ""


def value(row):
    if row["value"] is None:
        return "no value"
    return (f'<b>{number(row["value"])}</b> '
            f'<span class="unit">{escape(row["unit"])}</span>')


def body_of_row(row):
    met = {True: "met", False: "missed", None: ""}[row["met"]]
    cells = (value(row), escape(aim(row)),
             f'<span class="{met}">{verdict(row)}</span>' if met else "",
             escape(spread(row)))
    shown = "".join(f'<td data-label="{label}">{cell}</td>'
                    for label, cell in zip(COLUMNS[1:], cells))
    rounds = ", ".join(map(number, row["rounds"]))
    # Why there is no value is what matters then.
    details = ("<details><summary>how it was measured</summary>" if rounds
               else '<details open=""><summary>why there is no value</summary>')
    how = escape(row["how"]) + f": {rounds}" * bool(rounds)
    return f"""<tbody>
<tr><th scope="row"><code>{escape(row["id"])}</code></th>{shown}</tr>
<tr class="more"><td colspan="{len(COLUMNS)}">
{peers(row, False)}
{details}
<p>{how}</p>{peers(row, True)}</details></td></tr>
</tbody>"""


def table(facts, rows):
    columns = "".join(f'<th scope="col">{column}</th>' for column in COLUMNS)
    bodies = []
    for title, group in groupby(
            rows, lambda row: facts["asked"].get(row["id"], "")):
        bodies.append(f'<tbody class="group"><tr><th colspan="{len(COLUMNS)}" '
                      f'scope="rowgroup">{escape(title)}</th></tr></tbody>')
        bodies += map(body_of_row, group)
    return (f"<table>\n<thead><tr>{columns}</tr></thead>\n"
            + "\n".join(bodies) + "\n</table>")


def inline(plot):
    """For a page: ids of its own, no background, the page's colours."""
    label = f'<svg role="img" aria-label="{escape(plot.title)}"'
    svg = label + plot.svg.partition("<svg")[2]
    # What gnuplot calls a plot, and each curve, would show as hints.
    svg = re.sub(r"<(title|desc)>.*?</\1>", "", svg)
    svg = re.sub(r"(\bid=['\"]|\bhref=['\"]#)", rf"\1{plot.name}-", svg)
    svg = svg.replace("#ffffff", "none")
    for name, colour in COLOURS.items():
        rgb = r",\s*".join(str(part) for part in bytes.fromhex(colour[1:]))
        svg = re.sub(rf"rgb\(\s*{rgb}\)", f"var(--{name})", svg)
    return svg


def figure(plot):
    return (f"<figure>\n<figcaption>{escape(plot.title)}\n"
            f'<p class="note">{escape(plot.note)}</p></figcaption>\n'
            f"{inline(plot)}</figure>")


def figures(plots):
    return "\n".join(["<h2>Plots</h2>" * bool(plots), *map(figure, plots)])


def of_report(facts, rows, plots):
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<title>qemu-ksm, measured</title>
<style>
{STYLE.read_text()}</style>
</head>
<body>
{head(facts, rows)}
<h2>Rows</h2>
{table(facts, rows)}
{figures(plots)}
</body>
</html>
"""
