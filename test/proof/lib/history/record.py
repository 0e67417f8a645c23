# SPDX-License-Identifier: PostgreSQL
"""What is recorded of a round: operations, as their clients saw them.

Times are nanoseconds of the monotonic clock, taken before an operation is sent and
after its answer has come.  The result is OK if it was acknowledged, FAIL if it
certainly did nothing, and UNKNOWN if nobody told."""

import json
import time

OK, FAIL, UNKNOWN = "ok", "fail", "unknown"

NEVER = 1 << 62


def now():
    return time.monotonic_ns()


class Op:
    """One operation.  data is what was asked, rows what was answered."""

    __slots__ = ("kind", "who", "start", "end", "result", "error", "data", "rows")

    def __init__(self, kind, who, data):
        self.kind = kind
        self.who = who
        self.start = now()
        self.end = NEVER
        self.result = UNKNOWN
        self.error = None
        self.data = data
        self.rows = None

    def is_ok(self):
        return self.result == OK

    def may_be(self):
        return self.result != FAIL

    def line(self):
        return [getattr(self, name) for name in self.__slots__]


class History:
    """All that is known of a round when it is over."""

    def __init__(self, seed, features):
        self.seed = seed
        self.features = features
        self.ops = []
        self.crashes = []       # [start, end, is_certain] of what empties shared memory
        self.wall = time.time_ns() - now()      # what to add for the time of day
        self.final = {}         # what the database says in the end

    def save(self, name):
        with open(name, "w") as out:
            json.dump({**self.__dict__, "ops": [op.line() for op in self.ops]}, out, default=str)

    @staticmethod
    def load(name):
        with open(name) as source:
            content = json.load(source)
        history = History(content["seed"], content["features"])
        history.__dict__.update(content)
        history.ops = []
        for line in content["ops"]:
            op = Op.__new__(Op)
            for slot, value in zip(Op.__slots__, line):
                setattr(op, slot, value)
            history.ops.append(op)
        return history
