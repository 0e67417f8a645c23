# SPDX-License-Identifier: PostgreSQL
"""A server of a round: started, killed, copied to a standby, promoted."""

import glob
import os
import random
import signal
import subprocess
import threading
import time

import psycopg2

LIBFAKETIME = "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1"
PATIENCE = 120                  # seconds until a server that does not come up is given up


def write_file(name, text):
    """Writes a whole file, or none of it."""
    with open(name + ".new", "w") as out:
        out.write(text)
    os.chmod(name + ".new", 0o600)
    os.rename(name + ".new", name)


class Server:
    """One cluster.  The postmaster is a child, so that it is reaped at once."""

    def __init__(self, bindir, data, has_clock=False):
        self.bindir = bindir
        self.data = data
        self.process = None
        self.has_clock = has_clock
        self.dsn = f"host={data} port=5432 user=postgres dbname=postgres"

    def run(self, program, *arguments):
        subprocess.run([f"{self.bindir}/{program}", *arguments], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def init(self, lines):
        self.run("initdb", f"--pgdata={self.data}", "--username=postgres", "--auth=trust",
                 "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
        # What a killed server that is not started again leaves of its shared memory ends with its directory.
        self.configure(["listen_addresses = ''", "fsync = off", "dynamic_shared_memory_type = mmap", *lines])

    def configure(self, lines):
        """Adds lines to the configuration; later ones win."""
        with open(f"{self.data}/postgresql.conf", "a") as out:
            out.write("\n".join([f"unix_socket_directories = '{self.data}'", *lines, ""]))

    def set_clock(self, seconds):
        write_file(f"{self.data}/clock", f"{seconds:+d}\n")

    def environment(self):
        if not self.has_clock:
            return os.environ
        self.set_clock(0)
        return {**os.environ, "LD_PRELOAD": LIBFAKETIME, "FAKETIME_FMT": "%s",
                "FAKETIME_TIMESTAMP_FILE": f"{self.data}/clock",
                "FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}

    def start(self):
        """Starts it and returns when it takes connections.  What a killed postmaster
        has left behind may live a little longer, so that it is tried again; a process
        that waits for a lock of one that has ended does so for ever, and is killed."""
        end = time.monotonic() + PATIENCE
        patience = time.monotonic() + 5
        while True:
            if time.monotonic() > patience:
                self.kill_orphans()
            with open(f"{self.data}/log", "a") as log:
                self.process = subprocess.Popen(
                    [f"{self.bindir}/postgres", "-D", self.data], stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log, start_new_session=True, env=self.environment())
            if self.wait(end):
                return
            if time.monotonic() > end:
                raise RuntimeError(f"the server does not start: {self.data}/log")
            time.sleep(0.1)

    def wait(self, end):
        """Returns true once it takes connections, false if it has ended."""
        while self.process.poll() is None and time.monotonic() < end:
            try:
                psycopg2.connect(self.dsn).close()
                return True
            except psycopg2.OperationalError:
                time.sleep(0.02)
        return False

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def children(self):
        """Its processes, by what they call themselves."""
        listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)],
                                stdout=subprocess.PIPE, text=True).stdout
        return [(int(line.split()[0]), line.split(None, 1)[1]) for line in listed.splitlines()]

    def kill(self, with_children=True):
        """kill -9, of the postmaster first; alone, its children end by themselves."""
        children = self.children() if with_children else []
        for pid in [self.process.pid] + [pid for pid, _ in children]:
            send(signal.SIGKILL, pid)
        self.process.wait()

    def kill_orphans(self):
        for name in glob.glob("/proc/[0-9]*/cwd"):
            try:
                if os.readlink(name) == self.data:
                    send(signal.SIGKILL, int(name.split("/")[2]))
            except OSError:
                pass

    def stop(self, how=signal.SIGINT):
        if self.is_alive():
            self.process.send_signal(how)
            self.process.wait(PATIENCE)

    def make_standby(self, data):
        standby = Server(self.bindir, data)
        self.run("pg_basebackup", "--pgdata", data, "--write-recovery-conf", "--no-sync",
                 "--checkpoint=fast", "--dbname", self.dsn)
        for lock in glob.glob(f"{data}/.s.*"):
            os.remove(lock)
        standby.configure(["synchronous_standby_names = ''"])
        standby.start()
        return standby

    def promote(self):
        self.run("pg_ctl", f"--pgdata={self.data}", "--silent", "--wait", "promote")


def send(number, pid):
    """A process may have ended meanwhile."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


class World:
    """What clients and the nemesis share: where the primary is, and how far they are."""

    def __init__(self, primary, seed, operations):
        self.primary = primary
        self.standby = None
        self.rng = random.Random(seed)
        self.operations = operations
        self.done = 0                   # operations of all clients
        self.lock = threading.Lock()
        self.failure = None             # what has ended the round early
        self.is_over = False

    def count(self, operations):
        with self.lock:
            self.done += operations

    def fail(self, problem):
        self.failure = self.failure or problem
