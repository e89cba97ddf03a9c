"""The test suites of kazoo and of go-zookeeper/zk, pointed at the server.

expected/<suite>.txt lists every test that does not pass: one line of name, tag
and reason. The tags:

    java      it fails against Java ZooKeeper 3.9.4 too
    skip      it skips itself
    ensemble  it needs several servers; it is not run here
    setup     it needs a server which this suite does not start; it is not run
    flaky     it sometimes fails, against Java too
    zkd       it fails against zkd only

A test that passes or fails against its line is a failure of the run.
"""

import os
import re
import stat
import tempfile
import shutil

from . import cache
from .report import Result
from .server import free_port

NOT_RUN = ("ensemble", "setup")
TAGS = {
    "java": "fails against Java too: ",
    "skip": "skips itself: ",
    "ensemble": "needs an ensemble: ",
    "setup": "not run: ",
    "flaky": "sometimes fails, against Java too: ",
    "zkd": "",
}


def expected(suite):
    out = {}
    with open(os.path.join(cache.HERE, "expected", suite + ".txt")) as fh:
        for line in fh:
            if line.strip() and not line.startswith("#"):
                name, tag, why = line.rstrip("\n").split(None, 2)
                if tag not in TAGS:
                    raise ValueError("expected/%s.txt: no tag %s" % (suite, tag))
                out[name] = (tag, why)
    return out


def judge(ctx, client, known, got, names):
    """Results of all `names`, given {name: (status, why, seconds)}."""
    out = []
    for n in names:
        status, why, seconds = got.get(n, ("fail", "it did not run", 0))
        tag, reason = known.get(n, (None, ""))
        text = TAGS[tag] + reason if tag else ""
        if tag in NOT_RUN or tag == "flaky":
            ok = True
        elif tag == "skip":
            ok = status == "skip"
        elif tag == "java":
            ok = status != "pass"
        elif tag == "zkd":
            ok = (status == "pass") == (ctx.kind == "java")
        else:
            ok = status == "pass"
        if not ok:
            out.append(Result(client, n, "fail", ("%s, but expected/ says: %s" % (status, text)) if tag else why or status, seconds))
        elif status == "pass":
            out.append(Result(client, n, "pass", "", seconds))
        else:
            out.append(Result(client, n, "known", text, seconds))
    for n in sorted(set(known) - set(names)):
        out.append(Result(client, n, "fail", "expected/ names a test that does not exist"))
    return out


def gozk(ctx):
    from .suites import lines
    binary, folder = cache.gozk_suite()
    ctx.server("probe").remove()  # their harness is slow to see that none starts
    known = expected("gozk")
    work = tempfile.mkdtemp(prefix="compat-gozk-")
    # Their harness runs $ZOOKEEPER_BIN_PATH/zkServer.sh start-foreground zoo.cfg
    script = os.path.join(work, "zkServer.sh")
    if ctx.kind == "java":
        run = "exec java -Xmx256m %s $SERVER_JVMFLAGS -cp '%s:%s' org.apache.zookeeper.server.quorum.QuorumPeerMain \"$2\"" % (
            " ".join(cache.TIERED), cache.logback(), cache.classpath("zookeeper"))
    else:
        run = "exec '%s' serve \"$2\"" % ctx.zkd_bin
    with open(script, "w") as fh:
        fh.write("#!/bin/sh\ngrep -q clientPortAddress \"$2\" || echo clientPortAddress=127.0.0.1 >>\"$2\"\n%s\n" % run)
    os.chmod(script, os.stat(script).st_mode | stat.S_IXUSR)
    env = dict(os.environ, ZOOKEEPER_BIN_PATH=work)
    names = [n for n in lines([binary, "-test.list", ".*"], env, 120, folder) if isinstance(n, str) and n.startswith("Test")]
    skip = [n for n, (tag, _) in known.items() if tag in NOT_RUN]
    if ctx.quick:
        skip += QUICK_GOZK
        names = [n for n in names if n not in QUICK_GOZK]
    cmd = [binary, "-test.v", "-test.timeout", "600s"]
    if skip:
        cmd += ["-test.skip", "^(%s)$" % "|".join(skip)]
    got, text = {}, []
    for line in lines(cmd, env, 620, folder):
        if not isinstance(line, str):
            break
        m = re.match(r"--- (PASS|FAIL|SKIP): (\S+) \(([0-9.]+)s\)", line)
        if m:
            status = m.group(1).lower()
            got[m.group(2)] = (status, last(text) if status != "pass" else "", float(m.group(3)))
            ctx.tick("%s %s" % (m.group(2), status))
            text = []
        elif line.startswith("=== RUN"):
            text = []
        else:
            text.append(line)
    shutil.rmtree(work, ignore_errors=True)
    return judge(ctx, "gozk-suite", known, got, names)


# What takes long and adds little: not run with --quick.
QUICK_GOZK = ["TestIntegration_Children", "TestIntegration_SlowServer"]
QUICK_KAZOO = [
    "test_eventlet_handler.py", "test_gevent_handler.py",  # the same tests on other event loops
    "test_partitioner.py", "test_selectors_select.py",
    "test_watchers.py::KazooChildrenWatcherTests::test_child_watcher_remove_session_watcher",
    "test_cache.py::KazooTreeCacheTests::test_close",
    "test_cache.py::KazooTreeCacheTests::test_delete_operation",
]


def last(text):
    hits = [t.strip() for t in text if re.search(r"_test\.go:\d+|panic", t) and "[ZKERR]" not in t]
    return hits[-1][:300] if hits else ""


def kazoo(ctx):
    from .suites import lines
    python, src = cache.kazoo()
    ctx.server("probe").remove()
    known = expected("kazoo")
    plugin = os.path.join(cache.HERE, "python")
    env = dict(os.environ,
               PYTHONPATH=os.pathsep.join([plugin, cache.HERE, src]),
               PYTHONDONTWRITEBYTECODE="1",
               CI="1", ZOOKEEPER_VERSION="3.9.4",  # both for test_zookeeper_version, which runs on CI only
               COMPAT_KIND=ctx.kind, COMPAT_ZKD_BIN=ctx.zkd_bin or "",
               COMPAT_PORT=str(free_port()))
    cmd = [python, "-m", "pytest", "-q", "-p", "kazoo_plugin", "-p", "no:cacheprovider", "--timeout=180",
           "-o", "addopts=", "--rootdir", src, "kazoo/tests"]
    if ctx.quick:
        cmd += ["--deselect=kazoo/tests/" + n for n in QUICK_KAZOO]
        known = {n: v for n, v in known.items() if not n.startswith(tuple(QUICK_KAZOO))}
    apart = [n for n, (tag, _) in known.items() if tag in NOT_RUN]
    cmd += ["--deselect=kazoo/tests/" + n for n in apart]
    got, names = {}, []
    for line in lines(cmd, env, 900, src):
        if not isinstance(line, str):
            continue
        if line.startswith("COMPAT-TEST "):
            names.append(line.split(" ", 1)[1])
        elif line.startswith("COMPAT-RESULT "):
            _, status, seconds, name, why = (line + " ").split(" ", 4)
            got[name] = (status, why.strip(), float(seconds))
            ctx.tick("%s %s" % (name, status))
    if not names:
        return [Result("kazoo-suite", "run", "fail", "pytest found no tests")]
    return judge(ctx, "kazoo-suite", known, got, names + apart)
