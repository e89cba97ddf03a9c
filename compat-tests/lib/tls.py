"""An authority, certificates of every kind, and a server with a TLS port."""

import functools
import http.server
import os
import shutil
import subprocess
import threading

from . import server
from .control import Control

CONFIG = """
[ca]
default_ca = own
[own]
dir = {dir}
database = {dir}/index
serial = {dir}/serial
crlnumber = {dir}/crlnumber
new_certs_dir = {dir}
certificate = {dir}/ca.pem
private_key = {dir}/ca.key
default_md = sha256
default_crl_days = 30
policy = any
unique_subject = no
[any]
commonName = supplied
[req]
distinguished_name = none
prompt = no
[none]
[authority]
basicConstraints = critical,CA:true
keyUsage = keyCertSign,cRLSign
subjectKeyIdentifier = hash
[here]
subjectAltName = IP:127.0.0.1,DNS:localhost
crlDistributionPoints = URI:{url}
authorityKeyIdentifier = keyid
[elsewhere]
subjectAltName = DNS:elsewhere.example
crlDistributionPoints = URI:{url}
authorityKeyIdentifier = keyid
"""

# Name, where it is for, and when it ends.
SERVERS = [("good", "here", "20990101000000Z"), ("renewed", "here", "20990101000000Z"),
           ("outdated", "here", "20200201000000Z"), ("foreign", "elsewhere", "20990101000000Z")]
CLIENTS = [("client", "20990101000000Z"), ("expired", "20200201000000Z"), ("revoked", "20990101000000Z")]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Authority:
    """Files NAME.pem (key and certificate), NAME.key, NAME.crt and ca.pem in a folder, and the list of
    revoked certificates behind a port."""

    def __init__(self, folder):
        self.dir = folder
        os.makedirs(folder)
        handler = functools.partial(Quiet, directory=folder)
        self.lists = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self.lists.serve_forever, daemon=True).start()
        url = "http://127.0.0.1:%d/revoked.crl" % self.lists.server_address[1]
        self.write("openssl.cnf", CONFIG.format(dir=folder, url=url))
        for name, text in (("index", ""), ("serial", "1000\n"), ("crlnumber", "1000\n")):
            self.write(name, text)
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        self.openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-days", "3650",
                     "-subj", "/CN=authority", "-extensions", "authority")
        for name, where, until in SERVERS + [(n, "here", u) for n, u in CLIENTS]:
            self.openssl("req", *key, "-keyout", name + ".key", "-out", name + ".csr", "-subj", "/CN=" + name)
            self.openssl("ca", "-batch", "-notext", "-in", name + ".csr", "-out", name + ".crt", "-extensions",
                         where, "-startdate", "20200101000000Z", "-enddate", until)
            with open(self.file(name + ".key")) as k, open(self.file(name + ".crt")) as c:
                self.write(name + ".pem", k.read() + c.read())
        self.openssl("ca", "-revoke", "revoked.crt")
        self.openssl("ca", "-gencrl", "-out", "list.pem")
        self.openssl("crl", "-in", "list.pem", "-outform", "DER", "-out", "revoked.crl", config=False)
        self.show("good")

    def file(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, text):
        with open(self.file(name), "w") as fh:
            fh.write(text)

    def openssl(self, command, *args, config=True):
        more = ["-config", "openssl.cnf"] if config else []
        p = subprocess.run(["openssl", command, *more, *args], cwd=self.dir, stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if p.returncode:
            raise RuntimeError("openssl %s: %s" % (command, p.stdout.decode(errors="replace")[-500:]))

    def show(self, name):
        """From now on the server has this certificate, in one step."""
        shutil.copy(self.file(name + ".pem"), self.file("server.new"))
        os.replace(self.file("server.new"), self.file("server.pem"))

    def close(self):
        self.lists.shutdown()
        self.lists.server_close()
        shutil.rmtree(self.dir, ignore_errors=True)


def start(ctx, name):
    """A server with both kinds of port, and its authority."""
    port = server.free_port()
    config = {
        "secureClientPort": str(port),
        "secureClientPortAddress": "127.0.0.1",
        "client.certReload": "true",
        "ssl.crl": "true",
    }
    # Java has TLS with Netty only.
    flags = {"zookeeper.serverCnxnFactory": "org.apache.zookeeper.server.NettyServerCnxnFactory"}
    s = server.Server(ctx.kind, ctx.zkd_bin, config, flags, name + "-tls")
    authority = Authority(os.path.join(s.dir, "tls"))
    with open(s.cfg, "a") as fh:
        fh.write("ssl.keyStore.location=%s\nssl.trustStore.location=%s\n"
                 % (authority.file("server.pem"), authority.file("ca.pem")))
    try:
        s.start()
    except Exception:
        authority.close()
        raise

    class WithTls(Control):
        """Has one order more: `certificate NAME`. The program finds the files in the folder $TLS, and the port in
        $ZKS."""

        @property
        def env(self):
            return dict(super().env, ZKS="127.0.0.1:%d" % port, TLS=authority.dir)

        def do(self, order):
            if order.startswith("certificate "):
                authority.show(order.split(" ", 1)[1])
                return "ok"
            return super().do(order)

        def close(self):
            super().close()
            authority.close()

    return s, WithTls
