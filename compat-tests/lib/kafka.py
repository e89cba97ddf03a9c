"""Kafka brokers in ZooKeeper mode on the server under test.

java/kafka/Brokers.java holds the cases with two of them, java/kafka/Logins.java
those with logins; they give orders for brokers through the control port:
`broker start 1`, `broker stop 1`, `broker kill 1`.
"""

import os
import signal
import socket
import subprocess
import time

from . import cache, sasl
from .control import Control
from .server import free_port


def properties(flags):
    return ["-D%s=%s" % f for f in flags.items()]


class Broker:
    def __init__(self, ident, zookeeper, folder, cp, session_ms=4000, more=None, flags=None):
        self.ident = ident
        self.cp = cp
        self.flags = flags or {}  # properties of Java
        self.dir = os.path.join(folder, "broker%d" % ident)
        os.makedirs(self.dir)
        self.port, self.sasl = free_port(), free_port()
        self.proc = None
        keys = {
            "broker.id": ident,
            "listeners": "PLAINTEXT://127.0.0.1:%d,SASL_PLAINTEXT://127.0.0.1:%d" % (self.port, self.sasl),
            "inter.broker.listener.name": "PLAINTEXT",
            "sasl.enabled.mechanisms": "SCRAM-SHA-256",
            "listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config":
                "org.apache.kafka.common.security.scram.ScramLoginModule required;",
            "authorizer.class.name": "kafka.security.authorizer.AclAuthorizer",
            "super.users": "User:ANONYMOUS",
            "zookeeper.connect": zookeeper + "/kafka",
            "zookeeper.session.timeout.ms": session_ms,
            "zookeeper.connection.timeout.ms": 10000,
            "log.dirs": os.path.join(self.dir, "logs"),
            "num.partitions": 4,
            "default.replication.factor": 2,
            "offsets.topic.num.partitions": 4,
            "offsets.topic.replication.factor": 2,
            "group.initial.rebalance.delay.ms": 0,
            "log.cleaner.dedupe.buffer.size": 4194304,
            "controlled.shutdown.retry.backoff.ms": 500,
            "num.network.threads": 2,
            "num.io.threads": 4,
        }
        keys.update(more or {})
        with open(os.path.join(self.dir, "server.properties"), "w") as fh:
            fh.writelines("%s=%s\n" % kv for kv in keys.items())
        with open(os.path.join(self.dir, "log4j.properties"), "w") as fh:
            fh.write("log4j.rootLogger=INFO,o\nlog4j.appender.o=org.apache.log4j.ConsoleAppender\n"
                     "log4j.appender.o.layout=org.apache.log4j.PatternLayout\n"
                     "log4j.appender.o.layout.ConversionPattern=%d{HH:mm:ss.SSS} %-5p %c{1} - %m%n\n")

    def start(self, wait=True):
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.proc = subprocess.Popen(
                ["java", "-Xmx512m", *cache.TIERED, "-cp", self.cp,
                 "-Dlog4j.configuration=file:" + os.path.join(self.dir, "log4j.properties"), *properties(self.flags),
                 "kafka.Kafka", os.path.join(self.dir, "server.properties")],
                cwd=self.dir, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            self.wait()

    def wait(self):
        end = time.time() + 180
        while time.time() < end:
            if self.proc.poll() is not None:
                raise RuntimeError("broker %d ended, see %s/log" % (self.ident, self.dir))
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("broker %d did not start, see %s/log" % (self.ident, self.dir))

    def stop(self, sig=signal.SIGTERM):
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(sig)
            try:
                self.proc.wait(30)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()


class KafkaControl(Control):
    brokers = {}

    def do(self, order):
        words = order.split()
        if words[0] != "broker":
            return super().do(order)
        b = self.brokers[int(words[2])]
        if words[1] == "start":
            b.start()
        else:
            b.stop(signal.SIGKILL if words[1] == "kill" else signal.SIGTERM)
        return "ok"


# What the log of a broker says that does not come in: the second has a wrong secret, the third none. Without a
# ticket ZooKeeper's client goes on as if it had no login to make.
NOT_LOGGED_IN = "SessionClosedRequireAuthException"
REASONS = {
    "digest": {2: ["login context 'Wrong'", "AuthFailedException"], 3: [NOT_LOGGED_IN]},
    "kerberos": {2: ["SASL configuration failed", NOT_LOGGED_IN], 3: [NOT_LOGGED_IN]},
}


class LoginControl(KafkaControl):
    """Has one order more: `broker refused N` waits for a broker's end, and for the reason in its log."""
    reasons = {}

    def do(self, order):
        if not order.startswith("broker refused "):
            return super().do(order)
        ident = int(order.split()[2])
        b = self.brokers[ident]
        code = b.proc.wait(180)
        with open(os.path.join(b.dir, "log"), errors="replace") as fh:
            said = fh.read()
        missing = [r for r in self.reasons[ident] if r not in said]
        return "ok" if code and not missing else "exit code %s, its log lacks %s" % (code, missing)


def run(ctx):
    from .suites import finish, program
    cp = cache.java_program("kafka")
    server = ctx.server("kafka")
    results, brokers = [], {}
    try:
        brokers = {i: Broker(i, server.hosts, server.dir, cp) for i in (1, 2)}
        for b in brokers.values():
            b.start(wait=False)
        for b in brokers.values():
            b.wait()
        KafkaControl.brokers = brokers
        env = {"KAFKA": ",".join("127.0.0.1:%d" % b.port for b in brokers.values()),
               "KAFKA_SASL": ",".join("127.0.0.1:%d" % b.sasl for b in brokers.values())}
        results = program(ctx, "kafka", ["java", "-Xmx384m", *cache.TIERED, "-cp", cp,
                          "-Dlog4j.configuration=file:" + os.path.join(brokers[1].dir, "log4j.properties"), "Brokers"],
                          600, env, server=server, control=KafkaControl)
    finally:
        for b in brokers.values():
            b.stop(signal.SIGKILL)
        finish(ctx, server, results)
    return results


def logins(ctx):
    """One broker that logs in, one with a wrong secret and one without a login, for each kind of login."""
    kinds = sasl.KINDS[:1] if ctx.quick else sasl.KINDS
    return [r for kind in kinds for r in logins_of(ctx, kind)]


def logins_of(ctx, kind):
    from .suites import finish, program
    cp = cache.java_program("kafka")
    server, known, control = sasl.start(ctx, "kafka", kind)
    zookeeper = "localhost:%d" % server.port
    one = {"zookeeper.set.acl": "true", "num.partitions": 1, "default.replication.factor": 1,
           "offsets.topic.num.partitions": 1, "offsets.topic.replication.factor": 1}
    wrong = dict(known.flags(), **{"zookeeper.sasl.clientconfig": "Wrong"})
    brokers = {
        1: Broker(1, zookeeper, server.dir, cp, more=one, flags=known.flags()),
        2: Broker(2, zookeeper, server.dir, cp, more=one, flags=wrong),
        # Kafka itself refuses ACLs without a login.
        3: Broker(3, zookeeper, server.dir, cp, more=dict(one, **{"zookeeper.set.acl": "false"})),
    }

    class Both(control, LoginControl):
        reasons = REASONS[kind.name]

    KafkaControl.brokers = brokers
    results = []
    try:
        for b in brokers.values():
            b.start(wait=False)
        brokers[1].wait()
        env = {"KAFKA": "127.0.0.1:%d" % brokers[1].port, "KAFKA_SASL": "127.0.0.1:%d" % brokers[1].sasl}
        results = program(ctx, "kafka-sasl", ["java", "-Xmx384m", *cache.TIERED, "-cp", cp, *properties(known.flags()),
                          "-Dlog4j.configuration=file:" + os.path.join(brokers[1].dir, "log4j.properties"), "Logins"],
                          600, env, server=server, control=Both)
    finally:
        known.close()
        for b in brokers.values():
            b.stop(signal.SIGKILL)
        finish(ctx, server, results)
    return results
