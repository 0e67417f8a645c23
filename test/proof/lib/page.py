# SPDX-License-Identifier: PostgreSQL
"""Puts rows of a part into the table of the proof: page.py PAGE whole|some PART RUN MACHINE PARTS...

From stdin come promise, how it was tried, figure and result, separated by tabs.  They
take the place of all rows of the part, or, of some, of those with the same promise.
What was never run is said to be so: a part without rows, and, once there are some, what
else the part has."""

import os
import re
import sys

BEGIN, END = "<!-- table -->", "<!-- end of the table -->"
HEAD = ["| part | promise | how it was tried | figure | result | run |", "|---|---|---|---|---|---|"]
NOT_RUN = "not run"
RESULTS = ("pass", "fail", "skipped")


def cells(line):
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def line(row):
    return "".join(f"| {cell} ".replace("  ", " ") for cell in (cell.replace("|", "\\|") for cell in row)) + "|"


def read_new(source, part, run):
    rows = []
    for text in filter(str.strip, source):
        columns = text.rstrip("\n").split("\t")
        if len(columns) != 4 or columns[3] not in RESULTS:
            raise SystemExit(f"this is no row: {text}")
        rows.append([part, *columns, run])
    return rows


def by_promise(rows):
    found = {}
    for row in rows:
        found.setdefault(row[1], []).append(row)
    return found


def merged(old, new, part, is_whole):
    """The rows of a part; who is replaced keeps his place."""
    run = [] if is_whole else [row for row in old if row[4] != NOT_RUN]
    promises = by_promise(run)
    promises.update(by_promise(new))
    rows = sum(promises.values(), [])
    was_whole = len(new) > 0 if is_whole else 0 < len(run) == len(old)
    return rows if was_whole else rows + [[part, "everything else" if rows else "all of it", "", "", NOT_RUN, ""]]


def main():
    page, scope, part, run, machine, *parts = sys.argv[1:]
    with open(page) as source:
        before, rest = source.read().split(BEGIN)
    table, after = rest.split(END)
    old = [cells(text) for text in table.splitlines() if text.startswith("| ")][1:]
    rows = []
    for name in parts:
        mine = [row for row in old if row[0] == name]
        new = read_new(sys.stdin, part, run) if name == part else []
        rows += merged(mine, new, name, scope == "whole" and name == part)
    text = "\n".join([f"Last written on {machine}.", "", *HEAD, *map(line, rows)])
    with open(page + ".new", "w") as out:
        out.write(f"{before}{BEGIN}\n{text}\n\n{END}{after}")
    os.rename(page + ".new", page)


if __name__ == "__main__":
    main()
