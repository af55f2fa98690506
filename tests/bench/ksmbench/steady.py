# SPDX-License-Identifier: GPL-2.0-or-later
"""What merging goes on to take when all is merged and nothing is written."""

import time
from pathlib import Path

from . import filled, ways
from .bench import Merging, cpu_sum
from .rows import Target, row

ROWS = {
    # For each so much of memory.
    "steady": Target(0.3),
    "metadata": Target(24),
}
GROUPS = [tuple(ROWS)]
PER_GIB = 4
SHARE = 0.25
SLABS = Path("/sys/kernel/slab")


def ksmd_bytes():
    """What ksmd keeps in objects of its own, most of it for rmap items."""
    # Those of one size may be in one slab, by several names.
    return sum(int((slab / "total_objects").read_text().split()[0])
               * int((slab / "slab_size").read_text())
               for slab in {slab.resolve() for slab in SLABS.glob("ksm_*")})


def measure_one(bench, kind, filling, seconds):
    """Percent of a core, and bytes that are kept for a page, both by whom."""
    before = ksmd_bytes()
    with bench.way(kind) as way, \
            bench.filled(way, filling.contents) as guests:
        merging = Merging(way, guests, filling)
        merging.reach()
        merging.wait_rest()
        start = way.cpu()
        time.sleep(seconds)
        used = {name: 100 * (cpu - start[name]) / seconds
                for name, cpu in way.cpu().items()}
        pages = way.pages()
        kept = {name: size / pages for name, size in
                {**way.metadata(), "ksmd": ksmd_bytes() - before}.items()}
        merging.verify()
        return used, kept


def measure(bench, wanted):
    mib = bench.sized(2048, 256)
    seconds = bench.sized(60, 5)
    filling = filled.twins(mib, SHARE, 51, filled.numbered_pages())
    results = bench.in_turns(
        "steady", 3, (ways.FullSpeed, ways.Engine),
        lambda kind: measure_one(bench, kind, filling, seconds))
    gib = 2 * mib / 1024
    if "steady" in wanted:
        yield row("steady", f"% of a core for {PER_GIB} GiB",
                  [cpu_sum(used) * PER_GIB / gib
                   for used, _ in results[ways.Engine]],
                  f"2 guests of {mib} MiB, merged, with {SHARE:.0%} of twins, "
                  "in which nothing is written; CPU time of engines, ksmtuned "
                  f"and ksmd in {seconds} s", target=ROWS["steady"],
                  peers={"ksmd-full-speed, % of a core": [
                             cpu_sum(used)
                             for used, _ in results[ways.FullSpeed]],
                         **{f"qemu-ksm: {part}, % of a core": [
                             used[part] for used, _ in results[ways.Engine]]
                            for part in ("engine", "ksmtuned", "ksmd")}})
    if "metadata" in wanted:
        kept = {kind: [parts for _, parts in found]
                for kind, found in results.items()}
        yield row("metadata", "bytes a page",
                  [parts["engine"] + parts["ksmtuned"]
                   for parts in kept[ways.Engine]],
                  f"2 guests of {mib} MiB; what engines and ksmtuned keep, as "
                  "they say, for each page that is tracked; ksmd's is that of "
                  "its slabs, and where it is alone for each page that it "
                  "knows",
                  target=ROWS["metadata"], peers={
                      f"{kind.name}: {part}": [parts[part]
                                               for parts in kept[kind]]
                      for kind in kept for part in kept[kind][0]})
