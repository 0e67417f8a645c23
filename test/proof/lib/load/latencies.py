"""What a load has shown.

    latencies.py steady PREFIX INTERVAL DURATION
        percentiles of verify for each interval go to PREFIX.percentiles; fails if the
        last sixth of the time is 5 % slower than the first
    latencies.py growth FILE
        fails if memory or tables have grown in the second half
    latencies.py summary PATTERN
        percentiles of all files

pgbench's lines are: client, transaction, microseconds, script, seconds, microseconds.
Script 0 is the verify.  The first seconds, in which connections are made, are left out.
"""

import glob
import sys

MAY_BE_SLOWER = 1.05
MAY_GROW = 1.05
SLACK = 4 * 1024 * 1024


def latencies(pattern):
    """Pairs of the second and the milliseconds of each verify."""
    found = []
    for name in glob.glob(pattern):
        with open(name) as handle:
            for line in handle:
                fields = line.split()
                if len(fields) >= 6 and fields[3] == "0":
                    found.append((int(fields[4]) + int(fields[5]) / 1e6, int(fields[2]) / 1000.0))
    found.sort()
    return found


def percentiles(times):
    times = sorted(times)
    return [times[min(len(times) - 1, int(len(times) * p))] for p in (0.50, 0.95, 0.99)]


def logs(prefix):
    return latencies(prefix + ".[0-9]*[0-9]")


def show(figures):
    return "p50 %.1f, p95 %.1f, p99 %.1f ms" % tuple(figures)


def intervals(verifies, width, prefix):
    start, slots = verifies[0][0], {}
    for at, ms in verifies:
        slots.setdefault(int((at - start) / width), []).append(ms)
    with open(prefix + ".percentiles", "w") as out:
        for slot, times in sorted(slots.items()):
            out.write("%g %s\n" % ((slot + 0.5) * width, " ".join("%.3f" % p for p in percentiles(times))))


def steady(prefix, width, duration):
    verifies = logs(prefix)
    start = verifies[0][0] + min(10, duration / 10)
    part = duration / 6
    intervals(verifies, width, prefix)
    first = [ms for at, ms in verifies if start <= at < start + part]
    last = [ms for at, ms in verifies if at >= verifies[-1][0] - part]
    before, after = percentiles(first), percentiles(last)
    print("%s; in the end %s" % (show(before), show(after)))
    return all(b <= a * MAY_BE_SLOWER for a, b in zip(before, after))


def samples(name):
    """Name -> the figures of each sample, in bytes."""
    series = {}
    with open(name) as handle:
        for line in handle:
            fields = line.split()
            if len(fields) == 4 and fields[1] == "memory":
                series.setdefault("memory", []).append(int(fields[2]) * 1024)
            elif len(fields) == 4:
                series.setdefault(fields[2], []).append(int(fields[3]))
    return series


def growth(name):
    grown, figures = [], []
    for what, series in sorted(samples(name).items()):
        half = len(series) // 2
        before, after = max(series[:half + 1]), max(series[half:])
        if what != "event" and after > before * MAY_GROW + SLACK:
            grown.append(what)
        if what in ("memory", "event", "key", "usage_entry") or what in grown:
            figures.append("%s %.1f -> %.1f MB" % (what, before / 1e6, after / 1e6))
    print(", ".join(figures) + ("; has grown: " + ", ".join(grown) if grown else ""))
    return not grown and bool(figures)


def summary(pattern):
    times = [ms for _, ms in latencies(pattern + ".[0-9]*[0-9]")]
    print("%s, longest %.0f ms" % (show(percentiles(times)), max(times)))
    return True


def main(what, *arguments):
    if what == "steady":
        return steady(arguments[0], float(arguments[1]), float(arguments[2]))
    return {"growth": growth, "summary": summary}[what](*arguments)


sys.exit(0 if main(*sys.argv[1:]) else 1)
