# SPDX-License-Identifier: PostgreSQL
"""Faults that are planted in a history that is right: a checker that bites finds
each of them.  Each returns false if there is nothing to falsify.

Only what must be found is planted: not where somebody was not told, or a crash may
have made it true."""

import copy
from bisect import bisect_left

from facts import event_name, events_of
from record import FAIL, OK, UNKNOWN


def pick(rng, ops):
    ops = list(ops)
    return rng.choice(ops) if ops else None


def of_kind(history, *kinds):
    return (op for op in history.ops if op.kind in kinds and op.result == OK)


def answers(history, facts):
    """Of each key in each answer of a verify: (operation, number, key, row)."""
    for op in of_kind(history, "verify"):
        for number, row in enumerate(op.rows):
            yield op, number, facts.keys[op.data["keys"][number]], row


def forge(rng, found, column, value):
    """One of the rows that were found says something else; False: there is none."""
    if not found:
        return False
    op, number = rng.choice(found)
    op.rows = [list(row) for row in op.rows]
    op.rows[number][column] = value
    return True


def has_crashed(history, at):
    return any(crash[0] < at for crash in history.crashes)


# ------------------------------------------------------------------- verify

def yes_after_the_end(history, facts, rng):
    """A verify of a key that had ended says that it is valid."""
    found = [(op, number) for op, number, key, row in answers(history, facts)
             if row[0] == "REVOKED" and facts.is_over(key, op.start)]
    return forge(rng, found, 0, "VALID")


def yes_on_the_standby(history, facts, rng):
    """... on a standby, which had replayed that."""
    found = [(op, number) for op in of_kind(history, "standby_verify") for number, row in enumerate(op.rows)
             if row[0] == "REVOKED" and any(
                 end.result == OK and end.data.get("position", 1 << 62) <= op.data["replayed"] and facts.surely_revokes(key, end)
                 for key in [facts.keys[op.data["keys"][number]]] for end in key.revokes)]
    return forge(rng, found, 0, "VALID")


def no_before_the_end(history, facts, rng):
    """A verify says that a key is revoked, which nobody has done."""
    found = [(op, number) for op, number, key, row in answers(history, facts)
             if row[0] == "VALID" and not facts.may_be_revoked(key, op.end)]
    return forge(rng, found, 0, "REVOKED")


def old_version(history, facts, rng):
    """A verify shows a version that has been replaced."""
    found = [(op, number) for op, number, key, row in answers(history, facts)
             if row[0] == "VALID" and row[1] != "0" and "0" not in facts.versions(key, op.start, op.end)]
    return forge(rng, found, 1, "0")


def other_plan(history, facts, rng):
    """A verify shows a version of the plan that never was."""
    found = [(op, number) for op, number, key, row in answers(history, facts)
             if row[0] == "VALID" and key.plan is not None and row[2] is not None]
    return forge(rng, found, 2, "1")


# ------------------------------------------------------------------- limits

def passed_requests(history, facts):
    """{owner of limits: when requests had certainly passed}"""
    passed = {}
    for op in of_kind(history, "verify", "reserve"):
        for number, id in enumerate(op.data["keys"] if op.kind == "verify" else [op.data["key"]]):
            if op.rows[number][0] == "VALID":
                for owner, _ in facts.scopes(facts.keys[id], op.data.get("budget")):
                    passed.setdefault(owner, []).append(op.end)
    return {owner: sorted(ends) for owner, ends in passed.items()}


def one_too_many(history, facts, rng):
    """The request that a full limit refused has passed."""
    passed = passed_requests(history, facts)
    found = [(op, number) for op, number, key, row in answers(history, facts)
             if row[0] == "RATE_LIMITED" and not has_crashed(history, op.end) and any(
                 bisect_left(passed.get(owner, []), op.start) >= limits.get("requests_per_day", 1 << 62)
                 for owner, limits in facts.scopes(key))]
    return forge(rng, found, 0, "VALID")


def no_without_a_limit(history, facts, rng):
    """A request of a key without limits is refused by one."""
    found = [(op, number) for op, number, key, row in answers(history, facts)
             if row[0] == "VALID" and "small" not in history.features and not any(limits for _, limits in facts.scopes(key))]
    return forge(rng, found, 0, "RATE_LIMITED")


def over_budget(history, facts, rng):
    """The request for which a budget has no room has passed."""
    voided = {(op.data["key"], op.data["request"]) for op in history.ops if op.kind == "void"}
    spent, added = {}, {}
    for op in of_kind(history, "record"):
        if (op.data["key"], op.data["request"]) not in voided:
            for budget in facts.path(facts.keys[op.data["key"]].budget, op.data["budget"]):
                spent.setdefault(budget, []).append((op.end, op.data["cost"]))
    for op in history.ops:
        if op.kind == "budget_add" and op.may_be():
            added[op.data["budget"]] = added.get(op.data["budget"], 0) + op.data["amount"]

    def is_over(op, budget):
        most = facts.budgets[budget][1]
        return most is not None and sum(cost for end, cost in spent.get(budget, []) if end < op.start) + op.data["cost"] > \
            most + added.get(budget, 0)

    found = [(op, 0) for op in of_kind(history, "reserve") if op.rows[0][0] == "BUDGET_EXCEEDED"
             and not has_crashed(history, op.end)
             and any(is_over(op, budget) for budget in facts.path(facts.keys[op.data["key"]].budget, op.data["budget"]))]
    return forge(rng, found, 0, "VALID")


def reservation_lost(history, facts, rng):
    reserves = {op.rows[0][1]: op for op in of_kind(history, "reserve")}
    op = pick(rng, (op for op in of_kind(history, "release")
                    if op.rows[0][0] and op.data["tries"] == 1 and not has_crashed(history, op.end)
                    and op.data["reservation"] in reserves
                    and not facts.may_lose_reservation(reserves[op.data["reservation"]], op.end)))
    if op:
        op.rows = [[False]]
    return op is not None


# ------------------------------------------------------------------- totals

def unsure(history, facts):
    """Keys and budgets with usage of which somebody was not told at once, or which a crash may have lost."""
    found = set()
    for op in history.ops:
        if op.kind in ("record", "void") and (op.result == UNKNOWN or op.data.get("tries", 1) > 1 or "async" in history.features):
            key = facts.keys[op.data["key"]]
            found.add(key.parent or key.id)
            found.update(facts.path(key.budget, op.data.get("budget")))
    return found


def usage_twice(history, facts, rng):
    return change_total(history, facts, rng, "keys", "requests", 1)


def usage_lost(history, facts, rng):
    return change_total(history, facts, rng, "keys", "requests", -1)


def cost_lost(history, facts, rng):
    return change_total(history, facts, rng, "budgets", "spent", -1)


def change_total(history, facts, rng, table, column, by):
    known = facts.keys if table == "keys" else facts.budgets
    doubtful = unsure(history, facts)
    row = pick(rng, (row for row in history.final[table]
                     if row[column] > 0 and row["id"] in known and row["id"] not in doubtful))
    if row:
        row[column] += by
    return row is not None


# ------------------------------------------------------------------- events

def certain_events(history, actions):
    """Those of what was acknowledged."""
    names = {name for op in history.ops if op.result == OK for name, _, is_certain in events_of(op) if is_certain}
    return [event for event in history.final["events"] if event[0] in actions and event_name(*event) in names]


def event_lost(history, facts, rng):
    events = certain_events(history, ("update", "generate", "derive", "rotate", "budget_add"))
    if events:
        history.final["events"].remove(rng.choice(events))
    return bool(events)


def event_twice(history, facts, rng):
    events = certain_events(history, ("update", "generate", "derive", "budget_add"))
    if events:
        history.final["events"].append(rng.choice(events))
    return bool(events)


# ------------------------------------------------------------------- changes

def update_lost(history, facts, rng):
    """What was acknowledged last of a key is not there."""
    at = history.final["at"]
    row = pick(rng, (row for row in history.final["keys"] if row["id"] in facts.keys and facts.keys[row["id"]].updates
                     and "0" not in facts.versions(facts.keys[row["id"]], at, at)))
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
    rows = {row["id"]: row for row in history.final["keys"] if row["id"] in facts.keys}
    op = pick(rng, (op for op in history.ops if op.kind == "update" and op.result == FAIL and op.error is None
                    and op.data["key"] in rows))
    if op:
        rows[op.data["key"]]["version"] = op.data["version"]
    return op is not None


def two_winners(history, facts, rng):
    """Of two who rotate a key, both have succeeded."""
    op = pick(rng, (op for op in of_kind(history, "rotate") if op.data["key"] in facts.keys))
    if op:
        twin = copy.copy(op)
        twin.who = "liar"
        history.ops.append(twin)
    return op is not None


def strange_error(history, facts, rng):
    op = pick(rng, of_kind(history, "generate", "update", "record", "flush", "look"))
    if op:
        op.error = "42501"
    return op is not None


ALL = [yes_after_the_end, yes_on_the_standby, no_before_the_end, old_version, other_plan, one_too_many, no_without_a_limit,
       over_budget, reservation_lost, usage_twice, usage_lost, cost_lost, event_lost, event_twice, update_lost, revoke_lost,
       key_lost, rollback_stays, two_winners, strange_error]
