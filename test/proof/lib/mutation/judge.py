"""The row of the proof, from the results of make proof-mutation: id, file, line, what,
verdict, by whom, seconds.

An answer is a line of answers: the file, what was changed, the text of the line (blanks
count once), and why no test can see it.
"""

import collections
import os
import sys

TARGET = 95.0
ANSWERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "answers")


def read_answers():
    with open(ANSWERS) as handle:
        rows = [row.rstrip("\n").split("\t") for row in handle if row.strip() and not row.startswith("#")]
    return {tuple(row[:3]) for row in rows}


def line_of(file, number):
    with open(file) as handle:
        return " ".join(handle.read().split("\n")[number - 1].split())


def main(results):
    counts, left, answers = collections.Counter(), 0, read_answers()
    with open(results) as handle:
        rows = [row.rstrip("\n").split("\t") for row in handle]
    for _, file, line, what, verdict, _, _ in rows:
        text = line_of(file, int(line))
        if verdict == "survived" and (file, what, text) in answers:
            verdict = "answered"
        if verdict == "survived":
            print("%s:%s: %s\t%s" % (file, line, what, text), file=sys.stderr)
        counts[verdict] += 1
    whole = counts["killed"] + counts["survived"] + counts["answered"]
    share = 100.0 * counts["killed"] / whole if whole else 0.0
    passed = share >= TARGET and counts["survived"] == 0
    print("the tests see faults\toperators, constants and statements of `src/model` and `src/verify` changed, one at a time\t"
          "%d of %d seen, %.1f %%; %d answered, %d not; %d more compile to the same code\t%s" % (
              counts["killed"], whole, share, counts["answered"], counts["survived"], counts["same"],
              "pass" if passed else "fail"))
    return passed


sys.exit(0 if main(sys.argv[1]) else 1)
