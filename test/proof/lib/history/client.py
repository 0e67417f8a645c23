# SPDX-License-Identifier: PostgreSQL
"""A client: makes operations of all kinds, by a seed.

Each key has one client that updates it, so that the order of its versions is known;
everything else is done to any key by anybody.  What is drawn comes from the client's
own generator, so that a seed makes the same operations again, up to what the timing
of the others does to the keys that are there."""

import json
import random
import threading
import time
import uuid

from record import OK, now
from session import Lost, Session

BATCH = 20                      # keys in one statement of verify
UNIT = 1_000_000                # costs are millionths

VERIFY = ("SELECT v.code, v.metadata->>'v', v.permissions->>'max_tokens_per_request' "
          "FROM unnest(%s::text[]) WITH ORDINALITY k(raw, n), LATERAL apikey_verify(k.raw) v ORDER BY n")
RESERVE = ("SELECT code, reservation::text, metadata->>'v' FROM apikey_verify(%s, tokens => %s, "
           "cost => %s::numeric, reserve => true, budget_id => %s::uuid)")
RECORD = ("SELECT apikey_record_usage(%s::uuid, tokens => %s, cost => %s::numeric, reservation => %s::uuid, "
          "request_id => %s, model => %s, budget_id => %s::uuid)")
GENERATE = ("SELECT id::text, raw_key FROM apikey_generate(%s, user_id => %s::uuid, budget_id => %s::uuid, "
            "rate_limits => %s, metadata => %s, expires_at => to_timestamp(%s), plan => %s)")
BUDGET = ("SELECT apikey_budget_create(%s, max_cost => %s::numeric, parent_id => %s::uuid, rate_limits => %s)::text")


class Key:
    """What the clients know of a key."""

    __slots__ = ("id", "raw", "owner", "parent", "budget", "limits", "user", "plan", "is_over")

    def __init__(self, id, raw, owner, **rest):
        self.id, self.raw, self.owner = id, raw, owner
        self.parent = self.budget = self.limits = self.user = self.plan = None
        self.is_over = False
        for name, value in rest.items():
            setattr(self, name, value)


class Market:
    """Keys and budgets that all clients share."""

    def __init__(self):
        self.keys = []
        self.recent = []        # keys that have just ended, or are about to
        self.budgets = []       # (id, parent)

    def ended(self, key):
        key.is_over = True
        self.recent.append(key)
        if len(self.recent) > 60:
            del self.recent[:20]


def cost_text(cost):
    return None if cost is None else f"{cost // UNIT}.{cost % UNIT:06d}"


def document(limits):
    """The rate_limits that stand for limits; that of costs is a window."""
    found = {name: most for name, most in limits.items() if name != "cost_per_day"}
    if "cost_per_day" in limits:
        found["windows"] = [{"per": "1 day", "cost": limits["cost_per_day"] // UNIT, "name": "cost"}]
    return json.dumps(found)


class Client(threading.Thread):
    # How often each is done.
    WEIGHTS = {"verify": 12, "reserve": 9, "settle": 8, "record": 6, "void": 1, "generate": 4, "update": 5,
               "rotate": 2, "revoke": 1.5, "contest": .7, "delete": .6, "derive": 1.5, "import_key": .5, "many": .4,
               "revoke_where": .2, "cleanup": .3, "plan": 1, "budget_add": .6, "budget_create": .3,
               "read_usage": 2, "read_budget": 1, "flush": .3, "look": .5}

    def __init__(self, world, market, number, seed, operations):
        super().__init__(name=f"c{number}")
        self.world = world
        self.market = market
        self.rng = random.Random(f"{seed}/{number}")
        self.operations = operations
        self.names = 0
        self.reservations = []          # (key, id, tokens, cost, budget)
        self.requests = []              # (key, request_id)
        self.users = [self.new_uuid() for _ in range(3)]
        self.plan_name = f"plan {number}"
        self.plan_version = 0
        self.session = Session(world, self.name, self.settings())

    def settings(self):
        level = self.rng.choice(["read committed", "repeatable read", "serializable"])
        durable = "on" if self.world.has_standby else self.rng.choice(["on", "off"])
        usage = "async" if self.world.is_async else "sync"
        self.flushes_for_good = level == "read committed" and durable == "on"
        return [f"default_transaction_isolation = '{level}'", f"synchronous_commit = {durable}",
                f"apikeys.usage_durability = {usage}", "lock_timeout = '5s'", "client_min_messages = error"]

    def run(self):
        try:
            names, weights = zip(*self.WEIGHTS.items())
            made = 0
            while self.do_plan() and not self.session.ops[-1].is_ok():
                pass
            while made < self.operations and not self.world.failure:
                what = self.rng.choices(names, weights)[0]
                made += getattr(self, f"do_{what}")() or 0
        except Exception as error:      # what ends a client ends the round
            self.world.fail(f"{self.name}: {type(error).__name__}: {error}")
            raise

    # --------------------------------------------------------------- choices

    def new_uuid(self):
        return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))

    def new_name(self):
        self.names += 1
        return f"{self.name} {self.names}"

    def some_key(self):
        """Mostly one of the last, and often one that has just ended."""
        recent, keys = self.market.recent, self.market.keys
        if recent and self.rng.random() < 0.25:
            return self.rng.choice(recent[-40:] or keys)
        return keys[-1 - int(len(keys) * self.rng.random() ** 2)] if keys else None

    def own_key(self):
        for _ in range(8):
            key = self.some_key()
            if key and key.owner == self.name and not key.is_over and not key.parent:
                return key
        return None

    def mode(self):
        return self.rng.choices(["auto", "commit", "rollback", "prepare", "unprepare"], [70, 12, 7, 7, 4])[0]

    def simple_mode(self):
        return self.rng.choices(["auto", "commit", "rollback"], [80, 12, 8])[0]

    def some_limits(self):
        kind = self.rng.random()
        if kind < 0.4:
            return {}
        limits = {}
        if kind < 0.65:
            limits["requests_per_day"] = self.rng.randint(1, 60)
        if 0.55 < kind < 0.85:
            limits["max_concurrent_requests"] = self.rng.randint(1, 4)
        if kind > 0.75:
            limits["tokens_per_day"] = self.rng.randint(50, 4000)
        if kind < 0.5 or kind > 0.9:
            limits["cost_per_day"] = self.rng.randint(1, 20) * UNIT
        return limits

    def some_team_limits(self):
        return {name: most * 10 for name, most in self.some_limits().items()}

    def do(self, kind, sql, arguments, mode="auto", count=1, **data):
        return self.session.do(kind, sql, arguments, data, mode, count)

    # ------------------------------------------------------------- verifying

    def do_verify(self):
        keys = [key for key in (self.some_key() for _ in range(BATCH)) if key]
        if not keys:
            return 0
        mode = "old" if self.rng.random() < 0.1 else "auto"
        self.do("verify", VERIFY, ([key.raw for key in keys],), mode, count=len(keys), keys=[key.id for key in keys])
        return len(keys)

    def do_reserve(self):
        key = self.some_key()
        if not key:
            return 0
        tokens = self.rng.randint(1, 300)
        cost = self.rng.randint(1, 3 * UNIT)
        budget = self.rng.choice(self.market.budgets)[0] if self.rng.random() < 0.1 else None
        op = self.do("reserve", RESERVE, (key.raw, tokens, cost_text(cost), budget),
                     key=key.id, tokens=tokens, cost=cost, budget=budget)
        if op.rows and op.rows[0][1]:
            self.reservations.append((key, op.rows[0][1], tokens, cost, budget))
        return 1

    def do_settle(self):
        """Settles or gives back; some are left to the end of the round."""
        if not self.reservations:
            return 0
        key, reservation, tokens, cost, budget = self.reservations.pop(self.rng.randrange(len(self.reservations)))
        if self.rng.random() < 0.3:
            self.session.do_again("release", "SELECT apikey_release(%s::uuid)", (reservation,),
                                  {"reservation": reservation})
            return 1
        mode = self.simple_mode()
        used, spent = self.rng.randint(0, tokens), self.rng.randint(0, cost)
        op = self.record(key, used, spent, reservation, budget, self.new_name(), mode)
        if mode == "rollback" and op.error is None:
            self.reservations.append((key, reservation, tokens, cost, budget))
        return 1

    # ----------------------------------------------------------------- usage

    def record(self, key, tokens, cost, reservation, budget, request, mode):
        """With a request_id it is repeated until it is known to count, once."""
        arguments = (key.id, tokens, cost_text(cost), reservation, request,
                     self.rng.choice([None, "gpt-4o", "claude"]), budget)
        data = {"key": key.id, "tokens": tokens, "cost": cost, "reservation": reservation,
                "budget": budget, "request": request}
        if request is None or mode == "rollback":
            op = self.session.do("record", RECORD, arguments, data, mode)
        else:
            op = self.session.do_again("record", RECORD, arguments, data, mode)
            if op.result == OK:
                self.requests.append((key, request))
        return op

    def do_record(self):
        key = self.some_key()
        if not key:
            return 0
        budget = self.rng.choice(self.market.budgets)[0] if self.rng.random() < 0.1 else None
        request = self.new_name() if self.rng.random() < 0.6 else None
        mode = self.mode()
        self.record(key, self.rng.randint(0, 200), self.rng.randint(0, UNIT // 2), None, budget, request,
                    mode if request is None or mode != "unprepare" else "prepare")
        return 1

    def do_void(self):
        if not self.requests:
            return 0
        key, request = self.requests.pop(self.rng.randrange(len(self.requests)))
        self.session.do_again("void", "SELECT apikey_void_usage(%s::uuid, %s)", (key.id, request),
                              {"key": key.id, "request": request})
        return 1

    def do_read_usage(self):
        key = self.some_key()
        if not key:
            return 0
        self.do("read_usage", "SELECT total_requests, total_tokens, (total_cost * 1000000)::bigint "
                "FROM apikey_usage(%s::uuid)", (key.id,), key=key.id)
        return 1

    def do_read_budget(self):
        if not self.market.budgets:
            return 0
        budget = self.rng.choice(self.market.budgets)[0]
        self.do("read_budget", "SELECT (spent * 1000000)::bigint, (added * 1000000)::bigint "
                "FROM apikeys.budget_info WHERE id = %s::uuid", (budget,), budget=budget)
        return 1

    def do_flush(self):
        self.do("flush", "SELECT apikey_flush()", (), self.simple_mode(), durable=self.flushes_for_good)
        return 1

    def do_look(self):
        """What reads keys, beside everything else."""
        self.do("look", self.rng.choice([
            "SELECT count(*) FROM apikey_list(row_limit => 20)", "SELECT apikey_count('active')",
            "SELECT count(*) FROM apikey_events(row_limit => 20)", "SELECT count(*) FROM apikeys.stats",
            "SELECT count(*) FROM apikeys.secret_usage", "SELECT count(*) FROM apikeys.plan_info"]), ())
        return 1

    # ------------------------------------------------------------------ keys

    def do_generate(self):
        name = self.new_name()
        limits = self.some_limits()
        user = self.rng.choice(self.users)
        budget = self.rng.choice(self.market.budgets)[0] if self.rng.random() < 0.5 else None
        plan = self.plan_name if self.rng.random() < 0.3 else None
        expires = None
        if self.rng.random() < 0.15 and not self.world.primary.has_clock:
            expires = time.time() + self.rng.uniform(0.5, 4)
        op = self.do("generate", GENERATE, (name, user, budget, document(limits), '{"v": "0"}', expires, plan),
                     self.mode(), name=name, limits=limits, user=user, budget=budget, plan=plan, expires=expires)
        self.add(op, 0, budget=budget, limits=limits, user=user, plan=plan)
        return 1

    def add(self, op, row, **rest):
        if op.result == OK and op.rows:
            self.market.keys.append(Key(op.rows[row][0], op.rows[row][1], self.name, **rest))

    def do_import_key(self):
        name, raw = self.new_name(), self.new_uuid()
        user = self.rng.choice(self.users)
        op = self.do("generate", "SELECT apikey_import(digest(%s, 'sha256'), %s, 'imported', user_id => %s::uuid, "
                     """metadata => '{"v": "0"}')::text, %s""", (raw, name, user, raw), self.mode(),
                     name=name, user=user)
        self.add(op, 0, user=user)
        return 1

    def do_many(self):
        name, user = self.new_name(), self.rng.choice(self.users)
        count = self.rng.randint(2, 90)
        op = self.do("many", "SELECT id::text, raw_key FROM apikey_generate_many(%s, %s, user_id => %s::uuid, "
                     """metadata => '{"v": "0"}')""", (count, name, user), self.mode(), name=name, user=user, number=count)
        for row in range(count if op.result == OK else 0):
            self.add(op, row, user=user)
        return 1

    def do_derive(self):
        parent = self.some_key()
        if not parent or parent.parent:
            return 0
        name = self.new_name()
        limits = self.some_limits() if self.rng.random() < 0.3 else {}
        op = self.do("derive", "SELECT id::text, raw_key FROM apikey_derive(%s, '1 hour', %s, rate_limits => %s, "
                     """metadata => '{"v": "0"}')""", (parent.raw, name, document(limits)), self.mode(),
                     name=name, parent=parent.id, limits=limits)
        self.add(op, 0, parent=parent.id, limits=limits, budget=parent.budget, user=parent.user)
        return 1

    def do_update(self):
        key = self.own_key()
        if not key:
            return 0
        version = self.new_name()
        enabled = self.rng.random() < 0.8
        self.do("update", "SELECT id::text FROM apikey_update(%s::uuid, %s)",
                (key.id, json.dumps({"metadata": {"v": version}, "enabled": enabled})),
                self.mode(), key=key.id, version=version, enabled=enabled)
        return 1

    def do_rotate(self, key=None):
        key = key or self.some_key()
        if not key or key.parent:
            return 0
        grace = self.rng.random() < 0.4
        if not grace:
            self.market.ended(key)
        op = self.do("rotate", "SELECT id::text, raw_key FROM apikey_rotate(%s::uuid, %s::interval)",
                     (key.id, "1 hour" if grace else "0"), self.mode(), key=key.id, grace=grace)
        self.add(op, 0, budget=key.budget, limits=key.limits, user=key.user, plan=key.plan)
        key.is_over &= op.result != "fail"
        return 1

    def do_revoke(self, key=None):
        key = key or self.some_key()
        if not key:
            return 0
        self.market.ended(key)
        if self.rng.random() < 0.3:
            op = self.do("revoke", "SELECT apikey_revoke_raw(%s)::text", (key.raw,), self.mode(), key=key.id, raw=True)
        else:
            op = self.do("revoke", "SELECT apikey_revoke(%s::uuid, 'test')", (key.id,), self.mode(), key=key.id)
        key.is_over = op.result != "fail"
        return 1

    def do_contest(self):
        """Ends a key on which others, too, are at work: the last that has ended."""
        if not self.market.recent:
            return 0
        key = self.market.recent[-1]
        return self.rng.choice([self.do_rotate, self.do_revoke, self.do_delete])(key)

    def do_delete(self, key=None):
        key = key or self.some_key()
        if not key:
            return 0
        self.market.ended(key)
        op = self.do("delete", "SELECT apikey_delete(%s::uuid)", (key.id,), self.mode(), key=key.id)
        key.is_over = op.result != "fail"
        return 1

    def do_revoke_where(self):
        """All keys of a user, who is not seen again."""
        user = self.rng.randrange(len(self.users))
        op = self.do("revoke_where", "SELECT apikey_revoke_where(user_id => %s::uuid)", (self.users[user],),
                     self.mode(), user=self.users[user])
        if op.result != "fail":
            self.users[user] = self.new_uuid()
        return 1

    def do_cleanup(self):
        kind = self.rng.choice(["cleanup", "cleanup", "cleanup_events", "cleanup_usage"])
        sql = {"cleanup": "SELECT apikey_cleanup_expired()", "cleanup_events": "SELECT apikey_cleanup_events('1 day')",
               "cleanup_usage": "SELECT apikey_cleanup_usage('40 days')"}[kind]
        self.do(kind, sql, (), self.mode())
        return 1

    # ----------------------------------------------------- plans and budgets

    def do_plan(self):
        """The number of tokens says which version it is."""
        self.plan_version += 1
        self.do("plan", "SELECT apikey_plan_set(%s, permissions => %s)",
                (self.plan_name, json.dumps({"max_tokens_per_request": 10000 + self.plan_version})),
                self.mode() if self.names else "auto", plan=self.plan_name, version=str(10000 + self.plan_version))
        return 1

    def do_budget_create(self):
        name = self.new_name()
        parent = self.rng.choice([budget for budget, above in self.market.budgets if not above])
        most = self.rng.randint(1, 60) * UNIT
        limits = self.some_team_limits()
        op = self.do("budget_create", BUDGET, (name, cost_text(most), parent, document(limits)), self.mode(),
                     name=name, parent=parent, max=most, limits=limits)
        if op.result == OK:
            self.market.budgets.append((op.rows[0][0], parent))
        return 1

    def do_budget_add(self):
        budget = self.rng.choice(self.market.budgets)[0]
        amount = self.rng.randint(1, 40) * UNIT
        note = self.new_name()
        self.do("budget_add", "SELECT id::text FROM apikey_budget_add(%s::uuid, %s::numeric, %s)",
                (budget, cost_text(amount), note), self.mode(), budget=budget, amount=amount, note=note)
        return 1


class StandbyReader(threading.Thread):
    """Asks a standby, after it has said how far it has replayed.  It tells its primary of
    what has passed there, and is told of what else has."""

    def __init__(self, world, market, seed):
        super().__init__(name="standby")
        self.world, self.market = world, market
        self.rng = random.Random(f"{seed}/standby")
        self.ops = []

    def run(self):
        import psycopg2
        from record import FAIL, Op
        connection = None
        while self.world.standby and not self.world.is_over and not self.world.failure:
            keys = self.market.recent[-15:] + self.market.keys[-5:]
            if not keys:
                time.sleep(0.01)
                continue
            op = Op("standby_verify", self.name, {"keys": [key.id for key in keys], "mode": "auto"})
            try:
                if connection is None:
                    connection = psycopg2.connect(self.world.standby.dsn, application_name=self.name)
                    connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_last_wal_replay_lsn() - '0/0'")
                    op.data["replayed"] = int(cursor.fetchone()[0])
                    cursor.execute(VERIFY, ([key.raw for key in keys],))
                    op.rows = cursor.fetchall()
                op.result = OK
                self.world.count(len(keys))
            except (psycopg2.Error, AttributeError):
                op.result, connection = FAIL, None
                time.sleep(0.05)
            op.end = now()
            self.ops.append(op)
            time.sleep(0.005)
