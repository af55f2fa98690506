# SPDX-License-Identifier: GPL-2.0-or-later
"""Idle Linux guests: what it takes to merge them, and what it takes then."""

from ksmtest import emulated, ksmhost
from ksmtest.ksmtuned import Ksmtuned
from ksmtest.merging import KsmtunedMerging, PlainMerging, Setup
from ksmtest.report import GOAL, Measured, of_round, total_cpu
from ksmtest.vm import probe_kvm

from .rows import Target, row

MEMORY_MIB = 256
SECONDS = 120

NUMBERS = (4, 8)
ROWS = {f"guests-{number}{what}": target for number in NUMBERS
        for what, target in (("", Target(0.4)), ("/time", Target(0.6)),
                             ("/steady", None))}
GROUPS = [tuple(name for name in ROWS if name.split("/")[0] == f"guests-{n}")
          for n in NUMBERS]


class Quiet:
    """A terminal for nobody: what would be on it is in a file."""

    def __init__(self, path):
        self._path = path

    def say(self, text=""):
        with open(self._path, "a") as file:
            print(text, file=file)

    progress = say


def measure_round(bench, setup, terminal):
    """Both ways, with fresh guests each."""
    ksmhost.unmerge()
    with bench.directory() as directory, \
            Ksmtuned(bench.ksmtuned, directory,
                     bench.output / "ksmtuned.log", settings="") as ksmtuned:
        engine = Measured(KsmtunedMerging(setup, terminal, "ksmd", ksmtuned))
    ksmhost.unmerge()
    plain = Measured(PlainMerging(setup, terminal))
    figures = of_round(engine, plain)
    return {**figures,
            "seconds": engine.seconds_up_to(figures["engine_goal_bytes_saved"]),
            "plain_seconds": plain.seconds_up_to(figures["goal_bytes_saved"])}


def measure(bench, wanted):
    name, = {name.split("/")[0] for name in wanted}
    number = int(name.removeprefix("guests-"))
    kernel, initrd = emulated.GUEST / "vmlinuz", emulated.GUEST / "initrd.img"
    no_kvm = probe_kvm(bench.qemu, bench.output, kernel, initrd)
    accel = "tcg,thread=multi" if no_kvm else "kvm"
    setup = Setup(qemu=bench.qemu, accel=accel, guests=number,
                  memory_mib=MEMORY_MIB, kernel=kernel, initrd=initrd,
                  append="", output=bench.output, seconds=SECONDS,
                  verify=True)
    terminal = Quiet(bench.output / f"guests-{number}.log")
    rounds = [measure_round(bench, setup, terminal)
              for _ in bench.rounds(3)]
    how = (f"{number} Linux guests of {MEMORY_MIB} MiB under {accel}, whose "
           "files have the checksums that they had before they were merged")
    until = (f"until as little of their memory is left in use as when ksmd "
             f"alone has {GOAL:.0%} of what it saves")

    def values(key):
        return [r[key] for r in rounds]

    def ratios(mine, theirs):
        return [r["goal_reached"] and mine(r) / theirs(r) or None
                for r in rounds]

    if name in wanted:
        yield row(name, "of ksmd's CPU time at full speed",
                  ratios(total_cpu, lambda r: r["plain_ksmd_cpu_seconds"]),
                  f"{how}; CPU time of engines, ksmtuned and ksmd {until}",
                  target=ROWS[name], peers={
                      "ksmd-full-speed, CPU s":
                          values("plain_ksmd_cpu_seconds"),
                      "qemu-ksm, CPU s": map(total_cpu, rounds),
                      **{f"qemu-ksm: {part}, CPU s":
                         values(f"{part}_cpu_seconds")
                         for part in ("engine", "ksmtuned", "ksmd")},
                      "ksmd-full-speed, MiB saved": [
                          value / (1 << 20)
                          for value in values("plain_bytes_saved")],
                      "qemu-ksm, MiB saved": [
                          value / (1 << 20) for value in values("bytes_saved")],
                      "ksmd-full-speed, MiB left": [
                          value / (1 << 20)
                          for value in values("plain_bytes_used")],
                      "qemu-ksm, MiB left": [
                          value / (1 << 20) for value in values("bytes_used")],
                  })
    if f"{name}/time" in wanted:
        yield row(f"{name}/time", "of the time of ksmd at full speed",
                  ratios(lambda r: r["seconds"], lambda r: r["plain_seconds"]),
                  f"{how}; time from the start of merging {until}, as read "
                  f"every {PlainMerging.sample_seconds} s",
                  target=ROWS[f"{name}/time"], peers={
                      "ksmd-full-speed, s": values("plain_seconds"),
                      "qemu-ksm, s": values("seconds")})
    if f"{name}/steady" in wanted:
        yield row(f"{name}/steady", "% of a core",
                  values("steady_cpu_percent"),
                  f"{how}, idle and merged; CPU time of engines, ksmtuned and "
                  f"ksmd in {KsmtunedMerging.steady_seconds} s, and of ksmd "
                  f"alone in {PlainMerging.steady_seconds} s", peers={
                      "ksmd-full-speed, % of a core":
                          values("plain_steady_cpu_percent")})
