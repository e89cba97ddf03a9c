"""Three Java members become zkd one by one and go back, under Kafka and Curator.

The commands are those of docs/replace-members.md: its blocks are taken out of
the page and run by bash. Only the block `settings` is replaced; how a member is
stopped and started there is an order to this driver.
"""

import os
import re
import shutil
import signal
import subprocess
import threading
import time

from . import cache
from .control import Control
from .kafka import Broker
from .report import Result
from .server import Server, free_port, word

PAGE = os.path.join(os.path.dirname(cache.HERE), "docs", "replace-members.md")
THERE = ["before", "stop", "keep", "start", "after"]
BACK = ["before", "back", "after"]
FEATURES = ["rolling-page", "rolling-digests", "rolling-writer", "rolling-latch", "rolling-sessions",
            "rolling-kafka-messages", "rolling-kafka-topics", "rolling-kafka-sessions"]


def steps():
    """The blocks of the page, by name."""
    with open(PAGE) as fh:
        found = re.findall(r"<!-- step: (\w+) -->\n```bash\n(.*?)```\n", fh.read(), re.S)
    return dict(found)


class Member(Server):
    """One of the ensemble, which may be another program at its next start."""

    def __init__(self, ctx, number, port, lines):
        config = {"tickTime": "1000", "initLimit": "20", "syncLimit": "10", "maxSessionTimeout": "60000",
                  "snapCount": "3000", **lines}
        super().__init__("java", ctx.zkd_bin, config, {"compat.log": "INFO"}, "rolling%d" % number, port)
        self.since = 0
        self.data = os.path.join(self.dir, "data")
        with open(os.path.join(self.data, "myid"), "w") as fh:
            fh.write("%d\n" % number)

    def launch(self):
        self.since = os.path.getsize(os.path.join(self.dir, "log"))
        super().launch()

    def got_snapshot(self):
        """Whether this Java was brought up by a whole state since its start."""
        with open(os.path.join(self.dir, "log"), "rb") as fh:
            fh.seek(self.since)
            return b"Getting a snapshot from leader" in fh.read()

    def mode(self):
        try:
            found = re.search(r"^Mode: (\w+)", word(self.port, "srvr", 2), re.M)
        except OSError:
            return None
        return found and found.group(1)


class Orders(Control):
    """`stop 1`, `start 1 zkd`: the processes are this driver's."""

    def __init__(self, members):
        super().__init__(members[0])
        self.members = members

    def do(self, order):
        what, number, *kind = order.split()
        member = self.members[int(number) - 1]
        if what == "stop":
            member.stop()
            return "ok"
        member.kind = kind[0]
        member.launch()
        return "ok"


class Client:
    """A Java program at work, with its orders and answers line by line."""

    def __init__(self, name, program, folder, env):
        cp = cache.java_program(program)
        log4j = os.path.join(folder, "log4j.properties")
        with open(log4j, "w") as fh:
            fh.write("log4j.rootLogger=WARN,o\nlog4j.appender.o=org.apache.log4j.ConsoleAppender\n"
                     "log4j.appender.o.target=System.err\nlog4j.appender.o.layout=org.apache.log4j.PatternLayout\n"
                     "log4j.appender.o.layout.ConversionPattern=%d{HH:mm:ss.SSS} %-5p %c{1} - %m%n\n")
        with open(os.path.join(folder, name + ".log"), "wb") as err:
            self.proc = subprocess.Popen(
                ["java", "-Xmx384m", *cache.TIERED, "-Dlog4j.configuration=file:" + log4j, "-cp", cp, name],
                env=dict(os.environ, **env), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=err, text=True)

    def line(self, limit):
        """The next line; an empty one at its end, and when time is over."""
        timer = threading.Timer(limit, self.proc.kill)
        timer.start()
        try:
            return self.proc.stdout.readline().strip()
        finally:
            timer.cancel()

    def order(self, text):
        self.proc.stdin.write(text + "\n")
        self.proc.stdin.flush()
        return self.line(90)

    def results(self):
        self.proc.stdin.close()
        out = []
        while True:
            line = self.line(150)
            if not line:
                return out
            kind, _, rest = line.partition(" ")
            if kind in ("ok", "FAIL"):
                feature, _, why = rest.partition(" ")
                out.append(Result("rolling", feature, "pass" if kind == "ok" else "fail", why))

    def end(self):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()


def settings(ctx, member, number, members, orders):
    """What stands in for the page's first block."""
    # The same program in both places proves the expectations on Java alone.
    zkd = "zkd" if ctx.kind == "zkd" else "java"
    check = '"%s" "$@"' % ctx.zkd_bin if ctx.kind == "zkd" else ":"
    return """
ZOO_CFG=%s
DATA=%s
ME=127.0.0.1:%d
ALL="%s"
order() { exec 4<>"/dev/tcp/%s"; echo "$1" >&4; read -r answer <&4; exec 4>&-; test "$answer" = ok; }
stop_java() { order "stop %d"; }
stop_zkd() { order "stop %d"; }
start_java() { order "start %d java"; }
start_zkd() { order "start %d %s"; }
zkd() { %s; }
""" % (member.cfg, member.data, member.port, " ".join(m.hosts for m in members),
       orders.env["CTL"].replace(":", "/"), number, number, number, number, zkd, check)


def page(ctx, number, members, orders, names):
    blocks = steps()
    member = members[number - 1]
    script = settings(ctx, member, number, members, orders) + "".join(blocks[n] for n in ["helpers"] + names)
    run = subprocess.run(["bash", "-euo", "pipefail", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, timeout=400, text=True)
    if run.returncode:
        raise RuntimeError("the page's commands for member %d ended with %d:\n%s\n%s"
                           % (number, run.returncode, run.stdout[-1500:], member.tail()))


def turn(members, kind_now, leader_first):
    """The number of the next member that is of this program."""
    left = [(m.mode() == "leader", n) for n, m in enumerate(members, 1) if n in kind_now]
    return sorted(left, reverse=leader_first)[0][1]


def replace_all(ctx, members, orders, clients, names, leader_first, label):
    latch, kafka = clients
    kind = ctx.kind if label == "there" else "java"
    left = {1, 2, 3}
    while left:
        number = turn(members, left, leader_first)
        role, begin = members[number - 1].mode(), time.time()
        page(ctx, number, members, orders, names)
        left.remove(number)
        took = time.time() - begin
        if members[number - 1].kind != kind:
            raise RuntimeError("member %d is still %s" % (number, members[number - 1].kind))
        for client, order in ((latch, "move"), (kafka, "topic %s-%d" % (label, number))):
            answer = client.order(order)
            if not answer.startswith("done"):
                raise RuntimeError("%s: %s" % (order, answer or "no answer"))
        ctx.tick("%s: member %d, the %s, in %.1f s" % (label, number, role, took))


def digests(members):
    """Members that count mismatches of digests. Java counts some while it learns from a state that another
    Java sends amid writes: it holds some of them already and applies them once more."""
    bad = []
    for n, m in enumerate(members, 1):
        found = re.search(r"^zk_digest_mismatches_count\t(\S+)", word(m.port, "mntr"), re.M)
        if not found or (float(found.group(1)) and not m.got_snapshot()):
            bad.append("member %d: %s" % (n, found and found.group(1)))
    why = ", ".join(bad)
    return Result("rolling", "rolling-digests", "fail" if bad else "pass", why)


def run(ctx):
    cp = cache.java_program("kafka")
    ports = [free_port() for _ in range(9)]
    lines = {"server.%d" % (n + 1): "127.0.0.1:%d:%d;127.0.0.1:%d" % tuple(ports[n::3]) for n in range(3)}
    members = [Member(ctx, n + 1, ports[6 + n], lines) for n in range(3)]
    folder = members[0].dir
    orders, brokers, clients, results = Orders(members), [], [], []
    try:
        for m in members:
            m.launch()
        end = time.time() + 180
        while sorted(m.mode() or "" for m in members) != ["follower", "follower", "leader"]:
            if time.time() > end:
                raise RuntimeError("the ensemble does not form:\n" + members[0].tail())
            time.sleep(0.2)
        hosts = ",".join(m.hosts for m in members)
        brokers = [Broker(i, hosts, folder, cp, session_ms=18000) for i in (1, 2)]
        for b in brokers:
            b.start(wait=False)
        latch = Client("Latch", "curator", folder, {"ZK": hosts})
        clients.append(latch)
        for b in brokers:
            b.wait()
        kafka = Client("Rolling", "kafka", folder,
                       {"ZK": hosts, "KAFKA": ",".join("127.0.0.1:%d" % b.port for b in brokers)})
        clients.append(kafka)
        for c in clients:
            if c.line(240) != "ready":
                raise RuntimeError("a client does not start, see " + folder)
        begin = time.time()
        try:
            replace_all(ctx, members, orders, clients, THERE, False, "there")
            replace_all(ctx, members, orders, clients, BACK, True, "back")
            results.append(Result("rolling", "rolling-page", "pass", seconds=time.time() - begin))
        except Exception as e:
            results.append(Result("rolling", "rolling-page", "fail", str(e)))
        results.append(digests(members))
        for c in clients:
            results += c.results()
    except Exception as e:
        results.append(Result("rolling", "rolling-page", "fail", str(e)))
    finally:
        for c in clients:
            c.end()
        for b in brokers:
            b.stop(signal.SIGKILL)
        for m in members:
            m.stop()
        orders.close()
        seen = {r.feature for r in results}
        results += [Result("rolling", f, "fail", "did not come to an end") for f in FEATURES if f not in seen]
        for r in results:
            if r.why:
                print("\n  %s: %s" % (r.feature, r.why), end="", flush=True)
        print(flush=True)
        if ctx.keep or any(r.status == "fail" for r in results):
            print("  kept: " + " ".join(m.dir for m in members), flush=True)
        else:
            for m in members:
                m.log.close()
                shutil.rmtree(m.dir, ignore_errors=True)
    return results
