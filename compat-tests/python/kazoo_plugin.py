"""A pytest plugin: kazoo's own tests on our server in place of their cluster.

Their harness builds an ensemble of Java servers; every test takes it from
`kazoo.testing.harness.get_global_cluster`. This puts one stand-alone server
there, which stays for the whole run.
"""

import atexit
import os

from kazoo.testing import harness
from lib.server import Server, stop_all


class OneServer:
    """What the tests use of kazoo's ManagedZooKeeper."""

    def __init__(self):
        # The super user's password is "test", as in kazoo's harness.
        self.server = Server(
            os.environ["COMPAT_KIND"], os.environ["COMPAT_ZKD_BIN"] or None,
            {"tickTime": "2000", "reconfigEnabled": "true"},
            {"zookeeper.DigestAuthenticationProvider.superDigest": "super:D/InIHSb7yEEbrWz8b9l71RjZJU="},
            "kazoo-suite", int(os.environ["COMPAT_PORT"]))
        self.address = self.server.hosts

    @property
    def running(self):
        return self.server.proc is not None and self.server.proc.poll() is None

    def run(self):
        if not self.running:
            self.server.start()

    def stop(self):
        self.server.stop()


class Cluster:
    def __init__(self):
        self.servers = [OneServer()]

    def __iter__(self):
        return iter(self.servers)

    def __getitem__(self, k):
        return self.servers[k]

    def start(self):
        for s in self.servers:
            s.run()

    def terminate(self):
        pass

    def get_logs(self):
        return []


CLUSTER = Cluster()
harness.get_global_cluster = lambda: CLUSTER


@atexit.register
def _end():
    if not os.environ.get("COMPAT_KEEP"):
        for s in CLUSTER:
            s.server.remove()
    stop_all()


def short(nodeid):
    return nodeid.replace("kazoo/tests/", "", 1)


def pytest_collection_finish(session):
    print()
    for item in session.items:
        print("COMPAT-TEST " + short(item.nodeid), flush=True)


def pytest_runtest_logreport(report):
    bad = report.outcome != "passed"
    if report.when == "call" or bad:
        status = {"passed": "pass", "failed": "fail", "skipped": "skip"}[report.outcome]
        why = ""
        if status == "skip":
            why = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        elif bad:
            crash = getattr(report.longrepr, "reprcrash", None)
            why = crash.message if crash else str(report.longrepr)
        print("\nCOMPAT-RESULT %s %.2f %s %s" % (
            status, report.duration, short(report.nodeid), " ".join(why.split())[:300]), flush=True)
