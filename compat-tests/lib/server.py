"""One server process under test, Java or zkd, on a loopback port."""

import base64
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

from . import cache

SUPER = "super:compat"
LIVE = []  # every server that runs, for the clean-up at exit


PORTS = range(22000, 32000)  # those of this process


def use_ports(n):
    """Takes the n-th share of the ports, so that suites which run at once do not meet."""
    global PORTS
    share = 900
    first = 22000 + share * n
    PORTS = range(first, first + share)


def free_port():
    """A port below the ephemeral range, so that no client socket takes it
    while the server is down for a restart."""
    for _ in range(200):
        port = random.choice(PORTS)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise RuntimeError("no free port")


def word(port, w, timeout=30):
    """The answer to a four-letter word."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as s:
        s.sendall(w.encode())
        out = b""
        while True:
            d = s.recv(65536)
            if not d:
                return out.decode(errors="replace")
            out += d


class Server:
    def __init__(self, kind, zkd_bin=None, config=None, flags=None, name="server", port=None):
        self.kind = kind
        self.zkd_bin = zkd_bin
        self.port = port or free_port()
        self.dir = tempfile.mkdtemp(prefix="compat-%s-" % name)
        self.proc = None
        self.log = open(os.path.join(self.dir, "log"), "ab")
        digest = base64.b64encode(hashlib.sha1(SUPER.encode()).digest()).decode()
        self.flags = {
            "zookeeper.DigestAuthenticationProvider.superDigest": "super:" + digest,
            "znode.container.checkIntervalMs": "500",
        }
        self.flags.update(flags or {})
        keys = {
            "tickTime": "500",
            "dataDir": os.path.join(self.dir, "data"),
            "clientPort": str(self.port),
            "clientPortAddress": "127.0.0.1",
            "maxClientCnxns": "0",
            "admin.enableServer": "false",
            "4lw.commands.whitelist": "*",
            "extendedTypesEnabled": "true",
            "enforceQuota": "true",
        }
        keys.update(config or {})
        os.makedirs(keys["dataDir"])
        self.cfg = os.path.join(self.dir, "zoo.cfg")
        with open(self.cfg, "w") as fh:
            for k, v in keys.items():
                fh.write("%s=%s\n" % (k, v))

    @property
    def hosts(self):
        return "127.0.0.1:%d" % self.port

    def command(self):
        flags = ["-D%s=%s" % kv for kv in self.flags.items()]
        env = dict(os.environ)
        if self.kind == "java":
            jars = cache.classpath("zookeeper")
            return (["java", "-Xmx512m", *cache.TIERED, *flags, "-cp", cache.logback() + ":" + jars,
                     "org.apache.zookeeper.server.quorum.QuorumPeerMain", self.cfg], env)
        env["SERVER_JVMFLAGS"] = " ".join(flags)
        return [self.zkd_bin, "serve", self.cfg], env

    def launch(self):
        """Starts it without waiting."""
        cmd, env = self.command()
        self.proc = subprocess.Popen(cmd, env=env, cwd=self.dir, stdin=subprocess.DEVNULL,
                                     stdout=self.log, stderr=self.log)
        LIVE.append(self)

    def start(self, limit=120):
        self.launch()
        end = time.time() + limit
        while time.time() < end:
            if self.proc.poll() is not None:
                break
            try:
                if word(self.port, "ruok", 2) == "imok" and "Mode:" in word(self.port, "srvr", 2):
                    return self
            except OSError:
                pass
            time.sleep(0.05)
        self.stop(signal.SIGKILL)
        raise RuntimeError("the server did not start, see %s/log; its last words:\n%s" % (self.dir, self.tail()))

    def tail(self, size=2000):
        with open(os.path.join(self.dir, "log"), "rb") as fh:
            fh.seek(max(0, os.path.getsize(fh.name) - size))
            return fh.read().decode(errors="replace")

    def stop(self, sig=signal.SIGTERM):
        if self.proc and self.proc.poll() is None:
            self.proc.send_signal(sig)
            try:
                self.proc.wait(30)
            except subprocess.TimeoutExpired:
                self.proc.kill()
                self.proc.wait()
        if self in LIVE:
            LIVE.remove(self)

    def restart(self):
        """kill -9 and a start on the same data."""
        self.stop(signal.SIGKILL)
        self.start()

    def died(self):
        return self.proc is not None and self.proc.poll() is not None

    def remove(self):
        self.stop()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def stop_all():
    for s in list(LIVE):
        s.stop(signal.SIGKILL)
