# SPDX-License-Identifier: GPL-2.0-or-later
"""The rows of the report: what was measured, and what it has to be.

A row of report.json has

id       as below; what follows a slash tells which of several it is
value    the median of the rounds, null if there is none
unit     of the value; empty without any round
target   what the value has to be, null where there is only something to see
bound    "most" or "least": which side of the target is right
met      whether it is; null without a target
spread   the least and the greatest of the rounds
peers    figures beside it, by name and unit: medians, too
how      how it was measured, and how often; without any round, why not
rounds   the value of each round
series   only where there are some: curves to plot, each with its name, unit,
         x_unit and points, which are pairs of x and y
"""

import dataclasses
import statistics


@dataclasses.dataclass(frozen=True)
class Target:
    value: float
    bound: str = "most"

    def is_met(self, value):
        return value is not None and (value <= self.value
                                      if self.bound == "most"
                                      else value >= self.value)


def median(values):
    """Of those that there are, None if there are none."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def row(name, unit, rounds, how, *, target=None, peers=(), series=()):
    """ROUNDS: the value of each round.  PEERS: (name, values) pairs."""
    known = [value for value in rounds if value is not None]
    # A round without a value is one that failed to get there.
    value = median(rounds) if len(known) == len(rounds) else None
    return {
        "id": name, "value": value, "unit": unit,
        "target": target and target.value,
        "bound": target and target.bound,
        "met": target and target.is_met(value),
        "spread": [min(known), max(known)] if known else None,
        "peers": {peer: median(values) for peer, values in dict(peers).items()},
        "how": how + (f"; {len(rounds)} round{'s' * (len(rounds) > 1)}"
                      if rounds else ""),
        "rounds": list(rounds),
        **({"series": list(series)} if series else {}),
    }


def is_part(peer):
    """Is it one of the figures that another one is the sum of?"""
    return ": " in peer


def number(value):
    """A figure for people: three digits, or all that are before the point."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def in_words(found):
    """What a round has found, in any form, on a line for people."""
    if isinstance(found, dict):
        return ", ".join(f"{name} {in_words(value)}"
                         for name, value in found.items())
    if isinstance(found, (list, tuple)):
        return "; ".join(map(in_words, found))
    return (number(found) if found is None or isinstance(found, (int, float))
            else str(found))


def measured(row):
    """The value in words."""
    return ("no value" if row["value"] is None
            else f"{number(row['value'])} {row['unit']}")


def aim(row):
    """The target in words."""
    return ("" if row["target"] is None
            else f"at {row['bound']} {number(row['target'])}")


def verdict(row):
    """Whether the target is met, and by how much."""
    if row["target"] is None:
        return ""
    word = "met" if row["met"] else "missed"
    if row["value"] is None:
        return f"{word}, no value"
    if row["target"] == 0:
        return word if row["met"] else f"{word} by {number(row['value'])}"
    part = row["value"] / row["target"]
    # What misses by a hair does not look as if it were met.
    digits = 2 if row["met"] or f"{part:.2f}" != "1.00" else 5
    return f"{word}, {part:.{digits}f} of target"


def spread(row):
    """The least and the greatest round in words; one, if they are the same."""
    return " to ".join(dict.fromkeys(map(number, row["spread"] or ())))


def missed(rows):
    """Lines on targets that are not met."""
    return [f"target missed: {row['id']} "
            + ("-" if row["value"] is None else f"{row['value']:.4g}")
            + f" {row['target']:g}"
            for row in rows if row["met"] is False]
