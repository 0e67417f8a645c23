# SPDX-License-Identifier: PostgreSQL
"""One round: a cluster, clients, a nemesis, and the checker in the end.

round.py --seed N [--operations N] [--kills N] --bindir DIR --directory DIR
round.py --check FILE           checks a history that was saved
Prints a JSON object of figures; exits with 1 if a promise was broken."""

import argparse
import copy
import json
import os
import random
import re
import sys
import time

import psycopg2
import psycopg2.extras

import lies
from checker import Checker
from client import BUDGET, UNIT, Client, Market, StandbyReader, document
from facts import Facts
from nemesis import Nemesis
from record import OK, History, now
from server import LIBFAKETIME, Server, World

CLIENTS = 8

SETTINGS = ["shared_preload_libraries = 'apikeys'", "max_prepared_transactions = 40", "max_connections = 60",
            "max_wal_senders = 4", "wal_level = replica", "apikeys.flush_interval = '200ms'",
            "apikeys.max_tracked_keys = 16384", "apikeys.reservation_timeout = '1h'", "log_statement = none",
            "log_min_messages = warning", "restart_after_crash = on", "shared_buffers = 32MB",
            "checkpoint_timeout = 30s", "min_wal_size = 32MB", "max_wal_size = 64MB"]

FINAL = {
    "keys": """SELECT i.id::text, i.name, i.rotated_from::text, i.revoked_at IS NOT NULL AS revoked, k.enabled,
                      i.metadata->>'v' AS version, total_requests AS requests, total_tokens AS tokens,
                      (total_cost * 1000000)::bigint AS cost
               FROM apikeys.info i JOIN apikeys_data.key k ON k.id = i.id""",
    "budgets": """SELECT id::text, name, (spent * 1000000)::bigint AS spent, (added * 1000000)::bigint AS added
                  FROM apikeys.budget_info""",
    "plans": "SELECT name, permissions->>'max_tokens_per_request' AS version FROM apikeys.plan_info",
}


def features_of(seed, arguments):
    """What a round has beside kills; each seed has some of it."""
    if arguments.features is not None:
        return [name for name in arguments.features.split(",") if name]
    rng = random.Random(f"{seed}/features")
    features = []
    if rng.random() < 0.3:
        features.append("standby")
    elif os.path.exists(LIBFAKETIME) and rng.random() < 0.25:
        features.append("clock")
    elif arguments.disk and rng.random() < 0.35:
        features.append("disk")
    return features + [name for name in ("small", "async") if rng.random() < 0.25]


def make_server(arguments, features):
    directory = arguments.disk if "disk" in features else arguments.directory
    server = Server(arguments.bindir, f"{directory}/primary", "clock" in features)
    server.init(SETTINGS + (["apikeys.max_tracked_keys = 400"] if "small" in features else []))
    server.start()
    connection = psycopg2.connect(server.dsn)
    connection.autocommit = True
    connection.cursor().execute("SET client_min_messages = warning; CREATE EXTENSION apikeys CASCADE")
    connection.close()
    return server


def make_budgets(client, market):
    """A root without a limit, teams, and people."""
    def make(name, most, parent, limits):
        op = client.do("budget_create", BUDGET, (name, most and str(most), parent, document(limits)),
                       name=name, parent=parent, max=most and most * UNIT, limits=limits)
        market.budgets.append((op.rows[0][0], parent))
        return op.rows[0][0]
    root = make("company", None, None, {})
    for team in range(3):
        above = make(f"team {team}", 400 * (team + 1), root, {"requests_per_day": 600 * team} if team else {})
        for person in range(2):
            make(f"person {team} {person}", 20 + 60 * person, above, {"max_concurrent_requests": 8} if person else {})


def run_clients(world, history, arguments, features):
    market = Market()
    share = arguments.operations // CLIENTS
    clients = [Client(world, market, number, arguments.seed, share) for number in range(CLIENTS)]
    make_budgets(clients[0], market)
    nemesis = Nemesis(world, history, arguments.seed, arguments.kills, features)
    reader = StandbyReader(world, market, arguments.seed)
    threads = clients + [nemesis] + ([reader] if world.standby else [])
    for thread in threads:
        thread.start()
    for client in clients:
        client.join()
    world.is_over = True
    nemesis.join()
    if world.standby:
        reader.join()
    for client in clients:
        history.ops += client.session.ops
    history.ops += reader.ops
    return nemesis


def read_final(world, history):
    """What the database says when all is over; prepared transactions there are none."""
    connection = psycopg2.connect(world.primary.dsn)
    connection.autocommit = True
    cursor = connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor)
    cursor.execute("SELECT apikey_flush()")
    history.final = {"at": now()}
    for name, sql in FINAL.items():
        cursor.execute(sql)
        history.final[name] = [dict(row) for row in cursor.fetchall()]
    cursor = connection.cursor()
    cursor.execute("SELECT action, key_id::text, details FROM apikeys_data.event")
    history.final["events"] = [list(row) for row in cursor.fetchall()]
    cursor.execute("SELECT * FROM apikeys.check()")
    history.final["check"] = [list(row) for row in cursor.fetchall()]
    cursor.execute("SELECT gid FROM pg_prepared_xacts")
    history.final["check"] += [["error", gid, "is still prepared"] for gid, in cursor.fetchall()]
    connection.close()


def read_logs(servers, history):
    """A process that ends by itself is a crash; on a full disk the server may give up."""
    pattern = "TRAP:|terminated by signal (?!9:)" + ("" if "disk" in history.features else "|PANIC:")
    for server in servers:
        with open(f"{server.data}/log", errors="replace") as log:
            history.final["crashes"] = history.final.get("crashes", []) + [line for line in log if re.search(pattern, line)]


def caught(history, seed):
    """Tells each lie about a copy of the history: {lie: was it found}."""
    found = {}
    for lie in lies.ALL:
        twin = copy.copy(history)
        twin.ops = [copy.copy(op) for op in history.ops]
        twin.final = {name: [copy.copy(row) for row in rows] if isinstance(rows, list) else rows for name, rows in history.final.items()}
        if lie(twin, Facts(twin), random.Random(f"{seed}/{lie.__name__}")):
            found[lie.__name__] = Checker(twin, is_done_at_once=True).finds_any()
    return found


def report(checker, history, **more):
    problems = {promise: found for promise, found in checker.problems.items() if found}
    print(json.dumps({"seed": history.seed, "features": history.features,
                      "problems": {promise: len(found) for promise, found in problems.items()},
                      "checked": checker.checked, **more}))
    for promise, found in problems.items():
        for text in found[:5]:
            print(f"seed {history.seed}: {promise}: {text}", file=sys.stderr)
    return 1 if problems else 0


def avoid_midnight():
    """Windows of a day begin to slide then, even for a clock that jumps."""
    past = (time.time() + 300) % 86400
    if past < 400:
        time.sleep(400 - past)


def play(arguments):
    avoid_midnight()
    features = features_of(arguments.seed, arguments)
    server = make_server(arguments, features)
    world = World(server, arguments.seed, arguments.operations)
    world.has_standby = "standby" in features
    world.is_async = "async" in features
    world.disk = arguments.disk
    if world.has_standby:
        world.standby = server.make_standby(f"{arguments.directory}/standby")
        server.configure(["synchronous_standby_names = '*'"])
        server.stop()
        server.start()
    history = History(arguments.seed, features)
    started = time.monotonic()
    try:
        nemesis = run_clients(world, history, arguments, features)
        seconds = time.monotonic() - started
        if world.failure:
            print(f"seed {arguments.seed}: {world.failure}", file=sys.stderr)
            print(json.dumps({"seed": arguments.seed, "features": features, "problems": {world.failure[:200]: 1}, "checked": {}}))
            return 1
        read_final(world, history)
        read_logs({server, world.primary, world.standby} - {None}, history)
    finally:
        for one in {server, world.primary, world.standby} - {None}:
            if one.is_alive():
                one.kill()
    checker = Checker(history)
    checker.run()
    status = report(checker, history, operations=world.done, kills=nemesis.kills, nemesis=nemesis.counts,
                    lies=caught(history, arguments.seed) if arguments.lies and not any(checker.problems.values()) else {}, seconds=round(seconds, 1))
    if status or arguments.keep:
        history.save(f"{arguments.directory}/history.json")
    return status


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int)
    parser.add_argument("--operations", type=int, default=20000)
    parser.add_argument("--kills", type=int, default=2)
    parser.add_argument("--bindir")
    parser.add_argument("--directory")
    parser.add_argument("--disk", help="a small file system of its own")
    parser.add_argument("--features", help="instead of those of the seed: standby, clock, disk, small, async")
    parser.add_argument("--lies", action="store_true", help="does the checker find planted faults?")
    parser.add_argument("--keep", action="store_true", help="keep the history")
    parser.add_argument("--check", help="a history that was saved")
    arguments = parser.parse_args()
    if arguments.check:
        history = History.load(arguments.check)
        checker = Checker(history)
        checker.run()
        return report(checker, history)
    return play(arguments)


if __name__ == "__main__":
    sys.exit(main())
