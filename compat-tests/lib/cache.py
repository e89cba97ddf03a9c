"""What the suites need from outside, made once in a cache folder.

Nothing of this ever comes into the checkout: jars stay in Maven's own
repository (only class paths are kept here), Go modules in Go's, and copies of
upstream test suites live under the cache.
"""

import glob
import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CACHE = os.path.join(
    os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache"),
    "zkd", "compat")

KAZOO = "2.11.0"
KAZOO_LOGINS = ["pure-sasl==0.6.2", "kerberos==1.3.1", "six==1.17.0"]
GOZK = "v1.0.4"
# The class path of Java ZooKeeper has a name that others rely on.
CLASSPATHS = {
    "zookeeper": "zookeeper-3.9.4.classpath",
    "admin": "zookeeper-admin-3.9.4.classpath",
    "curator": "curator.classpath",
    "kafka": "kafka.classpath",
}
TIERED = ["-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]


class SetupError(Exception):
    pass


def path(*parts):
    return os.path.join(CACHE, *parts)


def say(text):
    print("setup: " + text, flush=True)


def call(cmd, cwd=None, env=None, what=None):
    """Runs a command, silent unless it fails."""
    try:
        r = subprocess.run(cmd, cwd=cwd, env=env, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except FileNotFoundError:
        raise SetupError("%s is missing (needed to %s)" % (cmd[0], what or "run " + " ".join(cmd)))
    if r.returncode != 0:
        out = r.stdout.decode(errors="replace")
        raise SetupError("%s failed:\n%s" % (what or " ".join(cmd), out[-3000:]))
    return r.stdout.decode(errors="replace")


def stamp(files):
    h = hashlib.sha256()
    for f in files:
        with open(f, "rb") as fh:
            h.update(fh.read())
    return h.hexdigest()


def fresh(name, files):
    """True if `name` was made from these very files."""
    try:
        with open(path("stamps", name)) as fh:
            return fh.read() == stamp(files)
    except OSError:
        return False


def done(name, files):
    os.makedirs(path("stamps"), exist_ok=True)
    with open(path("stamps", name), "w") as fh:
        fh.write(stamp(files))


def made(name, files, make):
    """What `make(out)` made from these very files: its name in the cache carries
    their hash, so that checkouts with other files do not disturb each other."""
    out = path("%s-%s" % (name, stamp(files)[:12]))
    if not os.path.exists(out):
        os.makedirs(CACHE, exist_ok=True)
        work = tempfile.mkdtemp(prefix="making-", dir=CACHE)
        try:
            make(os.path.join(work, "out"))
            try:
                os.rename(os.path.join(work, "out"), out)
            except OSError:
                if not os.path.exists(out):  # else another run was faster
                    raise
        finally:
            shutil.rmtree(work, ignore_errors=True)
        for old in glob.glob(path(name + "-" + "[0-9a-f]" * 12)):
            if os.path.getmtime(old) < time.time() - 86400:
                shutil.rmtree(old) if os.path.isdir(old) else os.remove(old)
    os.utime(out)
    return out


def apt(*packages):
    say("apt-get install " + " ".join(packages))
    cmd = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"] + list(packages)
    if os.geteuid() != 0:
        cmd = ["sudo", "-n"] + cmd
    env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
    try:
        call(cmd, env=env)
    except SetupError:
        call(cmd[:-len(packages) - 4] + ["update", "-qq"], env=env)
        call(cmd, env=env)


def need(program, *packages):
    if shutil.which(program) is None:
        apt(*packages)


def classpath(name):
    """The jars of java/<name>/pom.xml, colon-separated; resolved by Maven once."""
    pom = os.path.join(HERE, "java", name, "pom.xml")
    out = path(CLASSPATHS[name])
    if fresh("pom-" + name, [pom]) and os.path.exists(out):
        with open(out) as fh:
            jars = fh.read().strip()
        if all(os.path.exists(j) for j in jars.split(":")):
            return jars
    need("javac", "default-jdk-headless")
    need("mvn", "maven")
    say("Maven resolves java/%s/pom.xml" % name)
    os.makedirs(CACHE, exist_ok=True)
    cmd = ["mvn", "-q", "-B", "-f", pom, "dependency:build-classpath", "-Dmdep.outputFile=" + out]
    try:
        call(cmd[:1] + ["-o"] + cmd[1:])
    except SetupError:
        call(cmd, what="mvn dependency:build-classpath")
    done("pom-" + name, [pom])
    with open(out) as fh:
        return fh.read().strip()


def java_program(name):
    """Compiles java/<name>/*.java; gives the class path to run it with."""
    jars = classpath(name)
    folder = os.path.join(HERE, "java", name)
    sources = sorted(os.path.join(folder, f) for f in os.listdir(folder) if f.endswith(".java"))

    def make(out):
        say("javac java/%s" % name)
        call(["javac", "-nowarn", "-d", out, "-cp", jars] + sources)

    return ":".join([made("classes-" + name, sources + [os.path.join(folder, "pom.xml")], make), logback(), jars])


def logback():
    """A folder with a quiet logback.xml, for every Java process here."""
    folder = path("logback")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "logback.xml"), "w") as fh:
        fh.write("""<configuration>
  <appender name="OUT" class="ch.qos.logback.core.ConsoleAppender">
    <target>System.err</target>
    <encoder><pattern>%d{HH:mm:ss.SSS} %-5level %logger{0} - %msg%n</pattern></encoder>
  </appender>
  <root level="${compat.log:-WARN}"><appender-ref ref="OUT"/></root>
</configuration>
""")
    return folder


def c_program():
    source = os.path.join(HERE, "c", "compat.c")
    need("gcc", "gcc", "libc6-dev")
    if not os.path.exists("/usr/include/zookeeper/zookeeper.h"):
        apt("libzookeeper-mt-dev")

    def make(out):
        say("gcc c/compat.c")
        call(["gcc", "-O1", "-Wall", "-DTHREADED", "-o", out, source, "-lzookeeper_mt", "-lpthread"])

    return made("c-compat", [source], make)


def go_env():
    return dict(os.environ, GOFLAGS="-mod=mod", GOTOOLCHAIN="local")


def go_module():
    """A new folder with a Go module that requires the Go client."""
    need("go", "golang-go")
    os.makedirs(CACHE, exist_ok=True)
    folder = tempfile.mkdtemp(prefix="making-", dir=CACHE)
    with open(os.path.join(folder, "go.mod"), "w") as fh:
        fh.write("module compat\n\ngo 1.19\n\nrequire github.com/go-zookeeper/zk %s\n" % GOZK)
    return folder


def go_program():
    source = os.path.join(HERE, "go", "main.go")

    def make(out):
        say("go build go/main.go")
        folder = go_module()
        try:
            shutil.copy(source, os.path.join(folder, "main.go"))
            call(["go", "build", "-o", out, "."], cwd=folder, env=go_env())
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    return made("go-compat", [source, os.path.abspath(__file__)], make)


def gozk_suite():
    """A test binary of go-zookeeper/zk's own tests, built on a copy.

    One thing is changed: their harness takes a server as started when it can
    parse the answer to `srvr`, and its expression does not know the build date
    that ZooKeeper prints since 3.7. Ours looks for the mode."""
    def make(folder):
        mod = go_module()
        try:
            call(["go", "mod", "download", "github.com/go-zookeeper/zk"], cwd=mod, env=go_env())
            src = call(["go", "list", "-m", "-f", "{{.Dir}}", "github.com/go-zookeeper/zk"],
                       cwd=mod, env=go_env()).strip()
        finally:
            shutil.rmtree(mod, ignore_errors=True)
        shutil.copytree(src, folder, copy_function=shutil.copyfile)
        for d, _, _ in os.walk(folder):
            os.chmod(d, 0o755)  # Go's module cache is read-only
        helper = os.path.join(folder, "server_help_test.go")
        with open(helper) as fh:
            text = fh.read()
        call_ = "_, ok := FLWSrvr(serverAddrs, time.Second)"
        if call_ not in text:
            raise SetupError("go-zookeeper/zk %s is not as expected: no `%s`" % (GOZK, call_))
        text = text.replace(call_, "ok := allServe(serverAddrs)")
        text += """
func allServe(addrs []string) bool {
	for _, a := range addrs {
		if b, err := fourLetterWord(a, "srvr", time.Second); err != nil || !strings.Contains(string(b), "Mode:") {
			return false
		}
	}
	return true
}
"""
        with open(helper, "w") as fh:
            fh.write(text)
        say("go test -c of go-zookeeper/zk " + GOZK)
        call(["go", "test", "-c", "-o", "gozk.test", "."], cwd=folder, env=go_env())

    folder = made("gozk", [os.path.abspath(__file__)], make)
    return os.path.join(folder, "gozk.test"), folder


def kazoo():
    """A virtual environment with kazoo, pytest and the sources of kazoo's tests."""
    venv = path("kazoo-" + KAZOO)
    python = os.path.join(venv, "bin", "python")
    tests = path("kazoo-src-" + KAZOO)
    if not os.path.exists(os.path.join(tests, ".complete")):
        say("venv with kazoo " + KAZOO)
        shutil.rmtree(venv, ignore_errors=True)
        shutil.rmtree(tests, ignore_errors=True)
        try:
            call([sys.executable, "-m", "venv", venv])
        except SetupError:
            apt("python3-venv")
            call([sys.executable, "-m", "venv", venv])
        pip = [python, "-m", "pip", "-q", "--disable-pip-version-check"]
        call(pip + ["install", "kazoo[test]==" + KAZOO, "pytest", "pytest-timeout", "objgraph", "gevent", "eventlet"])
        call(pip + ["download", "--no-deps", "--no-binary", "kazoo", "-d", tests, "kazoo==" + KAZOO])
        sdist = [f for f in os.listdir(tests) if f.endswith(".tar.gz")][0]
        with tarfile.open(os.path.join(tests, sdist)) as tar:
            tar.extractall(tests)
        os.rename(os.path.join(tests, "kazoo-" + KAZOO), os.path.join(tests, "src"))
        open(os.path.join(tests, ".complete"), "w").close()
    return python, os.path.join(tests, "src")


def kazoo_logins():
    """A folder with the modules by which kazoo logs in. kazoo's own tests, which want a server of their own for
    these, do not see it."""
    def make(out):
        python, _ = kazoo()
        need("gcc", "gcc", "libc6-dev")
        need("krb5-config", "libkrb5-dev")
        header = os.path.join(sysconfig.get_paths()["include"], "Python.h")
        if not os.path.exists(header):
            apt("python3-dev")
        say("pip install " + " ".join(KAZOO_LOGINS))
        call([python, "-m", "pip", "-q", "--disable-pip-version-check", "install", "--no-deps", "--target", out]
             + KAZOO_LOGINS)

    return made("kazoo-logins", [os.path.abspath(__file__)], make)


def kdc():
    """The programs of a Kerberos KDC, in /usr/sbin."""
    if not os.path.exists("/usr/sbin/krb5kdc"):
        apt("krb5-kdc", "krb5-admin-server")
