# SPDX-License-Identifier: PostgreSQL
"""Has the Nth call of each function fail, for N = 1, 2, 3 ... until none does.

failures.py SOCKET-DIRECTORY [FUNCTION...]

Each time the function may raise an error or give the right answer.  After it nothing
is half done, no lock is held, and the function works.  Prints a line for each function,
and exits with 1 if anything was wrong."""

import os
import sys

import psycopg2

from cases import CASES, RESET, SETUP

MOST = 3000             # failing calls of one function, at most
GROWTH = 65536          # bytes that a backend may grow by in a sweep that it has made before


class Sweep:
    def __init__(self, directory):
        self.dsn = f"host={directory} port=5432 user=postgres dbname=postgres"
        self.problems = []
        self.is_short = os.environ.get("EFFORT") == "ci"
        self.connect()

    def connect(self):
        self.connection = psycopg2.connect(self.dsn)
        self.connection.autocommit = True
        self.send("SET client_min_messages = error; SET lock_timeout = '10s'")

    def send(self, sql):
        with self.connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def complain(self, case, number, where, text):
        self.problems.append(f"{case['name']}, call {number} ({where}): {text}")

    # ----------------------------------------------------------------- a call

    def values(self, case):
        """What the statements of a case need: made anew for each call."""
        if case.get("alone"):
            self.send(RESET)
        return dict(zip(case["needs"], self.send(case["given"])[0])) if case.get("given") else {}

    def call(self, case, values, number, in_block):
        """Calls it with one failure: (its answer or none, error or none)."""
        answer = error = None
        try:
            if in_block:
                self.send("BEGIN")
            self.send(f"SELECT apikeys_fail_at({number})")
            answer = self.send(case["call"].format(**values))
            if in_block:
                self.send("COMMIT")
        except psycopg2.Error as raised:
            answer, error = None, raised
            if self.connection.closed:
                raise
            self.send("ROLLBACK")
        return answer, error

    def one(self, case, number, in_block):
        """Returns false once nothing fails any more."""
        values = self.values(case)
        before = self.send(case["state"].format(**values))
        answer, error = self.call(case, values, number, in_block)
        failed, under_lock, _ = self.send("SELECT apikeys_fail_report()")[0][0].rsplit("|", 2)
        after = self.send(case["state"].format(**values))
        if error is not None and "apikeys_fail" not in str(error) and not failed:
            self.complain(case, number, "none", f"fails by itself: {error}")
            return False
        if error is not None and error.pgcode in ("XX001", "XX002"):
            self.complain(case, number, failed, f"{error.pgcode}: {error}")
        if under_lock:
            self.complain(case, number, failed, f"called under a lock: {under_lock}")
        self.check_state(case, number, failed, before, after, answer, error)
        self.check_locks(case, number, failed)
        return bool(failed)

    def check_state(self, case, number, failed, before, after, answer, error):
        if error is not None and after != before and not case.get("may_stay"):
            self.complain(case, number, failed, f"an error, but {before} has become {after}")
        if error is None and case.get("answer") is not None and not case["answer"](answer):
            self.complain(case, number, failed, f"the answer is {answer}")
        if error is None and case.get("becomes") is not None and not case["becomes"](before, after):
            self.complain(case, number, failed, f"{before} has become {after}")

    def check_locks(self, case, number, failed):
        locks = self.send("SELECT locktype, mode FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'")
        if locks:
            self.complain(case, number, failed, f"holds {locks}")

    # -------------------------------------------------------------- a function

    def sweep(self, case, in_block=False, is_cold=False):
        """A session that is new has plans to make, which may fail as well."""
        number = 1
        self.send(RESET)
        while number < MOST:
            if is_cold:
                self.connection.close()
                self.connect()
            if not self.one(case, number, in_block):
                break
            number += 1
        return number - 1

    def memory(self):
        """Without the caches, which have bounds of their own, and what a statement has."""
        return self.send("SELECT sum(total_bytes) FROM pg_backend_memory_contexts WHERE name NOT IN ('apikeys cache', "
                         "'apikeys budget', 'apikeys budgets', 'MessageContext', 'ExecutorState', 'PortalContext')")[0][0]

    def growth(self, case):
        before = self.memory()
        self.sweep(case, True)
        return self.memory() - before

    def run(self, case):
        """In a transaction of its own, and in a block, where it may also fail at the
        commit; over and over nothing more may be kept in memory, but the first time plans."""
        try:
            calls = self.sweep(case, is_cold=True)
            if self.is_short:
                return calls
            calls += self.sweep(case, True)
            grown = min(self.growth(case), self.growth(case))
            if grown > GROWTH:
                self.complain(case, 0, "a sweep", f"the backend has grown by {grown} bytes")
            return calls
        except psycopg2.Error as error:
            self.complain(case, 0, "a crash", str(error).strip())
            self.connect()
            return 0


def main():
    sweep = Sweep(sys.argv[1])
    for sql in SETUP:
        sweep.send(sql)
    total = 0
    chosen = [case for case in CASES if case["name"] in sys.argv[2:] or not sys.argv[2:]]
    for case in chosen:
        known = len(sweep.problems)
        calls = sweep.run(case)
        total += calls
        print(f"{case['name']}: {calls} failures, {len(sweep.problems) - known} problems", file=sys.stderr)
        sound = sweep.send("SELECT * FROM apikeys.check()")
        if sound:
            sweep.complain(case, 0, "a sweep", f"apikeys.check(): {sound[:3]}")
        for text in sweep.problems[known:known + 6]:
            print(f"  {text}", file=sys.stderr)
    print(f"{len(chosen)} {total} {len(sweep.problems)}")
    return 1 if sweep.problems or total == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
