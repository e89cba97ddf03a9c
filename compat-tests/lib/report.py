"""Results, and the table feature x client as text, markdown and JSON."""

import json
import os
import sys

from . import cache

# The clients that share features; the others have their own list of rows.
CLIENTS = ["java", "zkcli", "c", "go", "kazoo"]
TITLES = {
    "java": "Java client 3.9.4",
    "zkcli": "zkCli 3.9.4",
    "c": "C client (Debian's libzookeeper-mt)",
    "go": "go-zookeeper/zk " + cache.GOZK[1:],
    "kazoo": "kazoo " + cache.KAZOO,
    "curator": "Curator 5.9.0 recipes",
    "kafka": "Kafka 3.9.1 brokers in ZooKeeper mode",
    "kafka-sasl": "Kafka 3.9.1 broker that logs in to ZooKeeper, with ACLs of its name",
    "rolling": "Rolling replacement of a Java ensemble, and back",
    "kazoo-suite": "kazoo's own tests",
    "gozk-suite": "go-zookeeper/zk's own tests",
}
SUITES_OF_OTHERS = ["kazoo-suite", "gozk-suite"]
GREEN, RED, YELLOW, OFF = "\x1b[32m", "\x1b[31m", "\x1b[33m", "\x1b[0m"


class Result:
    """One feature of one client. `status` is pass, fail, or known: it does
    not pass, and a file in expected/ says why."""

    def __init__(self, client, feature, status, why="", seconds=0.0):
        self.client = client
        self.feature = feature
        self.status = status
        self.why = why
        self.seconds = seconds


def features():
    """[(group, [(id, text)])] of features.txt."""
    groups = []
    with open(os.path.join(cache.HERE, "features.txt")) as fh:
        for line in fh:
            line = line.rstrip()
            if line.startswith("# "):
                groups.append((line[2:], []))
            elif line:
                ident, _, text = line.partition(" ")
                groups[-1][1].append((ident, text.strip()))
    return groups


def cells(results):
    """(client, feature) -> status; the worst one wins."""
    rank = {"pass": 0, "known": 1, "fail": 2}
    out = {}
    for r in results:
        k = (r.client, r.feature)
        if k not in out or rank[r.status] > rank[out[k]]:
            out[k] = r.status
    return out


def table(results):
    """[(group, [(text, [status or None per client])])], and its clients."""
    got = cells(results)
    ran = [c for c in CLIENTS if any(k[0] == c for k in got)]
    rest = {k for k in got if k[0] in CLIENTS}
    out = []
    for group, rows in features():
        body = []
        for ident, text in rows:
            row = [got.get((c, ident)) for c in ran]
            rest -= {(c, ident) for c in ran}
            if any(row):
                body.append((text, row))
        if body:
            out.append((group, body))
    other = sorted({f for _, f in rest})
    if other:
        out.append(("Other", [(f, [got.get((c, f)) for c in ran]) for f in other]))
    return ran, out


def counts(results, client):
    mine = [r for r in results if r.client == client]
    return [sum(r.status == s for r in mine) for s in ("pass", "known", "fail")]


def text(results, colour):
    def cell(s, width):
        t = {"pass": "pass", "fail": "FAIL", "known": "known", None: "n.a."}[s].ljust(width)
        c = {"pass": GREEN, "fail": RED, "known": YELLOW}.get(s)
        return c + t + OFF if colour and c else t

    out = []
    ran, groups = table(results)
    if ran:
        width = max(len(t) for _, rows in groups for t, _ in rows) + 2
        out.append("feature".ljust(width) + "".join(c.ljust(7) for c in ran))
        for group, rows in groups:
            out.append("-- " + group)
            for t, row in rows:
                out.append((t.ljust(width) + "".join(cell(s, 7) for s in row)).rstrip())
    for c in TITLES:
        if c in CLIENTS or not any(r.client == c for r in results):
            continue
        p, k, f = counts(results, c)
        out.append("")
        out.append("%s: %d pass%s%s" % (TITLES[c], p, ", %d known not to" % k if k else "", ", %d FAIL" % f if f else ""))
        for r in results:
            if r.client == c and (c not in SUITES_OF_OTHERS or r.status == "fail"):
                out.append("  " + cell(r.status, 6) + describe(r))
    bad = [r for r in results if r.status == "fail"]
    if bad:
        out.append("")
        out.append("unexpected:")
        out += ["  %s %s: %s" % (r.client, r.feature, r.why) for r in bad]
    return "\n".join(out)


def markdown(results, server):
    mark = {"pass": "pass", "fail": "**FAIL**", "known": "known", None: "n.a."}
    ran, groups = table(results)
    out = ["# Compatibility", "",
           "Made by `compat-tests/run --server %s --out …`; do not edit." % server,
           "Each cell is a test with the real, unmodified client, which was first made to pass against Java",
           "ZooKeeper 3.9.4. *n.a.*: the client has no such call, or the suite does not try it through this",
           "client. *known*: it is expected not to pass, for the reason beside it.", ""]
    if ran:
        out.append("| | " + " | ".join(TITLES[c] for c in ran) + " |")
        out.append("|---|" + "---|" * len(ran))
        for group, rows in groups:
            out.append("| **%s** |%s" % (group, " |" * len(ran)))
            for t, row in rows:
                out.append("| %s | %s |" % (t, " | ".join(mark[s] for s in row)))
        out.append("")
    for c in TITLES:
        if c in CLIENTS or not any(r.client == c for r in results):
            continue
        out += ["## " + TITLES[c], ""]
        if c in SUITES_OF_OTHERS:
            p, k, f = counts(results, c)
            out.append("%d tests pass, %d are known not to, %d fail." % (p, k, f))
            out.append("")
            rows = [r for r in results if r.client == c and r.status != "pass"]
            if rows:
                out += ["| test | result | why |", "|---|---|---|"]
                out += ["| `%s` | %s | %s |" % (r.feature, mark[r.status], r.why.replace("|", "\\|")) for r in rows]
                out.append("")
            continue
        out += ["| | result |", "|---|---|"]
        out += ["| %s | %s |" % (describe(r), mark[r.status]) for r in results if r.client == c]
        out.append("")
    return "\n".join(out).rstrip() + "\n"


def describe(r):
    for _, rows in features():
        for ident, t in rows:
            if ident == r.feature:
                return t
    return r.feature


def write(path, results, server):
    """Markdown to `path`, and JSON beside it."""
    stem = path[:-3] if path.endswith(".md") else path[:-5] if path.endswith(".json") else path
    with open(stem + ".md", "w") as fh:
        fh.write(markdown(results, server))
    with open(stem + ".json", "w") as fh:
        json.dump({"server": server, "results": [
            {"client": r.client, "feature": r.feature, "status": r.status, "why": r.why,
             "seconds": round(r.seconds, 2)} for r in results]}, fh, indent=1)
        fh.write("\n")
    return stem + ".md", stem + ".json"


def tty():
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ
