# SPDX-License-Identifier: PostgreSQL
"""What is known of each key, plan and budget of a round, by its operations."""

from record import NEVER, OK

MADE = {"generate", "many", "derive", "rotate"}


class KeyFacts:
    __slots__ = ("id", "made", "name", "parent", "from_key", "root", "limits", "budget", "user", "plan", "expires",
                 "revokes", "deletes", "updates", "rotates", "over_at")

    def __init__(self, id, made):
        self.id, self.made = id, made
        self.name = self.parent = self.from_key = self.budget = self.user = self.plan = self.expires = self.over_at = None
        self.limits = {}
        self.root = id
        self.revokes, self.deletes, self.updates, self.rotates = [], [], [], []


class Facts:
    def __init__(self, history):
        self.history = history
        self.keys = {}
        self.families = {}              # root: a key and its successors
        self.plans = {}
        self.budgets = {}               # id: (parent, most, operation)
        self.budget_limits = {}
        self.cleanups = []
        self.kinds = {}
        for op in sorted(history.ops, key=lambda op: op.start):
            self.kinds.setdefault(op.kind, []).append(op)
        for op in sorted(history.ops, key=lambda op: op.end):
            if op.kind in MADE and op.result == OK:
                self.note_made(op)
            elif op.kind == "budget_create" and op.result == OK:
                self.budgets[op.rows[0][0]] = (op.data["parent"], op.data["max"], op)
                self.budget_limits[op.rows[0][0]] = op.data.get("limits") or {}
        for op in history.ops:
            getattr(self, f"note_{op.kind}", lambda op: None)(op)
        for plan in self.plans.values():
            plan.sort(key=lambda op: op.start)

    # ------------------------------------------------------------------ keys

    def note_made(self, op):
        for id, _ in op.rows:
            key = self.keys[id] = KeyFacts(id, op)
            for name in ("name", "parent", "limits", "budget", "user", "plan", "expires"):
                setattr(key, name, op.data.get(name) or getattr(key, name))
            if op.kind == "rotate" and op.data["key"] in self.keys:
                old = self.keys[op.data["key"]]
                key.from_key, key.root = old, old.root
                key.limits, key.budget, key.user, key.plan, key.expires = \
                    old.limits, old.budget, old.user, old.plan, old.expires
            if key.parent in self.keys:
                parent = self.keys[key.parent]
                key.budget, key.user = parent.budget, parent.user
            if key.parent is None:
                self.families.setdefault(key.root, []).append(key)

    def note_revoke(self, op):
        if op.data["key"] in self.keys:
            self.keys[op.data["key"]].revokes.append(op)

    def note_rotate(self, op):
        if op.data["key"] in self.keys:
            key = self.keys[op.data["key"]]
            (key.rotates if op.data["grace"] else key.revokes).append(op)

    def note_delete(self, op):
        if op.data["key"] in self.keys:
            self.keys[op.data["key"]].deletes.append(op)

    def note_revoke_where(self, op):
        for key in self.keys.values():
            if key.user == op.data["user"]:
                key.revokes.append(op)

    def note_update(self, op):
        if op.data["key"] in self.keys:
            self.keys[op.data["key"]].updates.append(op)

    def note_cleanup(self, op):
        self.cleanups.append(op)

    def note_plan(self, op):
        self.plans.setdefault(op.data["plan"], []).append(op)

    # ---------------------------------------------------------------- states

    def line(self, key):
        """A key, and the one it is derived from."""
        return [key] + ([self.keys[key.parent]] if key.parent in self.keys else [])

    def surely_revokes(self, key, op):
        """Is it certain that this operation, if it was acknowledged, has ended the key?
        A revoke of all keys of a user finds those that had been made before."""
        if op.kind == "revoke_where":
            return key.made.end < op.start and key.parent is None and not self.may_be_gone(key, op.end)
        return not op.data.get("raw") or bool(op.rows and op.rows[0][0])

    def over_at(self, key):
        """When an end of the key, or of its parent, was first acknowledged."""
        if key.over_at is None:
            key.over_at = min((op.end for one in self.line(key) for op in one.revokes + one.deletes
                               if op.is_ok() and self.surely_revokes(one, op)), default=NEVER)
        return key.over_at

    def is_over(self, key, at):
        return self.over_at(key) < at

    def may_be_revoked(self, key, at):
        return any(op.may_be() and op.start < at for one in self.line(key) for op in one.revokes)

    def may_be_gone(self, key, at):
        for one in self.line(key):
            if any(op.may_be() and op.start < at for op in one.deletes):
                return True
            if one.expires and any(op.may_be() and op.start < at and self.wall(op.end) >= one.expires
                                   for op in self.cleanups):
                return True
        return False

    def may_lose_reservation(self, reserve, at):
        """May what was reserved have ended by itself?  The key's family, or its parent's, has
        it until all keys of that are gone or, where memory is short, are of no use."""
        is_short = "small" in self.history.features
        key = self.keys[reserve.data["key"]]
        family = self.families.get(self.line(key)[-1].root, [])
        return all(self.may_be_gone(one, at) or
                   (is_short and (self.may_be_revoked(one, at) or self.may_be_expired(one, at)))
                   for one in family if one.made.start < at)

    def may_be_expired(self, key, at):
        return any(one.expires and self.wall(at) >= one.expires - 0.002 for one in self.line(key))

    def must_be_expired(self, key, at):
        return any(one.expires and self.wall(at) > one.expires + 0.002 for one in self.line(key))

    def wall(self, at):
        """Seconds since 1970."""
        return (at + self.history.wall) / 1e9

    # -------------------------------------------------------------- versions

    def versions(self, key, start, end):
        """Which versions a key may have had from start to end: {version: enabled}."""
        if key.from_key is None:
            found = {"0": True}
        else:
            found = self.versions(key.from_key, key.made.start, key.made.end)
        for op in key.updates:
            if not op.may_be() or op.start >= end:
                continue
            if op.result == OK and op.end < start:
                found = {}
            found[op.data["version"]] = op.data["enabled"]
        return found

    def plan_versions(self, plan, start, end):
        found = set()
        for op in self.plans.get(plan, []):
            if not op.may_be() or op.start >= end:
                continue
            if op.result == OK and op.end < start:
                found = set()
            found.add(op.data["version"])
        return found

    # ---------------------------------------------------------------- limits

    def scopes(self, key, budget=None):
        """Whose limits count a request of the key, and of one more budget: [(owner, limits)]."""
        found = [(id, self.budget_limits[id]) for id in self.path(key.budget, budget) if self.budget_limits.get(id)]
        if key.parent is None:
            return [(key.root, key.limits)] + found
        parent = self.keys.get(key.parent)
        return ([(parent.root, parent.limits)] if parent else []) + [(key.id, key.limits)] + found

    def path(self, *budgets):
        """The budgets that a request counts against, each once."""
        found = []
        for budget in budgets:
            while budget and budget not in found:
                found.append(budget)
                budget = self.budgets[budget][0] if budget in self.budgets else None
        return found


def event_name(action, key, details):
    """What makes an event the one of an operation."""
    if action in ("generate", "import", "derive"):
        return ("made", details["name"])
    if action == "update":
        return ("update", key, details["metadata"]["to"]["v"] if "metadata" in details else None)
    if action == "plan_set":
        change = details.get("permissions", {}).get("to") or {}
        return ("plan", details["plan"], str(change.get("max_tokens_per_request")))
    if action == "budget_create":
        return ("budget_create", details["name"])
    if action == "budget_add":
        return ("budget_add", details["note"])
    if action in ("cleanup_events", "cleanup_usage"):
        return (action,)
    if action in ("revoke", "rotate", "delete", "cleanup"):
        return (action, key)
    return ("other", action)


def events_of(op):
    """The events that an operation has if it was done: (name, how many, certainly)."""
    data, kind = op.data, op.kind
    if kind in ("generate", "derive"):
        yield ("made", data["name"]), 1, True
    elif kind == "many":
        yield ("made", data["name"]), data["number"], True
    elif kind == "update":
        yield ("update", data["key"], data["version"]), 1, True
    elif kind == "rotate":
        yield ("rotate", data["key"]), 1, True
    elif kind == "revoke":
        yield ("revoke", data["key"]), 1, not data.get("raw")
    elif kind == "plan":
        yield ("plan", data["plan"], data["version"]), 1, True
    elif kind == "budget_create":
        yield ("budget_create", data["name"]), 1, True
    elif kind == "budget_add":
        yield ("budget_add", data["note"]), 1, True
    elif kind in ("cleanup_events", "cleanup_usage"):
        yield (kind,), 1, False
