"""zkCli, fed line by line, compared with what it prints on Java.

zkcli/script.txt holds the commands. After each one the driver sends
`printwatches`, which zkCli answers without the server, and so knows that the
answer is complete. zkcli/golden.txt is what came out with the Java server, written by
`run --server java --only zkcli --bless`.

Session ids and times are replaced by words; zxids stay: they are part
of a Stat and of an event, and a script on an empty server gives the same ones.
"""

import collections
import difflib
import os
import re
import subprocess
import threading
import time

from . import cache
from .report import Result

FOLDER = os.path.join(cache.HERE, "zkcli")
MARK = "printwatches is "


def steps():
    """[(feature, command)] of the script; `# feature` opens a part."""
    out, feature = [], None
    with open(os.path.join(FOLDER, "script.txt")) as fh:
        for line in fh:
            line = line.rstrip("\n")
            if line.startswith("# "):
                feature = line[2:]
            elif line and not line.startswith("//"):
                out.append((feature, line))
    return out


def normal(line, text, port):
    text = text.replace("127.0.0.1:%d" % port, "SERVER")
    text = re.sub(r"(?m)^([cm]time = ).*$", r"\1TIME", text)
    text = re.sub(r"0x1[0-9a-f]{12,15}\b", "SESSION", text)
    text = re.sub(r"(?m)^\d\d:\d\d:\d\d\.\d{3} .*\n?", "", text)  # log lines
    if line.startswith("getEphemerals"):  # the server's order is free
        text = re.sub(r"\[(.*)\]", lambda m: "[%s]" % ", ".join(sorted(m.group(1).split(", "))), text)
    if line.startswith("~"):
        # Events come from another thread of zkCli, between or inside the lines.
        rows = [r for r in text.splitlines() if r and r != "WATCHER::"]
        text = "".join(r + "\n" for r in sorted(rows))
    return text


class Cli:
    def __init__(self, hosts, limit):
        jars = cache.classpath("zookeeper")
        self.port = int(hosts.rsplit(":", 1)[1])
        self.proc = subprocess.Popen(
            ["java", "-Xmx256m", *cache.TIERED, "-Dcompat.log=ERROR", "-cp", cache.logback() + ":" + jars,
             "org.apache.zookeeper.ZooKeeperMain", "-waitforconnection", "-server", hosts],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.end = time.time() + limit
        self.out = ""
        self.cond = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while True:
            d = os.read(self.proc.stdout.fileno(), 65536)
            with self.cond:
                self.out += d.decode(errors="replace")
                self.cond.notify_all()
            if not d:
                return

    def send(self, line, due=None):
        """One command; what it printed, sorted if it begins with `~`. Events of such a one are waited for, or for
        a while if nothing is due or known to be: zkCli's thread of events may be behind."""
        wait = line.startswith("~")
        self.proc.stdin.write((line.lstrip("~") + "\n").encode())
        self.proc.stdin.flush()
        if wait and not due:
            time.sleep(2)
        self.proc.stdin.write(b"printwatches\n")
        self.proc.stdin.flush()
        with self.cond:
            while True:
                at = self.out.find(MARK)
                eol = self.out.find("\n", at) if at >= 0 else -1
                if eol >= 0:
                    text, self.out = self.out[:at], self.out[eol + 1:]
                    return self.late(line, text, due) if wait else normal(line, text, self.port)
                left = self.end - time.time()
                if left <= 0 or self.proc.poll() is not None:
                    raise RuntimeError("zkCli gave no answer to `%s`: %s" % (line, self.out[-500:]))
                self.cond.wait(min(left, 0.5))

    def late(self, line, text, due):
        """What is due, as soon as all of it was printed, behind the answer too. The rest is the next command's:
        without a connection `printwatches` prints a line behind its own."""
        if due is None:
            return normal(line, text, self.port)
        end = min(self.end, time.time() + 30)
        while time.time() < end:
            lack, rest = collections.Counter(due.splitlines()), ""
            for printed in (text + self.out).splitlines(True):
                row = normal(line, printed, self.port).rstrip("\n")
                if lack[row] > 0:
                    lack[row] -= 1
                elif row:
                    rest += printed
            if not any(lack.values()):
                self.out = rest
                return due
            self.cond.wait(0.1)
        text, self.out = text + self.out, ""
        return normal(line, text, self.port)

    def close(self):
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()


def transcript(hosts, limit, due):
    """[(feature, command, output)] of the whole script. `due` has what is known of the outputs."""
    cli = Cli(hosts, limit)
    try:
        cli.send("printwatches off")
        cli.send("printwatches on")
        return [(f, c, cli.send(c, due.get(n))) for n, (f, c) in enumerate(steps())]
    finally:
        cli.close()


def show(entries):
    out = []
    for feature, command, text in entries:
        out.append("> %s\n%s" % (command, text if not text or text.endswith("\n") else text + "\n"))
    return "".join(out)


def golden():
    """[output] of golden.txt, one per command of the script."""
    with open(os.path.join(FOLDER, "golden.txt")) as fh:
        parts = re.split(r"(?m)^> ", fh.read())[1:]
    return [(p.split("\n", 1)[0], p.split("\n", 1)[1]) for p in parts]


def run(ctx):
    server = ctx.server("zkcli", config={"reconfigEnabled": "true"})
    results = []
    try:
        due = {} if ctx.bless else {n: text for n, (_, text) in enumerate(golden())}
        got = transcript(server.hosts, 300, due)
        if ctx.bless:
            with open(os.path.join(FOLDER, "golden.txt"), "w") as fh:
                fh.write(show(got))
        want = golden()
        if [c for c, _ in want] != [c for _, c, _ in got]:
            return [Result("zkcli", "run", "fail", "golden.txt is not of this script: run with --bless")]
        bad, features = {}, []
        for (feature, command, text), (_, expected) in zip(got, want):
            if feature not in features:
                features.append(feature)
            text = text if not text or text.endswith("\n") else text + "\n"
            if text != expected:
                diff = list(difflib.unified_diff(expected.splitlines(), text.splitlines(), "java", "here", lineterm="", n=0))
                bad.setdefault(feature, []).append("`%s`: %s" % (command, " / ".join(d for d in diff[2:] if d[:2] != "@@")))
        for f in features:
            results.append(Result("zkcli", f, "fail" if f in bad else "pass", "; ".join(bad.get(f, []))[:1500]))
            ctx.tick(f)
        if bad:
            with open(os.path.join(server.dir, "zkcli.txt"), "w") as fh:
                fh.write(show(got))
    finally:
        from .suites import finish
        finish(ctx, server, results)
    return results
