# SPDX-License-Identifier: PostgreSQL
"""Accounts of all limits, budgets and totals of a round."""

from collections import defaultdict

from account import Account, Steps, first_crash
from record import FAIL, NEVER, OK, UNKNOWN

UNITS = {"requests_per_day": "requests", "tokens_per_day": "tokens", "cost_per_day": "cost", "max_concurrent_requests": "slots"}
AMOUNTS = {"tokens_per_day": "tokens", "cost_per_day": "cost"}          # of which a request says how much

# How long before a crash usage that need not be durable may have been recorded, and be lost.
MOST_LOST = 2_000_000_000


class Accounts:
    """live: what is in shared memory, by (owner, unit); spent: what budgets have, reserved
    included; stored: what budgets and keys have in tables; standby: requests that a
    standby has let pass, by owner."""

    def __init__(self, facts):
        self.facts = facts
        self.crashes = sorted(facts.history.crashes)
        self.live = defaultdict(Account)
        self.spent = defaultdict(Account)
        self.stored = defaultdict(Account)
        self.standby = defaultdict(Steps)
        self.features = facts.history.features
        self.flushes = [op for op in facts.kinds.get("flush", []) if op.is_ok() and op.data["durable"]]
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

    def temporary(self, account, start, end, amount, stop=None, left=0, stored=0, is_used=False, is_told=False):
        """What a crash ends, and before it the operation stop, which leaves so much; of
        it so much may be stored by then, and last.  What is_used lasts if it was flushed,
        what is_told to a standby may come back from there, even what was given back."""
        account.add(start, end, amount)
        unsure = first_crash(self.crashes, start, False)
        certain = first_crash(self.crashes, end if end < NEVER else start, True)
        least_until = unsure[0] if unsure and end < NEVER else NEVER
        most_until = certain[1] if certain else NEVER
        lasts = is_used and self.is_flushed(stop.end if stop else end, least_until)
        if stop is not None and stop.start < least_until:
            account.undo_begun.add(stop.start, amount - left)
            if left and least_until < NEVER and not lasts:
                account.undo_begun.add(least_until, left)
        elif least_until < NEVER and not (lasts and stop is None):
            account.undo_begun.add(least_until, amount)
        if is_told and unsure:
            return
        if stop is not None and self.is_sure(stop) and stop.end < most_until:
            account.undo_done.add(stop.end, amount - left)
            if left > stored and most_until < NEVER:
                account.undo_done.add(most_until, left - stored)
        elif most_until < NEVER and amount > stored:
            account.undo_done.add(most_until, amount - stored)

    def is_flushed(self, since, before):
        """Was all that was used at one time stored before another?"""
        return any(op.start > since and op.end < before for op in self.flushes)

    def may_be_lost(self, op):
        """Usage that need not be durable, with a crash after it."""
        return "async" in self.features and op.result == OK and \
            any(crash[0] - MOST_LOST < op.end and op.start < crash[1] for crash in self.crashes)

    def is_sure(self, stop):
        """A release says whether it has given anything back.  What had ended before it
        was settled is still reserved of budgets."""
        if stop.kind == "release":
            return stop.is_ok() and stop.rows[0][0]
        return stop.is_ok() and not self.may_be_lost_before(stop)

    def may_be_lost_before(self, stop):
        return self.facts.may_lose_reservation(self.reserves[stop.data["reservation"]], stop.end)

    def count_requests(self, key, op, is_valid):
        end = op.end if op.result == OK else NEVER
        if op.result == OK and not is_valid:
            return
        for owner, limits in self.facts.scopes(key, op.data.get("budget")):
            if "requests_per_day" in limits:
                self.temporary(self.live[owner, "requests"], op.start, end, 1, stored=1, is_used=True)

    def count_verify(self, op):
        for number, id in enumerate(op.data["keys"]):
            self.count_requests(self.facts.keys[id], op, op.result == OK and op.rows[number][0] == "VALID")

    def count_standby_verify(self, op):
        """What passes on a standby counts there at once, and elsewhere some time, or never."""
        for number, id in enumerate(op.data["keys"]):
            if op.result == OK and op.rows[number][0] != "VALID":
                continue
            for owner, limits in self.facts.scopes(self.facts.keys[id]):
                if "requests_per_day" in limits:
                    self.live[owner, "requests"].add(op.start, NEVER, 1)
                    if op.result == OK:
                        self.standby[owner].add(op.end, 1)

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
        settles = stop is not None and stop.kind == "record" and self.keeps(op, stop)
        for owner, limits in self.facts.scopes(key, op.data["budget"]):
            if "max_concurrent_requests" in limits:
                self.temporary(self.live[owner, "slots"], op.start, end, 1, stop)
            for name, unit in AMOUNTS.items():
                if name in limits:
                    amount, used = op.data[unit], stop.data[unit] if settles else 0
                    self.temporary(self.live[owner, unit], op.start, end, amount, stop, used,
                                   stored=used, is_used=settles, is_told="standby" in self.features)
        cost, paid = op.data["cost"], stop.data["cost"] if settles else 0
        for budget in self.facts.path(key.budget, op.data["budget"]):
            account = self.spent[budget]
            if paid and not self.may_be_lost(stop):
                # What was paid is there from the reservation on.
                account.add(op.start, end, paid)
                self.temporary(account, op.start, end, cost - paid, stop)
            else:
                self.temporary(account, op.start, end, cost, stop, paid, stored=paid)

    def keeps(self, op, stop):
        """Has it been settled by the same server that gave it, in one go?"""
        crash = first_crash(self.crashes, op.start, False)
        return stop.result == OK and stop.data["tries"] == 1 and not (crash and crash[0] < stop.end) and \
            not self.may_be_lost_before(stop)

    # ----------------------------------------------------------------- usage

    def count_record(self, op):
        key = self.facts.keys[op.data["key"]]
        reserve = self.reserve_of(op)
        settled = reserve is not None and op.result == OK and self.keeps(reserve, op)
        is_known = op.result == OK and not self.may_be_lost(op)
        end = op.end if is_known else NEVER
        self.count_amounts(key, op, settled)
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
            if not is_known:
                self.unknown[name].append(amount)
        self.take_back(key, op, amounts)

    def count_amounts(self, key, op, settled):
        """Each try spends them from windows, also one that is rolled back; where there is
        no space for a window, none does."""
        end = op.end if op.result == OK and "small" not in self.features else NEVER
        extra = op.data.get("tries", 1) + (op.data["mode"] == "commit") - (1 if op.result == OK else 0)
        for owner, limits in self.facts.scopes(key, op.data["budget"]):
            for name, unit in AMOUNTS.items():
                account, amount = self.live[owner, unit], op.data[unit]
                if name in limits and op.result == OK and not settled:
                    self.temporary(account, op.start, end, amount, stored=amount, is_used=True)
                if name in limits and extra:
                    self.temporary(account, op.start, NEVER, amount * extra, stored=amount * extra)

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
        done = done and not self.may_be_lost(void)
        end = void.end if done else NEVER
        for (kind, owner), amount in amounts.items():
            self.stored[kind, owner].remove(void.start, end, amount)
            if kind == "budget":
                self.spent[owner].remove(void.start, end, amount)
            if not done:
                self.unknown[kind, owner].append(-amount)
        for owner, limits in self.facts.scopes(key, op.data["budget"]):
            for name, unit in AMOUNTS.items():
                if name in limits:
                    self.live[owner, unit].remove(void.start, NEVER, op.data[unit])

    def count_budget_add(self, op):
        if op.result != FAIL:
            self.stored["added", op.data["budget"]].add(op.start, op.end if op.result == OK else NEVER, op.data["amount"])
            if op.result == UNKNOWN:
                self.unknown["added", op.data["budget"]].append(op.data["amount"])
