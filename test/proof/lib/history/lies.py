# SPDX-License-Identifier: PostgreSQL
"""Faults that are planted in a history that is right: a checker that bites finds
each of them.  Each returns false if there is nothing to falsify."""

import copy

from record import FAIL, OK


def pick(rng, ops):
    ops = list(ops)
    return rng.choice(ops) if ops else None


def of_kind(history, *kinds):
    return (op for op in history.ops if op.kind in kinds and op.result == OK)


def forge(rng, found, column, value):
    """One of the rows that were found says something else; False: there is none."""
    if not found:
        return False
    op, number = rng.choice(found)
    op.rows = [list(row) for row in op.rows]
    op.rows[number][column] = value
    return True


def yes_after_the_end(history, facts, rng):
    """A verify of a key that had ended says that it is valid."""
    found = [(op, number) for op in of_kind(history, "verify") for number, id in enumerate(op.data["keys"])
             if facts.is_over(facts.keys[id], op.start) and op.rows[number][0] == "REVOKED"]
    return forge(rng, found, 0, "VALID")


def old_version(history, facts, rng):
    """A verify shows a version that has been replaced."""
    found = [(op, number) for op in of_kind(history, "verify") for number, row in enumerate(op.rows)
             if row[0] == "VALID" and row[1] != "0" and "0" not in facts.versions(facts.keys[op.data["keys"][number]], op.start, op.end)]
    return forge(rng, found, 1, "0")


def one_too_many(history, facts, rng):
    """The request that a full limit refused has passed."""
    found = [(op, number) for op in of_kind(history, "verify") for number, row in enumerate(op.rows)
             if row[0] == "RATE_LIMITED" and set(facts.keys[op.data["keys"][number]].limits) == {"requests_per_day"}
             and facts.keys[op.data["keys"][number]].parent is None
             and not any(crash[0] < op.end for crash in history.crashes)]
    return forge(rng, found, 0, "VALID")


def usage_twice(history, facts, rng):
    return change_total(history, rng, 1)


def usage_lost(history, facts, rng):
    return change_total(history, rng, -1)


def change_total(history, rng, count):
    row = pick(rng, (row for row in history.final["keys"] if row["requests"] > 0))
    if row:
        row["requests"] += count
    return row is not None


def cost_lost(history, facts, rng):
    row = pick(rng, (row for row in history.final["budgets"] if row["spent"] > 0))
    if row:
        row["spent"] -= 1
    return row is not None


def event_lost(history, facts, rng):
    events = [event for event in history.final["events"] if event[0] in ("update", "generate", "rotate", "budget_add")]
    if events:
        history.final["events"].remove(rng.choice(events))
    return bool(events)


def event_twice(history, facts, rng):
    events = [event for event in history.final["events"] if event[0] in ("update", "revoke", "delete")]
    if events:
        history.final["events"].append(rng.choice(events))
    return bool(events)


def update_lost(history, facts, rng):
    """What was acknowledged last of a key is not there."""
    found = [row for row in history.final["keys"] if row["id"] in facts.keys and facts.keys[row["id"]].updates
             and len(facts.versions(facts.keys[row["id"]], history.final["at"], history.final["at"])) == 1]
    row = pick(rng, found)
    if row:
        row["version"] = "0"
    return row is not None


def revoke_lost(history, facts, rng):
    row = pick(rng, (row for row in history.final["keys"] if row["revoked"] and row["id"] in facts.keys
                     and any(op.result == OK and op.kind == "revoke" and not op.data.get("raw") for op in facts.keys[row["id"]].revokes)))
    if row:
        row["revoked"] = False
    return row is not None


def key_lost(history, facts, rng):
    rows = [row for row in history.final["keys"] if row["id"] in facts.keys
            and not facts.may_be_gone(facts.keys[row["id"]], history.final["at"])]
    if rows:
        history.final["keys"].remove(rng.choice(rows))
    return bool(rows)


def rollback_stays(history, facts, rng):
    """What was rolled back is seen."""
    op = pick(rng, (op for op in history.ops if op.kind == "update" and op.result == FAIL and op.error is None
                    and op.data["key"] in facts.keys))
    row = op and next((row for row in history.final["keys"] if row["id"] == op.data["key"]), None)
    if row:
        row["version"] = op.data["version"]
    return bool(row)


def reservation_lost(history, facts, rng):
    op = pick(rng, (op for op in of_kind(history, "release") if op.rows[0][0]
                    and not any(crash[0] < op.end for crash in history.crashes)))
    if op:
        op.rows = [[False]]
    return op is not None


def two_winners(history, facts, rng):
    """Of two who rotate a key, both have succeeded."""
    op = pick(rng, (op for op in of_kind(history, "rotate") if op.data["key"] in facts.keys))
    if op:
        twin = copy.copy(op)
        twin.who = "liar"
        history.ops.append(twin)
    return op is not None


ALL = [yes_after_the_end, old_version, one_too_many, usage_twice, usage_lost, cost_lost, event_lost, event_twice,
       update_lost, revoke_lost, key_lost, rollback_stays, reservation_lost, two_winners]
