# SPDX-License-Identifier: PostgreSQL
"""What is wrong in a log with verbose errors: judge.py LOG SOURCES

Prints how many errors there were, and shows what is a finding: an end that nobody
asked for, or an internal error that a source of ours raises, or that is raised while
a function of ours is at work.  Exits with 1 if there was one."""

import os
import re
import sys

ENDS = re.compile(r"TRAP:|PANIC:|terminated by signal|FATAL:  XX")
ERROR = re.compile(r"(?:ERROR|FATAL|WARNING):  (\w{5}): ")
DAMAGE = ("XX001", "XX002")


def entries(log):
    """The lines of the log, those of one message together."""
    entry = []
    for line in log:
        if re.match(r"\d{4}-\d\d-\d\d .* (ERROR|FATAL|PANIC|LOG|WARNING):  ", line) and entry:
            yield entry
            entry = []
        entry.append(line.rstrip("\n"))
    if entry:
        yield entry


def is_ours(entry, sources):
    """By where it was raised, or by what was under way, which is not the query itself."""
    in_context = False
    for line in entry:
        place = re.search(r"LOCATION:  \w+, ([\w.]+):\d+", line)
        if place and place.group(1) in sources:
            return True
        if re.search(r"STATEMENT:  ", line):
            return False
        in_context = "CONTEXT:  " in line or (in_context and line.startswith("\t"))
        if in_context and re.search(r"apikey", line):
            return True
    return False


def main():
    sources = {name for _, _, names in os.walk(sys.argv[2]) for name in names if name.endswith(".c")}
    errors, findings, internal = 0, [], 0
    with open(sys.argv[1], errors="replace") as log:
        for entry in entries(log):
            state = ERROR.search(entry[0])
            errors += state is not None and not entry[0].startswith("WARNING", state.start())
            is_internal = state is not None and state.group(1).startswith("XX")
            internal += is_internal
            if ENDS.search(entry[0]) or (is_internal and (state.group(1) in DAMAGE or is_ours(entry, sources))):
                findings.append(entry)
    for entry in findings[:10]:
        print("\n".join(entry[:12]), file=sys.stderr)
    print(f"{errors} errors, {internal} internal ones of the server: {len(findings)} wrong")
    return 1 if findings or errors == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
