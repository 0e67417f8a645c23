# SPDX-License-Identifier: PostgreSQL
"""What goes wrong while clients work: at points of their progress, by a seed."""

import random
import signal
import threading
import time

import psycopg2

from record import now
from server import send, write_file

SOFT = ("cancel", "terminate", "reload", "secret")       # those that cut short come first


class Nemesis(threading.Thread):
    def __init__(self, world, history, seed, kills, features):
        super().__init__(name="nemesis")
        self.world, self.history = world, history
        self.rng = random.Random(f"{seed}/nemesis")
        self.features = features
        self.kills = 0
        self.counts = {}
        self.secrets = []
        self.session = None
        self.plan = self.make_plan(kills)

    def make_plan(self, kills):
        """(share of the operations, what) in order."""
        plan = [((n + self.rng.random()) / kills, "kill") for n in range(kills)]
        # A commit whose wait for the standby is cut short is acknowledged all the same.
        soft = SOFT[2:] if "standby" in self.features else SOFT
        plan += [(self.rng.random(), self.rng.choice(soft)) for _ in range(6 + 3 * kills)]
        for feature in self.features:
            times = {"standby": 1, "disk": 2, "clock": 8}.get(feature, 0)
            plan += [(self.rng.uniform(0.2, 0.8), "promote" if feature == "standby" else feature) for _ in range(times)]
        if "standby" in self.features:
            plan += [(self.rng.random(), "lag") for _ in range(6)]
        return sorted(plan)

    def run(self):
        try:
            for share, what in self.plan:
                while self.world.done < share * self.world.operations:
                    if self.world.is_over or self.world.failure:
                        return
                    time.sleep(0.003)
                if getattr(self, what)():
                    self.counts[what] = self.counts.get(what, 0) + 1
        except Exception as error:
            self.world.fail(f"nemesis: {type(error).__name__}: {error}")
            raise

    # ------------------------------------------------------------- a session

    def ask(self, sql):
        """One query; none where the server is not there."""
        try:
            if self.session is None or self.session.closed:
                self.session = psycopg2.connect(self.world.primary.dsn, application_name="nemesis")
                self.session.autocommit = True
            with self.session.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []
        except psycopg2.Error:
            if self.session is not None:
                self.session.close()
            return []

    def some_client(self):
        pids = self.ask("SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'c%' ORDER BY pid")
        return self.rng.choice(pids)[0] if pids else None

    def crashed(self, start, is_certain=True):
        self.history.crashes.append([start, now(), is_certain])

    # ------------------------------------------------------------ what it does

    def kill(self):
        how = self.rng.choices(["backend", "process", "postmaster", "postmaster_alone", "immediate", "restart"],
                               [40, 20, 20, 8, 6, 6])[0]
        before = self.incarnation()
        start = now()
        if how in ("backend", "process"):
            self.kill_one(how, before)
        elif how in ("immediate", "restart"):
            self.world.primary.stop(signal.SIGQUIT if how == "immediate" else signal.SIGINT)
        else:
            self.world.primary.kill(with_children=how == "postmaster")
        self.kills += how not in ("immediate", "restart")
        self.come_back(before)
        self.crashed(start, how != "restart")
        self.counts[how] = self.counts.get(how, 0) + 1

    def kill_one(self, how, before):
        """Whom it chooses may have ended by then: then another."""
        while self.seen_incarnation() == before:
            pid = self.some_client() if how == "backend" else None
            children = [pid for pid, name in self.world.primary.children() if "startup" not in name]
            send(signal.SIGKILL, pid or self.rng.choice(children))
            end = time.monotonic() + 2
            while self.seen_incarnation() == before and time.monotonic() < end:
                time.sleep(0.002)

    def seen_incarnation(self):
        """The checkpointer is another one after each crash; none while it lasts."""
        rows = self.ask("SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'")
        return rows[0][0] if rows else None

    def incarnation(self):
        """The same, waiting for it."""
        while not self.world.failure:
            found = self.seen_incarnation()
            if found is not None:
                return found
            time.sleep(0.005)
        return None

    def come_back(self, before):
        """Returns when the server is there that came after the one of before."""
        primary = self.world.primary
        end = time.monotonic() + 120
        while not self.world.failure:
            if not primary.is_alive():
                primary.start()
            if self.incarnation() != before:
                return
            if time.monotonic() > end:
                self.world.fail("the server does not come back")
            time.sleep(0.005)

    def cancel(self):
        pid = self.some_client()
        return pid and self.ask(f"SELECT pg_cancel_backend({pid})")

    def terminate(self):
        pid = self.some_client()
        return pid and self.ask(f"SELECT pg_terminate_backend({pid})")

    def reload(self):
        lines = [f"apikeys.cache_memory = '{self.rng.choice(['64kB', '1MB', '0'])}'",
                 f"apikeys.flush_interval = '{self.rng.choice(['50ms', '1s', '10s'])}'",
                 f"apikeys.last_used_throttle = '{self.rng.choice(['0', '1s', '5min'])}'"]
        self.world.primary.configure(lines)
        return self.ask("SELECT pg_reload_conf()")

    def secret(self):
        """One more secret; all that were are kept."""
        if len(self.secrets) > 12:
            return False
        self.secrets.insert(0, f"s{len(self.secrets)}:{self.rng.getrandbits(128):032x}")
        for server in (self.world.primary, self.world.standby):
            if server:
                write_file(f"{server.data}/secrets", "\n".join(self.secrets) + "\n")
                server.configure([f"apikeys.hmac_secret_file = '{server.data}/secrets'"])
                if server.is_alive():
                    server.process.send_signal(signal.SIGHUP)
        return True

    def clock(self):
        self.world.primary.set_clock(self.rng.randint(-30, 30))
        return True

    def disk(self):
        """Fills the disk, and frees it again.  That may end the server, or not."""
        before = self.incarnation()
        start = now()
        with open(f"{self.world.disk}/filler", "wb", buffering=0) as out:
            try:
                while True:
                    out.write(b"\0" * 65536)
            except OSError:
                pass
            time.sleep(self.rng.uniform(0.3, 1))
            out.truncate(0)
        if not self.world.primary.is_alive():
            self.world.primary.start()
        if self.incarnation() != before:
            self.crashed(start, True)
        return True

    def lag(self):
        """The standby stops replaying for a while."""
        standby = self.world.standby
        if not standby:
            return False
        try:
            connection = psycopg2.connect(standby.dsn)
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_wal_replay_pause()")
                time.sleep(self.rng.uniform(0.05, 0.5))
                cursor.execute("SELECT pg_wal_replay_resume()")
            connection.close()
        except psycopg2.Error:
            return False
        return True

    def promote(self):
        """The primary dies, and the standby, which has all that was acknowledged, takes its place.
        Often the primary crashes before, and comes back: then it shows what the standby has not
        got, to clients who ask again what they were not told."""
        old, standby = self.world.primary, self.world.standby
        if not standby:
            return False
        if self.rng.random() < 0.5:
            self.kill()
            time.sleep(self.rng.uniform(0, 0.2))
        start = now()
        old.kill()
        self.kills += 1
        self.world.standby = None
        standby.promote()
        self.world.primary = standby
        self.crashed(start)
        return True
