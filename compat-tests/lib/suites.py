"""The suites: each starts its server, runs clients, and gives results."""

import os
import queue
import signal
import subprocess
import threading
import time

from . import cache, sasl, tls, upstream, zkcli
from .control import Control
from .report import Result
from .server import SUPER, Server


class Context:
    """The switches of this run."""

    def __init__(self, kind, zkd_bin, quick, keep, bless, tick):
        self.kind = kind
        self.zkd_bin = zkd_bin
        self.quick = quick
        self.keep = keep
        self.bless = bless
        self.tick = tick  # called with a line of progress

    def server(self, name, config=None, flags=None, kind=None):
        return Server(kind or self.kind, self.zkd_bin, config, flags, name).start()


def lines(cmd, env, limit, cwd=None, stderr=None):
    """The output of a program, line by line; the last item is its exit code,
    or None if it was killed at its time limit."""
    p = subprocess.Popen(cmd, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=stderr or subprocess.DEVNULL, start_new_session=True)
    q = queue.Queue()

    def read():
        for line in p.stdout:
            q.put(line.decode(errors="replace").rstrip("\r\n"))
        q.put(None)

    threading.Thread(target=read, daemon=True).start()
    end = time.time() + limit
    killed = False
    try:
        while True:
            try:
                line = q.get(timeout=max(0.01, end - time.time()))
            except queue.Empty:
                killed = True
                break
            if line is None:
                break
            yield line
        if not killed:
            try:
                p.wait(max(1, end - time.time()))
            except subprocess.TimeoutExpired:
                killed = True
    finally:
        if p.poll() is None:
            os.killpg(p.pid, signal.SIGKILL)
            p.wait()
    yield None if killed else p.returncode


def program(ctx, client, cmd, limit, env=None, cwd=None, server=None, control=Control, own=None):
    """Runs a program that prints `plan`, `ok` and `FAIL` lines. A server that is `own` is removed behind it."""
    own = server is None if own is None else own
    server = server or ctx.server(client)
    control = control(server)
    results, plan, code, last = [], [], None, time.time()
    full = dict(os.environ, ZK_SUPER=SUPER, QUICK="1" if ctx.quick else "", **control.env)
    full.update(env or {})
    try:
        with open(os.path.join(server.dir, "client-log"), "wb") as err:
            for line in lines(cmd, full, limit, cwd, err):
                if not isinstance(line, str):
                    code = line
                    continue
                kind, _, rest = line.partition(" ")
                if kind == "plan":
                    plan = rest.split()
                elif kind in ("ok", "FAIL") and rest:
                    feature, _, why = rest.partition(" ")
                    now = time.time()
                    results.append(Result(client, feature, "pass" if kind == "ok" else "fail", why, now - last))
                    last = now
                    ctx.tick("%s %s" % (feature, kind))
        seen = {r.feature for r in results}
        for f in plan:
            if f not in seen:
                why = "the time limit of %d s came first" % limit if code is None else "did not run, exit code %s" % code
                results.append(Result(client, f, "fail", why))
        if not plan:
            results.append(Result(client, "run", "fail", "no plan, exit code %s; see %s" % (code, server.dir)))
        if server.died():
            results.append(Result(client, "server-alive", "fail",
                                  "the server ended by itself, see %s" % server.dir))
    finally:
        control.close()
        finish(ctx, server, results, own)
    return results


def finish(ctx, server, results, remove=True):
    """Keeps the folder of a server under which something failed."""
    server.stop()
    if not remove:
        return
    bad = [r for r in results if r.status == "fail"]
    if bad or ctx.keep or not results:
        print("  kept: " + server.dir, flush=True)
    else:
        server.remove()


def java(ctx):
    cp = cache.java_program("zookeeper")
    return program(ctx, "java", ["java", "-Xmx512m", *cache.TIERED, "-cp", cp, "Compat"], 600)


def curator(ctx):
    cp = cache.java_program("curator")
    return program(ctx, "curator", ["java", "-Xmx512m", *cache.TIERED, "-cp", cp, "Recipes"], 600)


def c(ctx):
    return program(ctx, "c", [cache.c_program()], 300)


def with_tls(ctx, client, cmd, limit):
    """The program's cases with TLS, on a server of their own."""
    server, control = tls.start(ctx, client)
    return program(ctx, client, cmd, limit, server=server, control=control, own=True)


def with_logins(ctx, client, cmd, limit, env=None):
    """The program's cases with logins, on a server for each kind."""
    results = []
    for kind in sasl.KINDS:
        server, _, control = sasl.start(ctx, client, kind)
        results += program(ctx, client, cmd, limit, env, server=server, control=control, own=True)
    return results


def go(ctx):
    cmd = [cache.go_program()]
    return program(ctx, "go", cmd, 300) + with_tls(ctx, "go", cmd, 300)


def kazoo(ctx):
    python, _ = cache.kazoo()
    cmd = [python, os.path.join(cache.HERE, "python", "compat.py")]
    logins = {"PYTHONPATH": cache.kazoo_logins()}
    return (program(ctx, "kazoo", cmd, 400) + with_tls(ctx, "kazoo", cmd, 300)
            + with_logins(ctx, "kazoo", cmd, 300, logins))


def kafka(ctx):
    from . import kafka as k
    return k.run(ctx)


def kafka_sasl(ctx):
    from . import kafka as k
    return k.logins(ctx)


def rolling(ctx):
    from . import rolling as r
    return r.run(ctx)


# In the order in which they appear in the table.
SUITES = {
    "java": java,
    "zkcli": zkcli.run,
    "c": c,
    "go": go,
    "kazoo": kazoo,
    "curator": curator,
    "kafka": kafka,
    "kafka-sasl": kafka_sasl,
    "rolling": rolling,
    "gozk-suite": upstream.gozk,
    "kazoo-suite": upstream.kazoo,
}

# The order in which they start. Two brokers of Kafka are in two of them, which do not run side by side.
LONGEST_FIRST = ["kazoo-suite", "rolling", "gozk-suite", "java", "curator", "kafka", "kazoo", "kafka-sasl", "c",
                 "zkcli", "go"]
