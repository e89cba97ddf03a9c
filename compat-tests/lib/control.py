"""The driver's side of a test program: a TCP proxy and a control port.

A program sends one line to the control port and reads `ok`:

    drop      close the connections that go through the proxy
    pause     the same, and refuse new ones
    resume    accept again
    stop      kill -9 the server
    start     start it on the same data
    restart   both, with the proxy paused

A client that must keep its session across a restart goes through the proxy:
Java 3.9.4 takes connections before its data are loaded, fails on them with a
NullPointerException (ZooKeeperServer.removeCnxn) and leaves the socket open, so
that the client waits on it for its whole session.
"""

import socket
import threading


class Control:
    def __init__(self, server):
        self.server = server
        self.paused = False
        self.closed = False
        self.pairs = set()
        self.lock = threading.Lock()
        self.proxy = self._listen(self._proxied)
        self.orders = self._listen(self._order)

    @property
    def env(self):
        return {
            "ZK": self.server.hosts,
            "ZKP": "127.0.0.1:%d" % self.proxy.getsockname()[1],
            "CTL": "127.0.0.1:%d" % self.orders.getsockname()[1],
        }

    def _listen(self, handler):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind(("127.0.0.1", 0))
        s.listen(64)

        def loop():
            while True:
                try:
                    c, _ = s.accept()
                except OSError:
                    return
                threading.Thread(target=handler, args=(c,), daemon=True).start()

        threading.Thread(target=loop, daemon=True).start()
        return s

    def _order(self, c):
        with c, c.makefile("rw") as f:
            try:
                answer = self.do(f.readline().strip())
            except Exception as e:  # the program prints it
                answer = "failed: " + str(e).replace("\n", " ")[-500:]
            f.write(answer + "\n")
            f.flush()

    def do(self, order):
        if order == "drop":
            self._drop()
        elif order == "pause":
            self.paused = True
            self._drop()
        elif order == "resume":
            self.paused = False
        elif order == "stop":
            self.server.stop(9)
        elif order == "start":
            self.server.start()
        elif order == "restart":
            self.do("pause")
            self.server.restart()
            self.do("resume")
        else:
            return "unknown order " + order
        return "ok"

    def _drop(self):
        with self.lock:
            pairs, self.pairs = self.pairs, set()
        for a, b in pairs:
            for s in (a, b):
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def _proxied(self, c):
        if self.paused:
            c.close()
            return
        try:
            u = socket.create_connection(("127.0.0.1", self.server.port), timeout=5)
        except OSError:
            c.close()
            return
        u.settimeout(None)
        for s in (c, u):
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        pair = (c, u)
        with self.lock:
            self.pairs.add(pair)
        if self.paused:
            self._drop()

        def pump(a, b):
            try:
                while True:
                    d = a.recv(65536)
                    if not d:
                        break
                    b.sendall(d)
            except OSError:
                pass
            for s in pair:
                try:
                    s.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

        t = threading.Thread(target=pump, args=(u, c), daemon=True)
        t.start()
        pump(c, u)
        t.join()
        with self.lock:
            self.pairs.discard(pair)
        c.close()
        u.close()

    def close(self):
        self.proxy.close()
        self.orders.close()
        self._drop()
