"""Counts lines and branches that the tests have reached, from what gcov says.

    counts.py collect SOURCES GCDA [FILE...]
                                        the counts of one run, as JSON
    counts.py report [--partly] HOW FILE...
                                        the rows of the proof; with all tests, what is
                                        not reached must have an answer

A branch is one way on from an if, a loop, a case, ?:, && or || that stands in our
sources.  Not counted are those that gcov sees in the server's macros: of ereport() and
elog(), which branch on the level of the message, PG_TRY() and its like, which branch on
setjmp(), CHECK_FOR_INTERRUPTS(), and of statements that have no branch of their own; of
foreach() whether the loop goes on, and not how it finds that out.
Assertions are not compiled in; no program is right that depends on one.

An answer is a line of test/proof/lib/coverage/answers: the file, the reason, which that
file lists, and the text of the line (blanks count once).  With * for the file, the text is a
regular expression for lines anywhere; with "function NAME" for the text, it is all that is not reached of
that function of the file, which is for functions that have one reason as a whole.  A line that
is not reached because an answered one directly before it is not left that way has that answer, too.
"""

import collections
import glob
import json
import os
import re
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "..")
ANSWERS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "answers")
TARGETS = (95.0, 90.0)

SERVERS = re.compile(r"\b(ereport|elog|PG_TRY|PG_CATCH|PG_FINALLY|PG_END_TRY|CHECK_FOR_INTERRUPTS|"
                     r"PG_ENSURE_ERROR_CLEANUP|PG_END_ENSURE_ERROR_CLEANUP|Assert)\b")
OURS = re.compile(r"\b(if|while|for|foreach\w*|switch|case|default|Min|Max)\b|&&|\|\||\?")
FOREACH = re.compile(r"\bforeach(_\w+)?\(")
FUNCTION = re.compile(r"(\w+)\(")
TOKEN = re.compile(r"/\*.*?\*/|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'|\n|[;{}]|\b(?:ereport|elog)\b|\w+|[ \t]+|.", re.S)


# ----------------------------------------------------------------- collect

def gcov(gcno_directory, gcda):
    """What gcov says of one object; its two files must lie side by side."""
    name = os.path.basename(gcda)
    there = os.path.join(gcno_directory, name)
    if os.path.lexists(there):
        os.remove(there)
    os.symlink(gcda, there)
    said = subprocess.run(["gcov", "--json-format", "--stdout", "--branch-probabilities", "--branch-counts", name], cwd=gcno_directory,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout
    return json.loads(said)


def collect(sources, gcda_root, files):
    counts = {}
    for gcno in sorted(glob.glob(sources + "/src/**/*.gcno", recursive=True)):
        path = os.path.relpath(gcno, sources)[:-len(".gcno")]
        if files and path + ".c" not in files:
            continue
        gcda = os.path.join(gcda_root, path + ".gcda")
        if not os.path.exists(gcda):
            print("no process has counted in " + path, file=sys.stderr)
            continue
        for file in gcov(os.path.dirname(gcno), gcda)["files"]:
            name = re.sub(r"^.*?(?=src/)", "", file["file"])
            if name == path + ".c":
                counts[name] = [[line["line_number"], line["count"], [b["count"] for b in line["branches"]]]
                                for line in file["lines"]]
    json.dump(counts, sys.stdout)


def merged(files):
    """The sums of several runs: file -> line -> [count, counts of branches]."""
    sums = collections.defaultdict(dict)
    for name in files:
        with open(name) as handle:
            run = json.load(handle)
        for file, lines in run.items():
            for number, count, branches in lines:
                known = sums[file].setdefault(number, [0, [0] * len(branches)])
                known[0] += count
                known[1] = [a + b for a, b in zip(known[1], branches)]
    return sums


# ------------------------------------------------------------------ report

def statements(text):
    """The statements of a source: their lines, and their text without strings and comments."""
    lines, code, number = set(), "", 1
    for token in TOKEN.findall(text):
        ends = token in (";", "{", "}") and not re.match(r"\s*for\b[^{}]*$", code + token)
        if ends or token in ("ereport", "elog"):
            yield lines, code
            lines, code = set(), ""
        if not ends and not token.isspace() and not token.startswith("/*"):
            lines.add(number)
            code += "" if token[0] in "\"'" else token
        number += token.count("\n")


def branching_lines(text):
    """The lines of the statements that have branches of their own."""
    return {line for lines, code in statements(text) if OURS.search(code) and not SERVERS.search(code) for line in lines}


def functions(lines):
    """The name of the function of each line, or None: a name at the start of a line, up to a brace there."""
    names, name = [None], None
    for line in lines:
        begins = FUNCTION.match(line)
        if begins:
            name = begins.group(1)
        names.append(name)
        if line.startswith("}"):
            name = None
    return names


def ours_of(text, branches):
    """The branches of a line without those of the server's macros."""
    return branches[-2:] if FOREACH.search(text) and len(branches) > 2 else branches


def blanks_once(text):
    return " ".join(text.split())


class Folder:
    def __init__(self):
        self.lines = self.reached = self.branches = self.taken = 0

    def add(self, count, branches):
        self.lines += 1
        self.reached += count > 0
        self.branches += len(branches)
        self.taken += sum(b > 0 for b in branches)

    def shares(self):
        return tuple(100.0 * part / whole if whole else 100.0
                     for part, whole in ((self.reached, self.lines), (self.taken, self.branches)))


def folder_of(file):
    return os.path.dirname(file)[len("src/"):] or "init"


def all_sources():
    return {os.path.relpath(name, ROOT) for name in glob.glob(ROOT + "/src/**/*.c", recursive=True)}


def examine(sums):
    """The folders, and what is not reached: (file, number, text, count, branches,
    function, whether the line of code before it is missed, too)."""
    if all_sources() != set(sums):
        raise SystemExit("not counted: %s" % sorted(all_sources() ^ set(sums)))
    folders, missed = collections.defaultdict(Folder), []
    for file in sorted(sums):
        with open(os.path.join(ROOT, file)) as handle:
            text = handle.read()
        ours, lines = branching_lines(text), text.split("\n")
        names, before = functions(lines), False
        folder = folder_of(file)
        for number, (count, branches) in sorted(sums[file].items()):
            branches = ours_of(lines[number - 1], branches) if number in ours else []
            folders[folder].add(count, branches)
            is_missed = count == 0 or 0 in branches
            if is_missed:
                missed.append((file, number, blanks_once(lines[number - 1]), count, branches, names[number], before))
            before = is_missed
    return folders, missed


def read_answers():
    """The answers as a multiset of (file, text), and the expressions."""
    answers, anywhere, reasons = collections.Counter(), [], set()
    with open(ANSWERS) as handle:
        for row in handle:
            row = row.rstrip("\n")
            if row.startswith("#") or not row:
                reasons.update(re.findall(r"^# ([a-z-]+):", row))
                continue
            file, reason, text = row.split("\t")
            if reason not in reasons:
                raise SystemExit("answers: the reason %s is not explained" % reason)
            if file == "*":
                anywhere.append(re.compile(text))
            else:
                answers[file, text] += 1
    return answers, anywhere


def unanswered(missed):
    left, used, is_answered = [], set(), False
    answers, anywhere = read_answers()
    for place in missed:
        file, _, text, count, _, name, follows = place
        function = (file, "function %s" % name)
        is_body = count == 0 and follows and is_answered
        is_answered = True
        if function in answers:
            used.add(function)
        elif answers[file, text] > 0:
            answers[file, text] -= 1
        elif not is_body and not any(expression.search(text) for expression in anywhere):
            is_answered = False
            left.append(place)
    for (file, text), count in answers.items():
        if count > 0 and (file, text) not in used:
            print("answers: reached by now, or gone: %s\t%s" % (file, text), file=sys.stderr)
    return left


def report(partly, how, files):
    folders, missed = examine(merged(files))
    left = unanswered(missed)
    unanswered_folders = {folder_of(place[0]) for place in left}
    failed = False
    whole = Folder()
    for name, folder in sorted(folders.items()):
        shares = folder.shares()
        passed = name not in unanswered_folders
        for field in vars(whole):
            setattr(whole, field, getattr(whole, field) + getattr(folder, field))
        failed |= not passed and not partly
        print("the tests reach the code\t`src/%s` under gcov\t%d lines, %.1f %%; %d branches, %.1f %%\t%s" % (
            name, folder.lines, shares[0], folder.branches, shares[1],
            "pass" if passed else "fail" if not partly else "skipped"))
    for file, number, text, count, branches, _, _ in left:
        print("%s:%d: %s\t%s" % (file, number, "not reached" if count == 0 else
                                 "branches %s" % " ".join(map(str, branches)), text), file=sys.stderr)
    enough = all(share >= target for share, target in zip(whole.shares(), TARGETS))
    failed |= (bool(left) or not enough) and not partly
    print("what they do not reach is answered\t%s; all of `src`: %d lines, %.1f %%, %d branches, %.1f %%\t%d places, %d without an answer\t%s" % (
        how, whole.lines, whole.shares()[0], whole.branches, whole.shares()[1], len(missed), len(left),
        "skipped" if partly else "pass" if enough and not left else "fail"))
    return failed


def main(arguments):
    if arguments[0] == "collect":
        collect(arguments[1], arguments[2], arguments[3:])
        return 0
    partly = "--partly" in arguments
    arguments = [a for a in arguments[1:] if a != "--partly"]
    return report(partly, arguments[0], arguments[1:])


sys.exit(main(sys.argv[1:]))
