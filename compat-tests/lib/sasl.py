"""Servers that answer nobody without a login, and the logins of their clients: kafka and bob.

Both kinds have one file of logins in Java's format: `Server`, `Client` (kafka), `Bob`, and `Wrong`, which is
kafka with a password or a key that does not hold.
"""

import os
import socket
import subprocess
import time

from . import server
from .control import Control

REALM = "ZKD.TEST"
SERVICE = "zookeeper"
FLAGS = {
    "zookeeper.enforce.auth.enabled": "true",
    "zookeeper.enforce.auth.schemes": "sasl",
}


class Logins:
    """The files of one kind of login, in a folder."""

    def __init__(self, folder):
        self.dir = folder
        os.makedirs(folder)

    def file(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.file(name), "w") as fh:
            fh.write(text)

    def write_sections(self, sections):
        self.write("logins.conf", "".join("%s {\n  %s;\n};\n" % s for s in sections))

    def flags(self):
        """Properties of every Java process, and of zkd."""
        return {"java.security.auth.login.config": self.file("logins.conf")}

    def close(self):
        pass


class Digest(Logins):
    """DIGEST-MD5."""

    name = "digest"
    secrets = {"kafka": "of kafka", "bob": "of bob"}

    def __init__(self, folder):
        super().__init__(folder)
        module = "org.apache.zookeeper.server.auth.DigestLoginModule required "
        login = module + "username=\"%s\" password=\"%s\""
        users = " ".join("user_%s=\"%s\"" % u for u in self.secrets.items())
        self.write_sections([
            ("Server", module + users),
            ("Client", login % ("kafka", self.secrets["kafka"])),
            ("Bob", login % ("bob", self.secrets["bob"])),
            ("Wrong", login % ("kafka", "wrong")),
        ])

    @property
    def env(self):
        return {"LOGIN": self.name, "NAME": "kafka"}


class Kerberos(Logins):
    """Tickets of a KDC of our own."""

    name = "kerberos"

    def __init__(self, folder):
        super().__init__(folder)
        self.port = server.free_port()
        self.write("krb5.conf", """[libdefaults]
 default_realm = {realm}
 dns_lookup_realm = false
 dns_lookup_kdc = false
 dns_canonicalize_hostname = false
 qualify_shortname = ""
 rdns = false
 udp_preference_limit = 1
[realms]
 {realm} = {{
  kdc = 127.0.0.1:{port}
 }}
""".format(realm=REALM, port=self.port))
        self.write("kdc.conf", """[kdcdefaults]
 kdc_listen = 127.0.0.1:{port}
 kdc_tcp_listen = 127.0.0.1:{port}
[realms]
 {realm} = {{
  database_name = {dir}/principals
  key_stash_file = {dir}/stash
 }}
""".format(realm=REALM, port=self.port, dir=folder))
        self.admin("kdb5_util", "-r", REALM, "create", "-s", "-P", "master")
        # Each time that a key goes into a file it is a new one, so that the file before no longer holds.
        keys = [("server", SERVICE + "/localhost"), ("other", "other/localhost"), ("bob", "bob"),
                ("wrong", "kafka"), ("kafka", "kafka")]
        orders = ["addprinc -randkey " + p for p in sorted({p for _, p in keys})]
        orders += ["ktadd -k %s %s" % (self.file(name + ".keytab"), p) for name, p in keys]
        said = self.admin("kadmin.local", "-r", REALM, text="\n".join(orders) + "\n")
        for name, _ in keys:
            if not os.path.exists(self.file(name + ".keytab")):
                raise RuntimeError("no key of %s: %s" % (name, said))
        login = ("com.sun.security.auth.module.Krb5LoginModule required useKeyTab=true storeKey=true "
                 "useTicketCache=false keyTab=\"%s\" principal=\"%s@" + REALM + "\"")
        self.write_sections([
            (section, login % (self.file(name + ".keytab"), dict(keys)[name]))
            for section, name in (("Server", "server"), ("Client", "kafka"), ("Bob", "bob"), ("Wrong", "wrong"))])
        with open(self.file("log"), "ab") as log:
            self.proc = subprocess.Popen(["/usr/sbin/krb5kdc", "-n", "-r", REALM, "-P", self.file("pid")],
                                         env=self.full_env(), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        server.LIVE.append(self)
        self.wait()

    def wait(self):
        end = time.time() + 180
        while time.time() < end and self.proc.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                time.sleep(0.02)
        raise RuntimeError("the KDC does not listen, see %s/log" % self.dir)

    def full_env(self):
        return dict(os.environ, KRB5_CONFIG=self.file("krb5.conf"), KRB5_KDC_PROFILE=self.file("kdc.conf"))

    def admin(self, tool, *args, text=""):
        p = subprocess.run(["/usr/sbin/" + tool, *args], env=self.full_env(), input=text.encode(),
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        said = p.stdout.decode(errors="replace")[-1000:]
        if p.returncode:
            raise RuntimeError("%s: %s" % (tool, said))
        return said

    def flags(self):
        return dict(super().flags(), **{
            "java.security.krb5.conf": self.file("krb5.conf"),
            # Of clients.
            "zookeeper.server.principal": SERVICE + "/localhost",
        })

    @property
    def env(self):
        return {"LOGIN": self.name, "NAME": "kafka@" + REALM, "KEYTABS": self.dir,
                "KRB5_CONFIG": self.file("krb5.conf")}

    def stop(self, _=None):
        self.proc.kill()
        self.proc.wait()
        if self in server.LIVE:
            server.LIVE.remove(self)

    def close(self):
        self.stop()


KINDS = [Digest, Kerberos]


def start(ctx, name, kind):
    """A server, its logins, and the control that tells a program of them."""
    config = {"authProvider.1": "org.apache.zookeeper.server.auth.SASLAuthenticationProvider"}
    s = server.Server(ctx.kind, ctx.zkd_bin, config, FLAGS, "%s-%s" % (name, kind.name))
    logins = kind(os.path.join(s.dir, "logins"))
    s.flags.update(logins.flags())
    try:
        s.start()
    except Exception:
        logins.close()
        raise

    class WithLogins(Control):
        """The program learns from $LOGIN, $NAME and $KEYTABS how to log in; Kerberos needs the host's name."""

        @property
        def env(self):
            return dict({k: v.replace("127.0.0.1", "localhost") if k in ("ZK", "ZKP") else v
                         for k, v in super().env.items()}, **logins.env)

        def close(self):
            super().close()
            logins.close()

    return s, logins, WithLogins
