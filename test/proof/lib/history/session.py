# SPDX-License-Identifier: PostgreSQL
"""A session of a client: sends an operation, in one of several kinds of transaction,
and finds out what has become of it."""

import itertools
import time

import psycopg2

from record import FAIL, NEVER, OK, UNKNOWN, Op, now

# The connection ends with these, or the server has said so.
ENDS = {"57P01", "57P02", "57P03", "08006", "08003", "08001"}

# Operations after which a key is not valid any more.
ENDINGS = {"revoke", "rotate", "delete", "revoke_where"}

# Cancelled, a conflict, a lock that did not come, a full disk: try again.
RETRIED = {"57014", "40001", "40P01", "55P03", "53100"}

PATIENCE = 150

gids = itertools.count(1)


class Lost(Exception):
    """The connection is gone, and with it the answer."""


class Session:
    def __init__(self, world, who, settings):
        self.world = world
        self.who = who
        self.settings = settings
        self.connection = None
        self.ops = []

    # ------------------------------------------------------------ connection

    def connect(self):
        end = time.monotonic() + PATIENCE
        while True:
            try:
                connection = psycopg2.connect(self.world.primary.dsn, application_name=self.who)
                connection.autocommit = True
                with connection.cursor() as cursor:
                    cursor.execute("; ".join(f"SET {line}" for line in self.settings))
                self.connection = connection
                return
            except psycopg2.Error as error:
                if time.monotonic() > end:
                    self.world.fail(f"{self.who} cannot connect: {error}")
                    raise Lost from None
                time.sleep(0.01)

    def send(self, sql, arguments=None):
        """Returns the rows, raises Lost, or what the server says."""
        if self.connection is None:
            self.connect()
        try:
            with self.connection.cursor() as cursor:
                cursor.execute(sql, arguments)
                return cursor.fetchall() if cursor.description else []
        except psycopg2.Error as error:
            if self.connection.closed or error.pgcode in ENDS:
                self.connection.close()
                self.connection = None
                raise Lost from None
            raise

    def undo(self):
        try:
            self.send("ROLLBACK")
        except Lost:
            pass

    # ------------------------------------------------------------ operations

    def do(self, kind, sql, arguments, data, mode="auto", count=1):
        """Carries out one operation, and records it."""
        op = Op(kind, self.who, {**data, "mode": mode})
        try:
            getattr(self, f"in_{mode}")(op, sql, arguments)
        except psycopg2.Error as error:
            op.error = error.pgcode
            op.result = FAIL
            if mode != "auto" and self.connection is not None:
                self.undo()
            if error.pgcode in (None, "XX000", "XX001", "XX002"):
                self.world.fail(f"{kind}: {error}")
        if op.end == NEVER:
            op.end = now()
        if self.world.standby and op.result == OK and kind in ENDINGS:
            self.note_position(op)
        self.ops.append(op)
        self.world.count(count)
        return op

    def note_position(self, op):
        """Where the log of the primary is once this was acknowledged."""
        try:
            op.data["position"] = int(self.send("SELECT pg_current_wal_insert_lsn() - '0/0'")[0][0])
        except (Lost, psycopg2.Error):
            pass

    def do_again(self, kind, sql, arguments, data, mode="auto"):
        """The same for what may be repeated: until the answer is known, if ever.  Where
        a try that nobody heard of is followed by a refusal, it is not."""
        op = self.do(kind, sql, arguments, data, mode)
        op.data["tries"] = 1
        was_unknown = op.result == UNKNOWN
        while (op.result == UNKNOWN or op.error in RETRIED) and not self.world.failure:
            again = self.do(kind, sql, arguments, data)
            self.ops.pop()
            op.end, op.error, op.rows, op.result = again.end, again.error, again.rows, again.result
            op.data["tries"] += 1
            was_unknown |= op.result == UNKNOWN
            if was_unknown and op.result == FAIL and op.error not in RETRIED:
                op.result = UNKNOWN
                break
        return op

    def in_auto(self, op, sql, arguments):
        try:
            op.rows = self.send(sql, arguments)
            op.result = OK
        except Lost:
            pass

    def in_old(self, op, sql, arguments):
        """In a transaction whose snapshot is older than the operation."""
        try:
            self.send("BEGIN ISOLATION LEVEL REPEATABLE READ")
            self.send("SELECT count(*) FROM pg_class WHERE oid = 1")
            time.sleep(0.005)
            op.start = now()
            op.rows = self.send(sql, arguments)
            op.end = now()
            op.result = OK
            self.send("COMMIT")
        except Lost:
            pass

    def in_commit(self, op, sql, arguments):
        """Behind a savepoint to which the same was rolled back."""
        op.result = FAIL
        try:
            self.send("BEGIN; SAVEPOINT s")
            self.send(sql, arguments)
            self.send("ROLLBACK TO SAVEPOINT s")
            op.rows = self.send(sql, arguments)
            op.result = UNKNOWN
            self.send("COMMIT")
            op.result = OK
        except Lost:
            pass

    def in_rollback(self, op, sql, arguments):
        op.result = FAIL
        try:
            self.send("BEGIN")
            op.rows = self.send(sql, arguments)
            self.send("ROLLBACK")
        except Lost:
            pass

    def in_prepare(self, op, sql, arguments):
        op.result = OK if self.prepare(op, sql, arguments, "COMMIT") else FAIL

    def in_unprepare(self, op, sql, arguments):
        op.result = FAIL
        self.prepare(op, sql, arguments, "ROLLBACK")

    def prepare(self, op, sql, arguments, end):
        """In two phases; returns whether that came to its end."""
        gid = f"{self.who}-{next(gids)}"
        try:
            self.send("BEGIN")
            op.rows = self.send(sql, arguments)
        except Lost:
            return False
        try:
            self.send(f"PREPARE TRANSACTION '{gid}'")
        except Lost:
            if not self.is_prepared(gid):
                return False
        self.finish(gid, end)
        return True

    def is_prepared(self, gid):
        """Says what lasts.  A primary that has crashed shows what its standby has not got: to
        write something in the same transaction waits for that."""
        waits = ", pg_logical_emit_message(true, 'history', '')" if self.world.has_standby else ""
        while not self.world.failure:
            try:
                return self.send(f"SELECT count(*) > 0{waits} FROM pg_prepared_xacts WHERE gid = %s", (gid,))[0][0]
            except Lost:
                pass

    def finish(self, gid, end):
        """What is prepared stays so until one of these has succeeded."""
        while not self.world.failure:
            try:
                self.send(f"{end} PREPARED '{gid}'")
                return
            except Lost:
                if not self.is_prepared(gid):
                    return
            except psycopg2.Error:
                if not self.is_prepared(gid):
                    return
                time.sleep(0.01)
