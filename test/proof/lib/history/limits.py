# SPDX-License-Identifier: PostgreSQL
"""Accounts of all limits, budgets and totals of a round."""

from collections import defaultdict

from account import Account, first_crash
from record import FAIL, NEVER, OK, UNKNOWN

UNITS = {"requests_per_day": "requests", "tokens_per_day": "tokens", "max_concurrent_requests": "slots"}


class Accounts:
    """live: what is in shared memory, by (owner, unit); spent: what budgets have, reserved
    included; stored: what budgets and keys have in tables."""

    def __init__(self, facts):
        self.facts = facts
        self.crashes = sorted(facts.history.crashes)
        self.live = defaultdict(Account)
        self.spent = defaultdict(Account)
        self.stored = defaultdict(Account)
        self.unknown = defaultdict(list)        # amounts that may be in stored, or not
        self.ends = {}                          # reservation: the operation that ends it
        self.voids = {}
        self.reserves = {op.rows[0][1]: op for op in facts.kinds.get("reserve", []) if op.is_ok()}
        for op in facts.history.ops:
            if op.kind == "release" or (op.kind == "record" and op.data["reservation"] and op.may_be()):
                self.ends[op.data["reservation"]] = op
            if op.kind == "void" and op.may_be():
                self.voids[op.data["key"], op.data["request"]] = op
        for op in facts.history.ops:
            getattr(self, f"count_{op.kind}", lambda op: None)(op)

    # ------------------------------------------------------------ what counts

    def temporary(self, account, start, end, amount, stop=None, left=0, stored=0):
        """What a crash ends, and before it the operation stop, which leaves so much; of
        it so much may be stored by then, and last."""
        account.add(start, end, amount)
        unsure = first_crash(self.crashes, start, False)
        certain = first_crash(self.crashes, end if end < NEVER else start, True)
        least_until = unsure[0] if unsure else NEVER
        most_until = certain[1] if certain else NEVER
        if end == NEVER:
            least_until = NEVER
        if stop is not None and stop.start < least_until:
            account.undo_begun.add(stop.start, amount - left)
            if left and least_until < NEVER and end < NEVER:
                account.undo_begun.add(least_until, left)
        elif least_until < NEVER and end < NEVER:
            account.undo_begun.add(least_until, amount)
        if stop is not None and self.is_sure(stop) and stop.end < most_until:
            account.undo_done.add(stop.end, amount - left)
            if left > stored and most_until < NEVER:
                account.undo_done.add(most_until, left - stored)
        elif most_until < NEVER and amount > stored:
            account.undo_done.add(most_until, amount - stored)

    def is_sure(self, stop):
        """A release says whether it has given anything back."""
        return stop.is_ok() and (stop.kind != "release" or stop.rows[0][0])

    def count_requests(self, key, op, is_valid):
        end = op.end if op.result == OK else NEVER
        if op.result == OK and not is_valid:
            return
        for owner, limits in self.facts.scopes(key):
            if "requests_per_day" in limits:
                self.temporary(self.live[owner, "requests"], op.start, end, 1, stored=1)

    def count_verify(self, op):
        for number, id in enumerate(op.data["keys"]):
            self.count_requests(self.facts.keys[id], op, op.result == OK and op.rows[number][0] == "VALID")

    def count_reserve(self, op):
        key = self.facts.keys[op.data["key"]]
        is_valid = op.result == OK and op.rows[0][0] == "VALID"
        self.count_requests(key, op, is_valid)
        if op.result == OK and not (is_valid and op.rows[0][1]):
            return
        end = op.end if op.result == OK else NEVER
        stop = self.ends.get(op.rows[0][1]) if op.result == OK else None
        if stop is not None and stop.result == FAIL:
            stop = None
        self.hold(key, op, end, stop)

    def hold(self, key, op, end, stop):
        """What a reservation holds, until it is settled or given back."""
        tokens, cost = op.data["tokens"], op.data["cost"]
        settles = stop is not None and stop.kind == "record"
        used = stop.data["tokens"] if settles and self.keeps(op, stop) else 0
        for owner, limits in self.facts.scopes(key):
            if "max_concurrent_requests" in limits:
                self.temporary(self.live[owner, "slots"], op.start, end, 1, stop)
            if "tokens_per_day" in limits:
                self.temporary(self.live[owner, "tokens"], op.start, end, tokens, stop, used, stored=used)
        paid = stop.data["cost"] if settles and self.keeps(op, stop) else 0
        for budget in self.facts.path(key.budget, op.data["budget"]):
            account = self.spent[budget]
            if paid:
                # What was paid is there from the reservation on.
                account.add(op.start, end, paid)
                self.temporary(account, op.start, end, cost - paid, stop)
            else:
                self.temporary(account, op.start, end, cost, stop)

    def keeps(self, op, stop):
        """Has it been settled by the same server that gave it, in one go?"""
        crash = first_crash(self.crashes, op.start, False)
        return stop.result == OK and stop.data["tries"] == 1 and not (crash and crash[0] < stop.end)

    # ----------------------------------------------------------------- usage

    def count_record(self, op):
        key = self.facts.keys[op.data["key"]]
        reserve = self.reserve_of(op)
        settled = reserve is not None and op.result == OK and self.keeps(reserve, op)
        end = op.end if op.result == OK else NEVER
        self.count_tokens(key, op, end, settled)
        if op.result == FAIL:
            return
        owner = key.parent or key.id
        amounts = {("requests", owner): 1, ("tokens", owner): op.data["tokens"], ("cost", owner): op.data["cost"]}
        for budget in self.facts.path(key.budget, op.data["budget"]):
            amounts["budget", budget] = op.data["cost"]
            if not settled:
                self.spent[budget].add(op.start, end, op.data["cost"])
        for name, amount in amounts.items():
            self.stored[name].add(op.start, end, amount)
        if op.result == UNKNOWN:
            self.note_unknown(amounts, op)
        self.take_back(key, op, amounts)

    def note_unknown(self, amounts, op):
        for name, amount in amounts.items():
            self.unknown[name].append(amount)

    def count_tokens(self, key, op, end, settled):
        """Each try spends them from windows, also one that is rolled back."""
        extra = op.data.get("tries", 1) + (op.data["mode"] == "commit") - (1 if op.result == OK else 0)
        for owner, limits in self.facts.scopes(key):
            if "tokens_per_day" not in limits:
                continue
            account = self.live[owner, "tokens"]
            if op.result == OK and not settled:
                self.temporary(account, op.start, end, op.data["tokens"], stored=op.data["tokens"])
            if extra:
                self.temporary(account, op.start, NEVER, op.data["tokens"] * extra, stored=op.data["tokens"] * extra)

    def reserve_of(self, op):
        return self.reserves.get(op.data["reservation"]) if op.data["reservation"] else None

    def take_back(self, key, op, amounts):
        """A void takes back what was recorded, unless the key has gone meanwhile."""
        void = self.voids.get((op.data["key"], op.data["request"])) if op.data["request"] else None
        if void is None:
            return
        done = void.result == OK and (void.rows[0][0] or (void.data["tries"] > 1 and not self.facts.may_be_gone(key, void.end)))
        if void.result == OK and not void.rows[0][0] and void.data["tries"] == 1:
            return
        end = void.end if done else NEVER
        for (kind, owner), amount in amounts.items():
            self.stored[kind, owner].remove(void.start, end, amount)
            if kind == "budget":
                self.spent[owner].remove(void.start, end, amount)
            if not done:
                self.unknown[kind, owner].append(-amount)
        for owner, limits in self.facts.scopes(key):
            if "tokens_per_day" in limits:
                self.live[owner, "tokens"].remove(void.start, NEVER, op.data["tokens"])

    def count_budget_add(self, op):
        if op.result != FAIL:
            self.stored["added", op.data["budget"]].add(op.start, op.end if op.result == OK else NEVER, op.data["amount"])
            if op.result == UNKNOWN:
                self.unknown["added", op.data["budget"]].append(op.data["amount"])
