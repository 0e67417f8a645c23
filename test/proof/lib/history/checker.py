# SPDX-License-Identifier: PostgreSQL
"""Does a history keep the promises?  Each rule returns what breaks it.

The checker knows what clients were told, and in the end asks the database once what
it has.  Where nobody was told, either is right."""

from collections import Counter, defaultdict

from facts import Facts, event_name, events_of
from limits import UNITS, Accounts
from record import FAIL, NEVER, OK, UNKNOWN

USABLE = {"VALID", "RATE_LIMITED", "BUDGET_EXCEEDED", "INSUFFICIENT_PERMISSIONS"}

# What a client may be told besides what an operation itself raises: a cancel, a
# conflict, a lock that did not come, and what a full disk does to anybody.
ANYTIME = {"57014", "40001", "40P01", "55P03", "53100", "57P01"}
DISK = {"58030", "XX001"}

ERRORS = {"update": {"55000", "P0002"}, "rotate": {"55000", "P0002"}, "revoke": {"55000", "P0002"},
          "delete": {"P0002"}, "derive": {"28000"}, "record": {"P0002", "22023"}, "void": {"P0002"},
          "read_usage": {"P0002"}, "budget_add": {"55000"}}


class Broken(Exception):
    """A promise is, and nobody asks how often."""


class Checker:
    def __init__(self, history, is_done_at_once=False):
        self.history = history
        self.is_done_at_once = is_done_at_once
        self.facts = Facts(history)
        self.accounts = Accounts(self.facts)
        self.problems = defaultdict(list)       # promise: what breaks it
        self.checked = Counter()

    def run(self):
        for op in self.history.ops:
            self.check_error(op)
            getattr(self, f"check_{op.kind}", lambda op: None)(op)
        self.check_rivals()
        self.check_keys()
        self.check_events()
        self.check_totals()
        self.check_sound()
        return self.problems

    def finds_any(self):
        try:
            self.run()
        except Broken:
            return True
        return False

    def complain(self, promise, op, text):
        if self.is_done_at_once:
            raise Broken
        what = f"{op.who} {op.kind} at {op.start}: " if op is not None else ""
        self.problems[promise].append(what + text)

    # ---------------------------------------------------------------- errors

    def check_error(self, op):
        if op.error is None or op.error in ANYTIME or op.error in ERRORS.get(op.kind, ()):
            return
        if op.error in DISK and "disk" in self.history.features:
            return
        # What was to be made came so late that it had expired.
        if op.error == "22023" and op.data.get("expires") and self.facts.wall(op.end) >= op.data["expires"]:
            return
        self.complain("no other error", op, f"{op.error} for {op.data}")

    # --------------------------------------------------------------- verify

    def check_verify(self, op):
        if op.result != OK:
            return
        for id, (code, version, tokens) in zip(op.data["keys"], op.rows):
            self.check_answer(op, self.facts.keys[id], code, version, tokens, None)

    def check_reserve(self, op):
        if op.result == OK:
            code, _, version = op.rows[0]
            self.check_answer(op, self.facts.keys[op.data["key"]], code, version, None, op.data)

    def check_answer(self, op, key, code, version, tokens, asked):
        self.checked["answers"] += 1
        facts = self.facts
        if code in USABLE or code == "DISABLED":
            if facts.is_over(key, op.start):
                self.complain("no stale yes", op, f"{code} for {key.name}, which had ended before")
            if facts.must_be_expired(key, op.start) and code != "DISABLED":
                self.complain("no stale yes", op, f"{code} for {key.name}, which had expired before")
            self.check_version(op, key, code, version, tokens)
        elif code == "REVOKED" and not facts.may_be_revoked(key, op.end):
            self.complain("no untimely no", op, f"{code} for {key.name}, which nobody has ended")
        elif code == "NOT_FOUND" and not facts.may_be_gone(key, op.end):
            self.complain("no change lost", op, f"{code} for {key.name}, which nobody has deleted")
        elif code == "EXPIRED" and not facts.may_be_expired(key, op.end):
            self.complain("no untimely no", op, f"{code} for {key.name}, before its time")
        if code in ("VALID", "RATE_LIMITED", "BUDGET_EXCEEDED"):
            self.check_limits(op, key, code, asked)

    def check_version(self, op, key, code, version, tokens):
        """The answer is of a version that the key may have had, with all of it."""
        versions = self.facts.versions(key, op.start, op.end)
        if version not in versions:
            self.complain("no stale yes", op, f"version {version} of {key.name}, not one of {sorted(versions)}")
        elif code in USABLE and not versions[version]:
            self.complain("no stale yes", op, f"{code} for {key.name} in version {version}, which is disabled")
        elif code == "DISABLED" and versions[version] and not self.may_parent_be_disabled(op, key):
            self.complain("no untimely no", op, f"DISABLED for {key.name} in version {version}")
        if tokens is not None and key.plan is not None:
            plans = self.facts.plan_versions(key.plan, op.start, op.end)
            if tokens not in plans:
                self.complain("no stale yes", op, f"plan {tokens} of {key.name}, not one of {sorted(plans)}")

    def may_parent_be_disabled(self, op, key):
        parent = self.facts.keys.get(key.parent)
        return parent is not None and not all(self.facts.versions(parent, op.start, op.end).values())

    def check_standby_verify(self, op):
        """No later than the replay of its commit, an end is an end on the standby, too; and
        what it has let pass itself counts."""
        if op.result != OK:
            return
        for id, (code, _, _) in zip(op.data["keys"], op.rows):
            key = self.facts.keys[id]
            self.checked["standby"] += 1
            if code not in USABLE:
                continue
            if code == "VALID":
                self.check_limits_there(op, key)
            for one in self.facts.line(key):
                for end in one.revokes + one.deletes:
                    if end.result == OK and end.data.get("position", 1 << 62) <= op.data["replayed"] and \
                            self.facts.surely_revokes(one, end):
                        self.complain("no stale yes", op, f"{code} on the standby for {key.name}")

    def check_limits_there(self, op, key):
        for owner, limits in self.facts.scopes(key):
            had = self.accounts.standby[owner].before(op.start)
            if had >= limits.get("requests_per_day", NEVER):
                self.complain("no limit passed", op, f"{limits} of {key.name} on the standby: had {had}, one more passed")

    # ---------------------------------------------------------------- limits

    def check_limits(self, op, key, code, asked):
        need = {"requests": 1, "tokens": asked["tokens"] if asked else 0, "cost": asked["cost"] if asked else 0,
                "slots": 1 if asked else None}
        # A table that is full refuses what it has no space to count.
        may_refuse = "small" in self.history.features
        for owner, limits in self.facts.scopes(key, asked["budget"] if asked else None):
            for name, most in limits.items():
                unit = UNITS[name]
                if need[unit] is None:
                    continue
                self.checked["limits"] += 1
                account = self.accounts.live[owner, unit]
                may_refuse |= self.is_full(account.most(op.start, op.end), need[unit], most)
                least = account.least(op.start, op.end)
                if code == "VALID" and self.is_full(least, need[unit], most):
                    self.complain("no limit passed", op, f"{name} {most} of {key.name}: had {least}, {need[unit]} more passed")
        if code == "RATE_LIMITED" and not may_refuse:
            self.complain("no untimely no", op, f"RATE_LIMITED for {key.name}, which has room")
        self.check_budgets(op, key, code, asked)

    def is_full(self, used, need, most):
        return used + need > most if need else used >= most

    def check_budgets(self, op, key, code, asked):
        cost = asked["cost"] if asked else 0
        may_refuse = False
        for budget in self.facts.path(key.budget, asked["budget"] if asked else None):
            _, most, _ = self.facts.budgets[budget]
            if most is None:
                continue
            self.checked["limits"] += 1
            account, added = self.accounts.spent[budget], self.accounts.stored["added", budget]
            may_refuse |= self.is_full(account.most(op.start, op.end), cost, most + added.least(op.start, op.end))
            least = account.least(op.start, op.end)
            if code == "VALID" and self.is_full(least, cost, most + added.most(op.start, op.end)):
                self.complain("no limit passed", op, f"budget {budget} of {most}: had {least}, {cost} more passed")
        if code == "BUDGET_EXCEEDED" and not may_refuse:
            self.complain("no untimely no", op, f"BUDGET_EXCEEDED for {key.name}, which has room")

    def check_release(self, op):
        """False only if a crash, the end of the key's family, or a try whose answer was lost
        has ended it before."""
        reserve = self.accounts.reserves.get(op.data["reservation"])
        if op.is_ok() and not op.rows[0][0] and op.data["tries"] == 1 and reserve is not None and \
                not self.facts.may_lose_reservation(reserve, op.end) and \
                not any(crash[1] > reserve.start and crash[0] < op.end for crash in self.history.crashes):
            self.complain("no reservation lost", op, op.data["reservation"])

    # --------------------------------------------------------------- changes

    def check_update(self, op):
        self.check_refusal(op)

    check_rotate = check_revoke = check_update

    def check_refusal(self, op):
        """What is refused as over, or as unknown, must have ended, or gone."""
        key = self.facts.keys.get(op.data["key"])
        if key is None or op.result != FAIL:
            return
        if op.error == "P0002" and not self.facts.may_be_gone(key, op.end):
            self.complain("no change lost", op, f"{key.name} is not found")
        if op.error == "55000" and not self.facts.may_be_revoked(key, op.end) and not key.rotates \
                and not self.facts.may_be_expired(key, op.end):
            self.complain("no untimely no", op, f"{key.name} is refused as ended")

    def check_rivals(self):
        """Of those who end a key, or rotate it, at most one succeeds."""
        for key in self.facts.keys.values():
            ends = [op for op in key.revokes if op.result == OK and op.kind != "revoke_where" and not op.data.get("raw")]
            rotations = [op for op in key.revokes + key.rotates if op.result == OK and op.kind == "rotate"]
            if len(ends) > 1 or len(rotations) > 1:
                self.complain("no change lost", ends[-1] if ends else rotations[-1], f"{key.name} was ended, or rotated, twice")

    # ------------------------------------------------------------- in the end

    def check_keys(self):
        rows = {row["id"]: row for row in self.history.final["keys"]}
        end = self.history.final["at"]
        for key in self.facts.keys.values():
            self.checked["keys"] += 1
            row = rows.get(key.id)
            if row is None:
                if not self.facts.may_be_gone(key, end):
                    self.complain("no change lost", key.made, f"{key.name} is gone")
                continue
            if any(op.result == OK for op in key.deletes):
                self.complain("no change lost", key.deletes[0], f"{key.name} is there, though it was deleted")
            self.check_row(key, row, end)
        for op in self.facts.kinds.get("rotate", []):
            if op.result == OK and op.rows[0][0] in rows and rows[op.rows[0][0]]["rotated_from"] != op.data["key"]:
                self.complain("no change lost", op, "the successor has another predecessor")

    def check_row(self, key, row, end):
        is_over = any(op.result == OK and self.facts.surely_revokes(key, op) for op in key.revokes)
        may_be_over = any(op.may_be() for op in key.revokes)
        if is_over and not row["revoked"]:
            self.complain("no change lost", key.revokes[0], f"{key.name} is not revoked")
        if row["revoked"] and not may_be_over:
            self.complain("no change lost", key.made, f"{key.name} is revoked, by nobody")
        versions = self.facts.versions(key, end, end)
        if versions.get(row["version"]) != row["enabled"]:
            self.complain("no change lost", key.made,
                          f"{key.name} is in version {row['version']} ({row['enabled']}), not in one of {versions}")
        for unit in ("requests", "tokens", "cost"):
            self.check_total((unit, key.id), row[unit], f"{unit} of {key.name}")

    def check_total(self, name, found, what):
        """Exactly what was acknowledged, and any of what nobody knows of."""
        self.checked["totals"] += 1
        account = self.accounts.stored[name]
        certain = account.done.before(1 << 61) - account.undo_done.before(1 << 61)
        unknown = self.accounts.unknown[name]
        if not self.is_sum(found - certain, unknown):
            self.complain("usage counts once", None, f"{what}: {found}, not {certain}" + (f" or with some of {unknown}" if unknown else ""))

    def is_sum(self, amount, parts):
        """Is an amount the sum of some parts?  Of many, only the bounds are known."""
        if len(parts) > 14:
            return sum(part for part in parts if part < 0) <= amount <= sum(part for part in parts if part > 0)
        sums = {0}
        for part in parts:
            sums |= {one + part for one in sums}
        return amount in sums

    def check_totals(self):
        for row in self.history.final["budgets"]:
            if row["id"] in self.facts.budgets:
                self.check_total(("budget", row["id"]), row["spent"], f"spent of {row['name']}")
                self.check_total(("added", row["id"]), row["added"], f"added to {row['name']}")
        found = {row["id"] for row in self.history.final["budgets"]}
        for id, (_, _, op) in self.facts.budgets.items():
            if id not in found:
                self.complain("no change lost", op, f"budget {op.data['name']} is gone")
        for row in self.history.final["plans"]:
            if row["name"] in self.facts.plans and \
                    row["version"] not in self.facts.plan_versions(row["name"], self.history.final["at"], self.history.final["at"]):
                self.complain("no change lost", None, f"plan {row['name']} is in version {row['version']}")

    def check_read_usage(self, op):
        if op.result != OK:
            return
        for unit, found in zip(("requests", "tokens", "cost"), op.rows[0]):
            account = self.accounts.stored[unit, op.data["key"]]
            if not account.least(op.start, op.end) <= found <= account.most(op.start, op.end) and \
                    not self.facts.may_be_gone(self.facts.keys[op.data["key"]], op.end):
                self.complain("usage counts once", op, f"{found} {unit} for {op.data['key']}")

    def check_read_budget(self, op):
        if op.result != OK or not op.rows:
            return
        for name, found in zip(("budget", "added"), op.rows[0]):
            account = self.accounts.stored[name, op.data["budget"]]
            if not account.least(op.start, op.end) <= found <= account.most(op.start, op.end):
                self.complain("usage counts once", op, f"{name}: {found} for {op.data['budget']}")

    def check_sound(self):
        for line in self.history.final["crashes"]:
            # What a full disk ends with 6 says PANIC before.
            if "disk" not in self.history.features or "signal 6" not in line:
                self.complain("nothing crashes", None, line.strip())
        for row in self.history.final["check"]:
            self.complain("apikeys.check() finds nothing", None, " ".join(map(str, row)))

    # ---------------------------------------------------------------- events

    def check_events(self):
        """Each change that was acknowledged has one event, each other one none."""
        certain, possible = self.expected_events()
        found = Counter()
        for action, key, details in self.history.final["events"]:
            found[event_name(action, key, details)] += 1
        for name in certain.keys() | found.keys():
            if name is None or name[0] in ("rehash", "expiring", "budget_warning", "other"):
                continue
            self.checked["events"] += 1
            if name[0] in ("revoke", "delete", "cleanup") and name[1] not in self.facts.keys:
                possible[name] = 1      # made in an operation of which nobody heard
            if not certain[name] <= found[name] <= certain[name] + possible[name]:
                self.complain("each change audited once", None,
                              f"{found[name]} events {name}, not {certain[name]}" + (f" to {certain[name] + possible[name]}" if possible[name] else ""))

        self.check_ends(found)

    def check_ends(self, found):
        """However many have asked for it: a key ends once."""
        for key in self.facts.keys.values():
            is_over = any(op.is_ok() and self.facts.surely_revokes(key, op) for op in key.revokes)
            graces = sum(op.is_ok() for op in key.rotates)
            ends = found["revoke", key.id] + found["rotate", key.id] - graces
            unsure = sum(op.result == UNKNOWN for op in key.rotates)
            if (is_over and ends < 1) or ends > 1 + unsure:
                self.complain("each change audited once", key.made, f"{key.name} has {ends} events of its end")

    def expected_events(self):
        certain, possible = Counter(), Counter()
        for op in self.history.ops:
            for name, count, is_certain in events_of(op):
                if op.result == OK and is_certain:
                    certain[name] += count
                elif op.may_be():
                    possible[name] += count
        self.add_deletions(certain, possible)
        return certain, possible

    def add_deletions(self, certain, possible):
        """A key that is gone was deleted once, or cleaned up once; one that ends with
        those of its user, or with its parent, has one event of that at most."""
        for key in self.facts.keys.values():
            for op in key.revokes:
                if op.kind == "revoke_where" and op.result != FAIL:
                    possible["revoke", key.id] = 1
            if any(op.result != FAIL for one in self.facts.line(key) for op in one.deletes):
                if any(op.result == OK for op in key.deletes):
                    certain["delete", key.id] = 1
                else:
                    possible["delete", key.id] = 1
            if any(one.expires for one in self.facts.line(key)):
                possible["cleanup", key.id] = 1
