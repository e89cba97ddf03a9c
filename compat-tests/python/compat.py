"""kazoo against the server in $ZK: each case prints `ok <feature>` or `FAIL`."""

import logging
import os
import socket
import ssl
import sys
import threading
import time
import traceback

from kazoo.client import KazooClient, KazooState, TransactionRequest  # noqa: F401
from kazoo.exceptions import (
    AuthFailedError, BadVersionError, ConnectionLoss, InvalidACLError, NoAuthError,
    NoChildrenForEphemeralsError, NodeExistsError, NoNodeError, NotEmptyError,
    RolledBackError, RuntimeInconsistency, SessionClosedRequireSaslError, SessionExpiredError)
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import KeeperState
from kazoo.recipe.barrier import Barrier, DoubleBarrier
from kazoo.recipe.cache import TreeCache
from kazoo.retry import KazooRetry
from kazoo.security import ACL, Id, CREATOR_ALL_ACL, OPEN_ACL_UNSAFE, make_acl, make_digest_acl

ZK, ZKP, CTL = os.environ["ZK"], os.environ["ZKP"], os.environ["CTL"]
# A port with TLS, and a folder with certificates.
ZKS, TLS = os.environ.get("ZKS"), os.environ.get("TLS")
# `digest` or `kerberos`, and a folder with keys: the server answers nobody who has not logged in so.
LOGIN, KEYTABS = os.environ.get("LOGIN"), os.environ.get("KEYTABS")
# Cases run on the server that they are for, by the first word of their names.
GROUPS = ("tls", "digest", "kerberos")
GROUP = "tls" if ZKS else LOGIN
CASES = []


def case(name):
    def add(f):
        first = name.split("-")[0]
        if GROUP == (first if first in GROUPS else None):
            CASES.append((name, f))
        return f
    return add


def ctl(order):
    host, port = CTL.split(":")
    with socket.create_connection((host, int(port))) as s:
        s.sendall(order.encode() + b"\n")
        answer = s.makefile().readline().strip()
        assert answer == "ok", answer


class Client(KazooClient):
    """A started client that keeps its events and stops with `with`."""

    def __init__(self, at=ZK, timeout=8.0, **kw):
        retry = KazooRetry(max_tries=-1, max_delay=0.3)
        if LOGIN and "sasl_options" not in kw:
            kw["sasl_options"] = login()
        super().__init__(hosts=at, timeout=timeout, connection_retry=retry, **kw)
        self.events = []
        self.cond = threading.Condition()
        self.start(60)

    def __exit__(self, *_):
        self.stop()
        self.close()

    def __enter__(self):
        return self

    def see(self, event):
        with self.cond:
            self.events.append("%s %s" % (event.type, event.path))
            self.cond.notify_all()

    def expect(self, *want):
        with self.cond:
            ok = self.cond.wait_for(lambda: len(self.events) >= len(want), 60)
            got, self.events = self.events[:len(want)], self.events[len(want):]
        assert ok and got == list(want), "expected %s, got %s" % (list(want), got)

    def quiet(self):
        time.sleep(0.15)
        assert not self.events, self.events


def eq(want, got):
    assert want == got, "expected %r, got %r" % (want, got)


def fails(error, f, *a, **kw):
    try:
        f(*a, **kw)
    except error:
        return
    raise AssertionError("expected %s, got success" % error.__name__)


def until(what, f, limit=60):
    end = time.time() + limit
    while not f():
        assert time.time() < end, "never: " + what
        time.sleep(0.05)


@case("connect")
def _(r):
    with Client() as z:
        assert z.client_id[0] != 0 and len(z.client_id[1]) == 16
        assert z.connected


@case("read-only-flag")
def _(r):
    with Client(read_only=True) as z:
        eq(KeeperState.CONNECTED, z.client_state)
        z.create(r + "/a")


@case("session-reopen")
def _(r):
    a = Client(ZKP)
    ident = a.client_id
    a.create(r + "/e", ephemeral=True)
    ctl("pause")  # or the two would take the session from each other
    with Client(client_id=ident) as b:
        eq(ident, b.client_id)
        eq(ident[0], b.get(r + "/e")[1].ephemeralOwner)
    with Client() as c:
        eq(None, c.exists(r + "/e"))
    ctl("resume")
    a.stop()
    a.close()


@case("session-wrong-password")
def _(r):
    with Client() as a:
        a.create(r + "/e", ephemeral=True)
        ident, pw = a.client_id
        # kazoo answers an expired session with a new one
        with Client(client_id=(ident, b"x" * 16)) as b:
            assert b.client_id[0] != ident
        assert a.exists(r + "/e")


@case("session-close")
def _(r):
    with Client() as b:
        a = Client()
        for i in range(20):
            a.create(r + "/e%d" % i, ephemeral=True)
        b.exists(r + "/e7", watch=b.see)
        a.stop()
        a.close()
        b.expect("DELETED " + r + "/e7")
        eq([], b.get_children(r))


@case("session-expiry")
def _(r):
    with Client() as b:
        states = []
        a = Client(ZKP, timeout=3.0)
        a.add_listener(states.append)
        old = a.client_id[0]
        a.create(r + "/e", ephemeral=True)
        b.exists(r + "/e", watch=b.see)
        ctl("pause")
        b.expect("DELETED " + r + "/e")
        ctl("resume")
        until("a new session", lambda: KazooState.LOST in states and a.connected and a.client_id[0] != old)
        a.stop()
        a.close()


@case("session-kept-by-pings")
def _(r):
    with Client(timeout=3.0) as a:
        a.create(r + "/e", ephemeral=True)
        time.sleep(5)
        assert a.exists(r + "/e")


@case("reconnect")
def _(r):
    with Client(ZKP) as a:
        ident = a.client_id[0]
        a.create(r + "/e", ephemeral=True)
        ctl("drop")
        assert a.retry(a.exists, r + "/e")
        eq(ident, a.client_id[0])


@case("server-restart")
def _(r):
    with Client(ZKP, timeout=10.0) as a:
        ident = a.client_id[0]
        a.create(r + "/e", ephemeral=True)
        for i in range(100):
            a.create(r + "/n%d" % i, b"v%d" % i)
        ctl("restart")
        retry = KazooRetry(max_tries=-1, max_delay=0.5, deadline=60)
        assert retry(a.exists, r + "/e")
        eq(ident, a.client_id[0])
        eq(101, len(a.get_children(r)))
        eq(b"v99", a.get(r + "/n99")[0])


@case("create")
def _(r):
    with Client() as z:
        eq(r + "/a", z.create(r + "/a", b"x"))
        eq(b"x", z.get(r + "/a")[0])
        fails(NodeExistsError, z.create, r + "/a")
        fails(NoNodeError, z.create, r + "/no/a")
        z.create(r + "/p/q/r", makepath=True)
        assert z.exists(r + "/p/q/r")
        z.ensure_path(r + "/p/q/r/s")


@case("create-stat")
def _(r):
    with Client() as z:
        path, stat = z.create(r + "/a", b"xyz", include_data=True)
        eq(r + "/a", path)
        eq(stat, z.exists(r + "/a"))
        eq(3, stat.dataLength)
        eq(stat.czxid, stat.pzxid)


@case("create-ephemeral")
def _(r):
    with Client() as z:
        z.create(r + "/e", ephemeral=True)
        eq(z.client_id[0], z.exists(r + "/e").ephemeralOwner)
        fails(NoChildrenForEphemeralsError, z.create, r + "/e/x")


@case("create-sequential")
def _(r):
    with Client() as z:
        eq(r + "/s-0000000000", z.create(r + "/s-", sequence=True))
        z.create(r + "/plain")
        z.delete(r + "/plain")
        eq(r + "/e-0000000002", z.create(r + "/e-", sequence=True, ephemeral=True))


@case("delete")
def _(r):
    with Client() as z:
        z.create(r + "/a/b", makepath=True)
        fails(NotEmptyError, z.delete, r + "/a")
        fails(BadVersionError, z.delete, r + "/a/b", version=1)
        z.delete(r + "/a/b", version=0)
        fails(NoNodeError, z.delete, r + "/a/b")
        z.create(r + "/a/x/y/z", makepath=True)
        z.delete(r + "/a", recursive=True)
        eq(None, z.exists(r + "/a"))


@case("exists")
def _(r):
    with Client() as z:
        eq(None, z.exists(r + "/a"))
        z.create(r + "/a", b"12")
        eq(2, z.exists(r + "/a").dataLength)


@case("get-children")
def _(r):
    with Client() as z:
        for n in "abcd":
            z.create(r + "/" + n)
        eq(list("abcd"), sorted(z.get_children(r)))
        kids, stat = z.get_children(r, include_data=True)
        eq(4, len(kids))
        eq((4, 4), (stat.numChildren, stat.cversion))
        z.delete(r + "/a")
        eq(5, z.exists(r).cversion)
        fails(NoNodeError, z.get_children, r + "/no")


@case("path-rules")
def _(r):
    with Client() as z:
        odd = r + "/\u00e4\u6f22 space-%~"
        z.create(odd, b"odd")
        eq(b"odd", z.get(odd)[0])
        assert odd[len(r) + 1:] in z.get_children(r)


@case("chroot")
def _(r):
    with Client(ZK + r) as z:
        z.create("/a", b"1")
        eq("/a/s0000000000", z.create("/a/s", sequence=True))
        z.get("/a", watch=z.see)
        z.set("/a", b"")
        z.expect("CHANGED /a")


@case("get-set-data")
def _(r):
    with Client() as z:
        z.create(r + "/a", b"0")
        stat = z.set(r + "/a", b"one", version=0)
        eq(1, stat.version)
        eq((b"one", stat), z.get(r + "/a"))
        fails(BadVersionError, z.set, r + "/a", b"", version=0)
        fails(NoNodeError, z.set, r + "/no", b"")
        fails(NoNodeError, z.get, r + "/no")


@case("null-and-empty-data")
def _(r):
    with Client() as z:
        z.create(r + "/e", b"")
        eq(b"", z.get(r + "/e")[0])
        z.set(r + "/e", None)
        eq(0, z.get(r + "/e")[1].dataLength)


@case("large-data")
def _(r):
    with Client() as z:
        big = os.urandom(0xFFFFF - 200)
        z.create(r + "/big", big)
        assert z.get(r + "/big")[0] == big


@case("over-maxbuffer")
def _(r):
    with Client() as z:
        fails(ConnectionLoss, z.create, r + "/big", b"x" * 0xFFFFF)
        eq(None, z.retry(z.exists, r + "/big"))


@case("acl-get-set")
def _(r):
    with Client() as z:
        z.create(r + "/a")
        eq((OPEN_ACL_UNSAFE, 0), (z.get_acls(r + "/a")[0], z.get_acls(r + "/a")[1].aversion))
        mine = [make_acl("world", "anyone", all=True), make_acl("ip", "10.0.0.0/8", read=True)]
        eq(1, z.set_acls(r + "/a", mine, version=0).aversion)
        eq(mine, z.get_acls(r + "/a")[0])
        fails(BadVersionError, z.set_acls, r + "/a", mine, version=0)


@case("acl-invalid")
def _(r):
    with Client() as z:
        fails(InvalidACLError, z.create, r + "/a", acl=[make_acl("nosuch", "x", all=True)])
        fails(InvalidACLError, z.create, r + "/a", acl=CREATOR_ALL_ACL)


@case("auth-digest")
def _(r):
    with Client(auth_data=[("digest", "ann:secret")]) as a, Client() as b:
        a.create(r + "/a", b"x", acl=CREATOR_ALL_ACL)
        eq([make_digest_acl("ann", "secret", all=True)], a.get_acls(r + "/a")[0])
        fails(NoAuthError, b.get, r + "/a")
        fails(NoAuthError, b.set, r + "/a", b"")
        fails(NoAuthError, b.create, r + "/a/b")
        b.add_auth("digest", "ann:secret")
        eq(b"x", b.get(r + "/a")[0])


@case("auth-again-after-reconnect")
def _(r):
    with Client(ZKP) as a:
        a.add_auth("digest", "ann:secret")
        a.create(r + "/a", b"x", acl=CREATOR_ALL_ACL)
        ctl("drop")
        eq(b"x", a.retry(a.get, r + "/a")[0])


@case("auth-failed")
def _(r):
    a = Client()
    fails(AuthFailedError, a.add_auth, "nosuch", "x")
    a.stop()
    a.close()


@case("super-user")
def _(r):
    with Client() as a:
        a.create(r + "/no", b"x", acl=[make_acl("ip", "10.1.2.3", all=True)])
        fails(NoAuthError, a.get, r + "/no")
        a.add_auth("digest", os.environ["ZK_SUPER"])
        eq(b"x", a.get(r + "/no")[0])


@case("multi")
def _(r):
    with Client() as z:
        t = z.transaction()
        t.create(r + "/a", b"1")
        t.check(r + "/a", 0)
        t.set_data(r + "/a", b"2")
        t.create(r + "/a/s", ephemeral=True, sequence=True)
        t.create(r + "/b")
        t.delete(r + "/b")
        got = t.commit()
        eq([r + "/a", True, r + "/a/s0000000000", r + "/b", True], [got[0], got[1]] + got[3:])
        eq(1, got[2].version)
        eq(b"2", z.get(r + "/a")[0])


@case("multi-failed")
def _(r):
    with Client() as z:
        t = z.transaction()
        t.create(r + "/a")
        t.check(r, 77)
        t.delete(r + "/never")
        eq([RolledBackError, BadVersionError, RuntimeInconsistency], [type(e) for e in t.commit()])
        eq(None, z.exists(r + "/a"))


@case("watch-data")
def _(r):
    with Client() as a, Client() as b:
        a.create(r + "/x", b"0")
        a.get(r + "/x", watch=a.see)
        b.set(r + "/x", b"1")
        a.expect("CHANGED " + r + "/x")
        b.set(r + "/x", b"2")
        a.quiet()
        a.get(r + "/x", watch=a.see)
        b.delete(r + "/x")
        a.expect("DELETED " + r + "/x")


@case("watch-exists")
def _(r):
    with Client() as a, Client() as b:
        a.exists(r + "/x", watch=a.see)
        b.create(r + "/x")
        a.expect("CREATED " + r + "/x")


@case("watch-children")
def _(r):
    with Client() as a, Client() as b:
        a.get_children(r, watch=a.see)
        b.create(r + "/x")
        a.expect("CHILD " + r)
        b.create(r + "/y")
        a.quiet()


@case("watches-after-reconnect")
def _(r):
    # kazoo does not send setWatches: its helpers watch again by themselves.
    with Client(ZKP) as a, Client() as b:
        b.create(r + "/x", b"0")
        seen, kids = [], []
        a.DataWatch(r + "/x", lambda d, s: seen.append(d))
        a.ChildrenWatch(r, lambda k: kids.append(sorted(k)))
        ctl("pause")
        until("suspended", lambda: a.state != KazooState.CONNECTED)
        b.set(r + "/x", b"1")
        b.create(r + "/y")
        ctl("resume")
        until("the change", lambda: seen[-1:] == [b"1"] and kids[-1:] == [["x", "y"]])
        b.set(r + "/x", b"2")
        until("the second change", lambda: seen[-1:] == [b"2"])


@case("watches-after-server-restart")
def _(r):
    with Client(ZKP, timeout=10.0) as a:
        a.create(r + "/x", b"0")
        seen = []
        a.DataWatch(r + "/x", lambda d, s: seen.append(d))
        ctl("restart")
        with Client() as b:
            b.set(r + "/x", b"1")
        until("the change", lambda: seen[-1:] == [b"1"])


@case("sync")
def _(r):
    with Client() as a:
        eq(r, a.sync(r))


@case("reconfig")
def _(r):
    from kazoo.exceptions import ZookeeperError
    with Client() as a:
        fails(ZookeeperError, a.reconfig, "server.5=127.0.0.1:1:2;3", None, None)


@case("pipeline-order")
def _(r):
    with Client() as a:
        todo = []
        for i in range(1000):
            p = r + "/%d" % i
            todo.append((a.create_async(p), a.exists_async(p), a.delete_async(p)))
        for i, (c, e, d) in enumerate(todo):
            eq(r + "/%d" % i, c.get(60))
            assert e.get(60) is not None
            assert d.get(60)


@case("concurrent-counter")
def _(r):
    def work():
        with Client() as z:
            c = z.Counter(r + "/n")
            for _ in range(20):
                c += 1
    ts = [threading.Thread(target=work) for _ in range(4)]
    [t.start() for t in ts]
    [t.join(120) for t in ts]
    with Client() as z:
        eq(80, z.Counter(r + "/n").value)


@case("recipe-lock")
def _(r):
    inside, most, times = [0], [0], [0]

    def work():
        with Client() as z:
            for _ in range(8):
                with z.Lock(r + "/lock"):
                    inside[0] += 1
                    most[0] = max(most[0], inside[0])
                    time.sleep(0.005)
                    inside[0] -= 1
                    times[0] += 1
    ts = [threading.Thread(target=work) for _ in range(4)]
    [t.start() for t in ts]
    [t.join(120) for t in ts]
    eq((1, 32), (most[0], times[0]))
    with Client() as a, Client() as b:
        w, rd = a.WriteLock(r + "/rw"), b.ReadLock(r + "/rw")
        with w:
            assert not rd.acquire(blocking=False)
        assert rd.acquire(timeout=60)
        rd.release()
        s = a.Semaphore(r + "/sem", max_leases=1)
        t = b.Semaphore(r + "/sem", max_leases=1)
        with s:
            assert not t.acquire(blocking=False)
        assert t.acquire(timeout=60)


@case("recipe-election")
def _(r):
    order = []

    def work(name):
        with Client() as z:
            z.Election(r + "/el", name).run(lambda: (order.append(name), time.sleep(0.05)))
    ts = [threading.Thread(target=work, args=("c%d" % i,)) for i in range(4)]
    [t.start() for t in ts]
    [t.join(120) for t in ts]
    eq(["c0", "c1", "c2", "c3"], sorted(order))


@case("recipe-queue")
def _(r):
    with Client() as a, Client() as b:
        q, p = a.Queue(r + "/q"), b.Queue(r + "/q")
        for i in range(20):
            q.put(b"%d" % i)
        eq([b"%d" % i for i in range(20)], [p.get() for _ in range(20)])
        lq = a.LockingQueue(r + "/lq")
        lq.put(b"one")
        eq(b"one", lq.get(60))
        lq.consume()


@case("recipe-barrier")
def _(r):
    with Client() as a, Client() as b:
        x, y = Barrier(a, r + "/b"), Barrier(b, r + "/b")
        x.create()
        eq(False, y.wait(0.2))
        x.remove()
        eq(True, y.wait(60))
        d = [DoubleBarrier(z, r + "/db", 2) for z in (a, b)]
        done = []
        ts = [threading.Thread(target=lambda e=e: (e.enter(), e.leave(), done.append(1))) for e in d]
        [t.start() for t in ts]
        [t.join(120) for t in ts]
        eq([1, 1], done)


@case("recipe-counter")
def _(r):
    with Client() as a:
        c = a.Counter(r + "/n", default=5)
        c += 3
        c -= 1
        eq(7, c.value)


@case("recipe-party")
def _(r):
    with Client() as a, Client() as b:
        p, q = a.Party(r + "/p", "one"), b.ShallowParty(r + "/sp", "two")
        p.join()
        q.join()
        eq(["one"], list(b.Party(r + "/p")))
        eq(1, len(a.ShallowParty(r + "/sp")))
        p.leave()
        eq(0, len(b.Party(r + "/p")))


@case("recipe-watchers")
def _(r):
    with Client() as a, Client() as b:
        seen = []
        cache = TreeCache(a, r)
        cache.listen(lambda e: seen.append(e.event_type))
        cache.start()
        b.create(r + "/k", b"1")
        b.create(r + "/k/l", b"2")
        until("cached", lambda: cache.get_data(r + "/k/l") is not None)
        b.set(r + "/k/l", b"3")
        until("updated", lambda: cache.get_data(r + "/k/l").data == b"3")
        b.delete(r + "/k/l")
        until("removed", lambda: cache.get_data(r + "/k/l") is None)
        cache.close()


@case("four-letter-words")
def _(r):
    with Client() as a:
        eq("imok", a.command(b"ruok"))
        assert "standalone" in a.command(b"srvr")
        assert a.server_version() >= (3, 9), a.server_version()


def secure(shows="client", timeout=60.0):
    """A client with TLS that shows a certificate; None: it has no session in this time."""
    keys = {"certfile": "%s/%s.crt" % (TLS, shows), "keyfile": "%s/%s.key" % (TLS, shows)} if shows else {}
    z = KazooClient(hosts=ZKS, timeout=8.0, connection_retry=KazooRetry(max_tries=-1, max_delay=0.3), use_ssl=True,
                    ca=TLS + "/ca.pem", check_hostname=True, **keys)
    try:
        z.start(timeout)
        return z
    except KazooTimeoutError:
        z.stop()
        z.close()


def refused(shows="client"):
    assert secure(shows, 1.5) is None, "it is let in"


def ends(z):
    z.stop()
    z.close()


def show(name):
    """The server gets another certificate, and new connections see it."""
    ctl("certificate " + name)
    with open("%s/%s.crt" % (TLS, name)) as f:
        want = ssl.PEM_cert_to_DER_cert(f.read())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, port = ZKS.split(":")

    def shown():
        with socket.create_connection((host, int(port))) as s, context.wrap_socket(s) as t:
            return t.getpeercert(True) == want
    until("a new certificate", shown)


@case("tls")
def _(r):
    z = secure()
    z.create(r + "/a", b"x" * 300000)
    eq(b"x" * 300000, z.get(r + "/a")[0])
    ends(z)


@case("tls-identity")
def _(r):
    z = secure()
    z.create(r + "/a", b"1", acl=[make_acl("auth", "", all=True)])
    (acl,), _ = z.get_acls(r + "/a")
    eq(Id("x509", "CN=client"), acl.id)
    eq(b"1", z.get(r + "/a")[0])
    ends(z)
    with Client() as other:
        fails(NoAuthError, other.get, r + "/a")


@case("tls-no-certificate")
def _(r):
    refused(None)


@case("tls-expired-certificate")
def _(r):
    refused("expired")


@case("tls-revoked-certificate")
def _(r):
    refused("revoked")


@case("tls-server-expired")
def _(r):
    show("outdated")
    refused()
    show("good")
    ends(secure())


@case("tls-server-wrong-host")
def _(r):
    show("foreign")
    refused()
    show("good")
    ends(secure())


@case("tls-renewed-under-load")
def _(r):
    z = secure()
    z.create(r + "/n", b"0")
    before, lost, done, stop = z.client_id[0], [], [0], threading.Event()
    z.add_listener(lambda state: lost.append(state))

    def write():
        while not stop.is_set():
            z.set(r + "/n", b"%d" % done[0])
            done[0] += 1
    t = threading.Thread(target=write, daemon=True)
    t.start()
    show("renewed")
    at = done[0]
    until("the writer goes on", lambda: done[0] > at + 20)
    new = secure()
    assert int(new.get(r + "/n")[0]) > at
    stop.set()
    t.join(10)
    assert not t.is_alive() and not lost and z.client_id[0] == before, (lost, t.is_alive())
    eq(done[0], z.exists(r + "/n").version)
    ends(new)
    ends(z)
    show("good")


def login(who="bob", secret=None, service="zookeeper"):
    """How to log in, in kazoo's words; of Kerberos the library takes the key from the environment."""
    if LOGIN == "digest":
        return {"mechanism": "DIGEST-MD5", "username": who, "password": secret or "of " + who}
    os.environ["KRB5_CLIENT_KTNAME"] = "%s/%s.keytab" % (KEYTABS, who)
    os.environ["KRB5CCNAME"] = "FILE:%s/tickets-of-%s" % (KEYTABS, who)
    return {"mechanism": "GSSAPI", "service": service}


class Warnings(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.said = []

    def emit(self, record):
        self.said.append(record.getMessage() + (" %r" % record.exc_info[1] if record.exc_info else ""))


def no_login(reason="SessionClosedRequireSaslError", **options):
    """Such a login fails for this reason, by default an answer of the server, and ends the client."""
    log = logging.Logger("no login")
    warnings = Warnings()
    log.addHandler(warnings)
    z = KazooClient(hosts=ZK, timeout=8.0, connection_retry=KazooRetry(max_tries=-1, max_delay=0.3), logger=log,
                    sasl_options=login(**options))
    try:
        z.start_async()
        until("an end of the client", lambda: warnings.said and z.client_state == KeeperState.CLOSED)
    finally:
        z.stop()
        z.close()
    (why,) = warnings.said
    assert reason in why, why


@case("digest-login")
@case("kerberos-login")
def _(r):
    bob = "bob" if LOGIN == "digest" else "bob@ZKD.TEST"
    with Client() as z:
        z.create(r + "/of-bob", b"1", acl=CREATOR_ALL_ACL)
        (acl,), _ = z.get_acls(r + "/of-bob")
        eq(Id("sasl", bob), acl.id)
        eq(b"1", z.get(r + "/of-bob")[0])
    with Client(sasl_options=login("kafka")) as other:
        eq(["of-bob"], other.get_children(r))
        fails(NoAuthError, other.get, r + "/of-bob")
        fails(NoAuthError, other.set, r + "/of-bob", b"2")
    with Client() as again:
        eq(b"1", again.get(r + "/of-bob")[0])


@case("digest-again-after-reconnect")
@case("kerberos-again-after-reconnect")
def _(r):
    with Client(ZKP) as z:
        ident = z.client_id[0]
        z.create(r + "/a", b"1", acl=CREATOR_ALL_ACL)
        z.create(r + "/e", ephemeral=True)
        ctl("drop")
        eq(b"1", z.retry(z.get, r + "/a")[0])
        eq(ident, z.client_id[0])
        assert z.exists(r + "/e")


@case("digest-wrong-password")
def _(r):
    no_login(secret="of kafka")


@case("digest-unknown-user")
def _(r):
    no_login(who="nobody")


@case("kerberos-old-key")
def _(r):
    # It comes from kazoo: the library has no ticket to send.
    no_login(reason="AUTH_FAILED closing: Unknown error", who="wrong")


@case("kerberos-other-service")
def _(r):
    no_login(service="other")


@case("digest-required")
@case("kerberos-required")
def _(r):
    for call in (lambda z: z.get(r), lambda z: z.create(r + "/a")):
        with Client(sasl_options=None) as z:
            fails(SessionClosedRequireSaslError, call, z)
    with Client() as z:
        eq([], z.get_children(r))


def main():
    only = sys.argv[1:]
    print("plan " + " ".join(n for n, _ in CASES), flush=True)
    bad = 0
    for i, (name, f) in enumerate(CASES):
        if only and name not in only:
            continue
        root = "/kazoo%d" % i
        result = []

        def work():
            try:
                with Client() as z:
                    z.create(root)
                f(root)
                result.append("ok " + name)
            except BaseException as e:
                at = traceback.extract_tb(e.__traceback__)
                line = [x.lineno for x in at if x.filename == __file__ and x.name == "_"]
                result.append("FAIL %s %s: %s (line %s)" % (
                    name, type(e).__name__, str(e).replace("\n", " "), line[-1] if line else "?"))

        t = threading.Thread(target=work, daemon=True)
        t.start()
        t.join(45)
        out = result[0] if result else "FAIL %s it hangs" % name
        print(out, flush=True)
        if not out.startswith("ok"):
            bad += 1
            ctl("resume")
    os._exit(1 if bad else 0)


main()
