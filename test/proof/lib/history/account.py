# SPDX-License-Identifier: PostgreSQL
"""What a limit, a budget or a total may have counted at some time, from what was
acknowledged: at least so much, and at most so much."""

from bisect import bisect_left

from record import NEVER


class Steps:
    """Amounts by time, and their sums."""

    def __init__(self):
        self.steps = []
        self.times = self.sums = None

    def add(self, at, amount):
        self.steps.append((at, amount))

    def before(self, at):
        if self.times is None:
            self.steps.sort()
            self.times, self.sums = [], [0]
            for time, amount in self.steps:
                self.times.append(time)
                self.sums.append(self.sums[-1] + amount)
        return self.sums[bisect_left(self.times, at)]


class Account:
    def __init__(self):
        self.begun, self.done = Steps(), Steps()                # additions
        self.undo_begun, self.undo_done = Steps(), Steps()      # what is taken off again

    def add(self, start, end, amount):
        """Some time between start and end; end is NEVER if it may not be at all."""
        self.begun.add(start, amount)
        if end < NEVER:
            self.done.add(end, amount)

    def remove(self, start, end, amount):
        self.undo_begun.add(start, amount)
        if end < NEVER:
            self.undo_done.add(end, amount)

    def least(self, start, end):
        """What it had at every moment from start to end, at least."""
        return self.done.before(start) - self.undo_begun.before(end)

    def most(self, start, end):
        """What it had at any moment from start to end, at most."""
        return self.begun.before(end) - self.undo_done.before(start)


def first_crash(crashes, start, is_certain):
    """The first crash that may have come after start; or that certainly has."""
    for crash in crashes:
        if is_certain and crash[2] and crash[0] > start:
            return crash
        if not is_certain and crash[1] > start:
            return crash
    return None
