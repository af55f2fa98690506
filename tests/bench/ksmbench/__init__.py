# SPDX-License-Identifier: GPL-2.0-or-later
"""The benchmark suite: what merging costs, and what it brings.

bench      what all benchmarks need: programs, rounds, a guest of each kind
rows       the rows of the report: what was measured, and what it has to be
ways       ways of merging that are compared
filled     guests whose memory is filled from outside
machine    where and when a report was made
report     rows and machine, as files
working    guests under KVM that go through their memory for ever
page       the report as a page to look at
plots      the plots on it
rst        the report as a document

Each other module is a benchmark.  Its GROUPS names the rows that it measures,
those together that are measured together; measure(bench, wanted) makes those
that are wanted of one group, one by one.  But merges, cow and slowdown are
parts of one, nested, which has them measured in an emulated host.
"""
