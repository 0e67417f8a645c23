# SPDX-License-Identifier: PostgreSQL
"""The table of all rounds: summary.py FILE... of what round.py has printed; a line
for one: summary.py --round FILE."""

import json
import sys
from collections import Counter

# What was checked, and what it is called.
PROMISES = [
    ("no change lost", "keys", "keys, compared with what was acknowledged"),
    ("no stale yes", "answers", "answers of verify"),
    ("no untimely no", "answers", "answers of verify"),
    ("no limit passed", "limits", "limits and budgets, before an answer"),
    ("no reservation lost", None, "each release"),
    ("usage counts once", "totals", "totals of keys and budgets"),
    ("each change audited once", "events", "events"),
    ("no other error", None, "each operation"),
    ("nothing crashes", None, "but what is killed"),
    ("apikeys.check() finds nothing", None, "at the end of each round"),
]


FEATURES = {"standby": "a standby", "clock": "a clock that jumps", "disk": "a disk that is full", "small": "a table of keys that is full",
            "async": "usage that is not durable"}


def line(promise, how, figure, is_kept):
    print(f"{promise}\t{how}\t{figure}\t{'pass' if is_kept else 'fail'}")
    return is_kept


def show_round(name):
    with open(name) as source:
        one = json.load(source)
    lies = one.get("lies", {})
    problems = ", ".join([f"{promise}: {count}" for promise, count in one["problems"].items()] +
                         [f"the lie {lie} is not found" for lie, was_found in lies.items() if not was_found])
    print(f"round {one['seed']}: {' '.join(one.get('features', [])) or 'plain'}, {one.get('operations', 0):,} operations, "
          f"{one.get('kills', 0)} kills, {sum(lies.values())} of {len(lies)} lies, {one.get('seconds', 0)} s: {problems or 'sound'}")
    return 0


def main():
    if sys.argv[1] == "--round":
        return show_round(sys.argv[2])
    rounds = [json.load(open(name)) for name in sys.argv[1:]]
    problems, checked, nemesis, features, lies = Counter(), Counter(), Counter(), Counter(), {}
    for one in rounds:
        problems.update(one["problems"])
        checked.update(one["checked"])
        nemesis.update(one.get("nemesis", {}))
        features.update(one.get("features", []))
        for lie, was_found in one.get("lies", {}).items():
            lies.setdefault(lie, []).append(was_found)
    operations = sum(one.get("operations", 0) for one in rounds)
    kills = sum(one.get("kills", 0) for one in rounds)
    how = f"{len(rounds)} rounds of 8 clients, {operations:,} operations, {kills:,} kills -9"
    is_kept = True
    for promise, unit, what in PROMISES:
        figure = f"{checked[unit]:,} {what}" if unit else what
        is_kept &= line(promise, how, f"{figure}: {problems[promise]} wrong", not problems[promise])
    known = {promise for promise, _, _ in PROMISES}
    for promise, count in problems.items():
        if promise in known:
            continue
        is_kept &= line("the round goes to its end", how, f"{promise}: {count}", False)
    done = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in sorted(nemesis.items()))
    line("what went wrong meanwhile", "rounds with " + ", ".join(f"{name} {features[key]}" for key, name in FEATURES.items()), done, True)
    told = sum(map(len, lies.values()))
    found = sum(map(sum, lies.values()))
    is_kept &= line("the checker bites", f"{len(lies)} kinds of lies in histories that are right",
                    f"{found:,} of {told:,} found", told > 0 and found == told)
    return 0 if is_kept else 1


if __name__ == "__main__":
    sys.exit(main())
