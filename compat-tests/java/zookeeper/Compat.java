import java.io.*;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import java.util.*;
import java.util.concurrent.*;
import org.apache.zookeeper.*;
import org.apache.zookeeper.Watcher.Event.EventType;
import org.apache.zookeeper.Watcher.Event.KeeperState;
import org.apache.zookeeper.admin.ZooKeeperAdmin;
import org.apache.zookeeper.cli.DelQuotaCommand;
import org.apache.zookeeper.cli.SetQuotaCommand;
import org.apache.zookeeper.data.*;
import org.apache.zookeeper.server.auth.DigestAuthenticationProvider;

/**
 * Every operation of the plain Java client, one case per feature.
 *
 * ZK is the server, ZKP the same server through the driver's proxy, CTL the
 * driver's control port (see lib/control.py).
 */
public class Compat {
    static final String ZK = System.getenv("ZK"), ZKP = System.getenv("ZKP"), CTL = System.getenv("CTL");
    static final String SUPER = System.getenv("ZK_SUPER");
    static final List<ACL> OPEN = ZooDefs.Ids.OPEN_ACL_UNSAFE;
    static final int WAIT = 30_000;

    // ---- the frame of the test ---------------------------------------------------

    interface Body { void run(String root) throws Exception; }
    static final Map<String, Body> CASES = new LinkedHashMap<>();
    static void test(String id, Body b) { CASES.put(id, b); }

    /** A watcher that keeps what it saw, "NodeCreated /a" for nodes and "SyncConnected" for states. */
    static class Log implements Watcher {
        final LinkedBlockingQueue<String> events = new LinkedBlockingQueue<>();
        final LinkedBlockingQueue<KeeperState> states = new LinkedBlockingQueue<>();
        public void process(WatchedEvent e) {
            if (e.getType() == EventType.None) states.add(e.getState());
            else events.add(e.getType() + " " + e.getPath());
        }
        /** Waits for a state, which may be over already: it is the next one of those that were not asked for yet. */
        void await(KeeperState want) throws Exception {
            long end = System.currentTimeMillis() + 2 * WAIT;
            List<KeeperState> seen = new ArrayList<>();
            while (!seen.contains(want)) {
                KeeperState next = states.poll(end - System.currentTimeMillis(), TimeUnit.MILLISECONDS);
                check(next != null, "no state " + want + ", only " + seen);
                seen.add(next);
            }
        }
        String next() throws Exception { return next(WAIT); }
        String next(int ms) throws Exception {
            String e = events.poll(ms, TimeUnit.MILLISECONDS);
            return e == null ? "nothing" : e;
        }
        void expect(String... want) throws Exception {
            for (String w : want) eq(w, next());
        }
        void quiet() throws Exception { eq("nothing", next(150)); }
    }

    static class Client extends ZooKeeperAdmin implements AutoCloseable {
        final Log log;
        Client(String at, int timeout, Log log) throws Exception { super(at, timeout, log); this.log = log; }
        @Override public synchronized void close() throws InterruptedException { super.close(); }
        void put(String path, String data) throws Exception { create(path, data.getBytes(), OPEN, CreateMode.PERSISTENT); }
        String read(String path) throws Exception { return new String(getData(path, false, null)); }
    }
    static Client open(String at, int timeout) throws Exception {
        Log l = new Log();
        Client c = new Client(at, timeout, l);
        l.await(KeeperState.SyncConnected);
        return c;
    }
    static Client open() throws Exception { return open(ZK, 8000); }

    static void check(boolean ok, String why) { if (!ok) throw new AssertionError(why); }
    static void eq(Object want, Object got) { check(Objects.equals(want, got), "expected " + want + ", got " + got); }
    static void near(long want, long got, long off, String what) { check(Math.abs(want - got) <= off, what + " " + got + ", expected about " + want); }

    interface Act { void run() throws Exception; }
    static void fails(KeeperException.Code code, Act a) throws Exception {
        try { a.run(); } catch (KeeperException e) { eq(code, e.code()); return; }
        throw new AssertionError("expected " + code + ", got success");
    }
    static void until(String what, Callable<Boolean> c) throws Exception {
        long end = System.currentTimeMillis() + 2 * WAIT;
        while (!c.call()) { check(System.currentTimeMillis() < end, "never: " + what); Thread.sleep(50); }
    }
    /** One order to the driver: drop, pause, resume, restart. */
    static void ctl(String order) throws Exception {
        String[] a = CTL.split(":");
        try (Socket s = new Socket(a[0], Integer.parseInt(a[1]))) {
            s.getOutputStream().write((order + "\n").getBytes());
            String r = new BufferedReader(new InputStreamReader(s.getInputStream())).readLine();
            eq("ok", r);
        }
    }

    public static void main(String[] args) throws Exception {
        cases();
        System.out.println("plan " + String.join(" ", CASES.keySet()));
        int n = 0, failed = 0;
        for (Map.Entry<String, Body> c : CASES.entrySet()) {
            if (args.length > 0 && !Arrays.asList(args).contains(c.getKey())) continue;
            String root = "/java" + n++;
            FutureTask<Void> t = new FutureTask<>(() -> {
                try (Client z = open()) { z.put(root, ""); }
                c.getValue().run(root);
                return null;
            });
            Thread th = new Thread(t);
            th.setDaemon(true);
            th.start();
            try {
                t.get(60, TimeUnit.SECONDS);
                System.out.println("ok " + c.getKey());
            } catch (Exception e) {
                failed++;
                Throwable why = e instanceof ExecutionException ? e.getCause() : e;
                StackTraceElement at = null;
                for (StackTraceElement f : why.getStackTrace())
                    if (f.getMethodName().startsWith("lambda$")) { at = f; break; }
                System.out.println("FAIL " + c.getKey() + " " + String.valueOf(why).replace('\n', ' ')
                        + (at == null ? "" : " (line " + at.getLineNumber() + ")"));
                ctl("resume");
            }
            System.out.flush();
        }
        System.exit(failed == 0 ? 0 : 1);
    }

    // ---- the cases ------------------------------------------------------------------

    static void cases() {
        session();
        nodes();
        data();
        acl();
        multi();
        watches();
        other();
    }

    static void session() {
        test("connect", r -> {
            try (Client z = open()) {
                check(z.getSessionId() != 0, "session id 0");
                eq(16, z.getSessionPasswd().length);
                eq(ZooKeeper.States.CONNECTED, z.getState());
            }
        });
        test("timeout-negotiation", r -> {
            try (Client z = open(ZK, 600)) { eq(1000, z.getSessionTimeout()); }
            try (Client z = open(ZK, 10_000_000)) { eq(10_000, z.getSessionTimeout()); }
            try (Client z = open(ZK, 4321)) { eq(4321, z.getSessionTimeout()); }
        });
        test("read-only-flag", r -> {
            Log l = new Log();
            ZooKeeper z = new ZooKeeper(ZK, 8000, l, true);
            l.await(KeeperState.SyncConnected);
            z.create(r + "/a", null, OPEN, CreateMode.PERSISTENT);
            z.close();
        });
        test("session-reopen", r -> {
            Client a = open(ZKP, 8000);
            long id = a.getSessionId();
            byte[] pw = a.getSessionPasswd();
            a.create(r + "/e", null, OPEN, CreateMode.EPHEMERAL);
            ctl("pause"); // or the two would take the session from each other
            Log l = new Log();
            ZooKeeper b = new ZooKeeper(ZK, 8000, l, id, pw);
            l.await(KeeperState.SyncConnected);
            eq(id, b.getSessionId());
            eq(id, b.exists(r + "/e", false).getEphemeralOwner());
            b.close();
            try (Client c = open()) { eq(null, c.exists(r + "/e", false)); }
            ctl("resume");
            a.close();
        });
        test("session-wrong-password", r -> {
            try (Client a = open()) {
                byte[] pw = a.getSessionPasswd().clone();
                pw[3] ^= 1;
                Log l = new Log();
                ZooKeeper b = new ZooKeeper(ZK, 8000, l, a.getSessionId(), pw);
                l.await(KeeperState.Expired);
                b.close();
                Log m = new Log();
                ZooKeeper d = new ZooKeeper(ZK, 8000, m, 0x1234567L, new byte[16]);
                m.await(KeeperState.Expired);
                d.close();
            }
        });
        test("session-close", r -> {
            try (Client b = open()) {
                Client a = open();
                for (int i = 0; i < 20; i++) a.create(r + "/e" + i, null, OPEN, CreateMode.EPHEMERAL);
                b.exists(r + "/e7", true);
                a.close();
                b.log.expect("NodeDeleted " + r + "/e7");
                eq(0, b.getChildren(r, false).size());
            }
        });
        test("session-expiry", r -> {
            try (Client b = open()) {
                Client a = open(ZKP, 3000);
                a.create(r + "/e", null, OPEN, CreateMode.EPHEMERAL);
                b.exists(r + "/e", true);
                ctl("pause");
                b.log.expect("NodeDeleted " + r + "/e");
                ctl("resume");
                a.log.await(KeeperState.Expired);
                fails(KeeperException.Code.SESSIONEXPIRED, () -> a.exists("/", false));
                a.close();
            }
        });
        test("session-kept-by-pings", r -> {
            try (Client a = open(ZK, 3000)) {
                a.create(r + "/e", null, OPEN, CreateMode.EPHEMERAL);
                Thread.sleep(5000);
                check(a.exists(r + "/e", false) != null, "the ephemeral is gone");
            }
        });
        test("reconnect", r -> {
            try (Client a = open(ZKP, 8000)) {
                long id = a.getSessionId();
                a.create(r + "/e", null, OPEN, CreateMode.EPHEMERAL);
                ctl("drop");
                until("an answer", () -> {
                    try { return a.exists(r + "/e", false) != null; }
                    catch (KeeperException.ConnectionLossException e) { return false; }
                });
                eq(id, a.getSessionId());
            }
        });
        test("server-restart", r -> {
            try (Client a = open(ZKP, 10_000)) {
                long id = a.getSessionId();
                a.create(r + "/e", null, OPEN, CreateMode.EPHEMERAL);
                for (int i = 0; i < 200; i++) a.put(r + "/n" + i, "v" + i);
                Stat before = a.exists(r + "/n100", false);
                ctl("restart");
                until("an answer", () -> {
                    try { return a.exists(r + "/e", false) != null; }
                    catch (KeeperException.ConnectionLossException e) { return false; }
                });
                eq(id, a.getSessionId());
                eq(201, a.getChildren(r, false).size());
                eq("v199", a.read(r + "/n199"));
                eq(before, a.exists(r + "/n100", false));
                Stat s = new Stat();
                a.create(r + "/after", null, OPEN, CreateMode.PERSISTENT, s);
                check(s.getCzxid() > before.getCzxid() + 99, "the zxid went back");
            }
        });
    }

    static void nodes() {
        test("create", r -> {
            try (Client z = open()) {
                eq(r + "/a", z.create(r + "/a", "x".getBytes(), OPEN, CreateMode.PERSISTENT));
                eq("x", z.read(r + "/a"));
                fails(KeeperException.Code.NODEEXISTS, () -> z.put(r + "/a", ""));
                fails(KeeperException.Code.NONODE, () -> z.put(r + "/no/a", ""));
                fails(KeeperException.Code.NODEEXISTS, () -> z.put("/", ""));
            }
        });
        test("create-stat", r -> {
            try (Client z = open()) {
                Stat s = new Stat();
                eq(r + "/a", z.create(r + "/a", "xyz".getBytes(), OPEN, CreateMode.PERSISTENT, s));
                eq(s, z.exists(r + "/a", false));
                eq(3, s.getDataLength());
                eq(s.getCzxid(), s.getMzxid());
                eq(s.getCzxid(), s.getPzxid());
                near(System.currentTimeMillis(), s.getCtime(), 60_000, "ctime");
                eq(s.getCzxid(), z.exists(r, false).getPzxid());
            }
        });
        test("create-ephemeral", r -> {
            try (Client z = open()) {
                Stat s = new Stat();
                z.create(r + "/e", null, OPEN, CreateMode.EPHEMERAL, s);
                eq(z.getSessionId(), s.getEphemeralOwner());
                fails(KeeperException.Code.NOCHILDRENFOREPHEMERALS, () -> z.put(r + "/e/x", ""));
            }
        });
        test("create-sequential", r -> {
            try (Client z = open()) {
                eq(r + "/s-0000000000", z.create(r + "/s-", null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL));
                eq(r + "/0000000001", z.create(r + "/", null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL));
                z.put(r + "/plain", "");
                z.delete(r + "/plain", -1);
                eq(r + "/e-0000000003", z.create(r + "/e-", null, OPEN, CreateMode.EPHEMERAL_SEQUENTIAL));
                check(z.exists(r + "/e-0000000003", false).getEphemeralOwner() == z.getSessionId(), "not ephemeral");
            }
        });
        test("create-container", r -> {
            try (Client z = open()) {
                Stat s = new Stat();
                z.create(r + "/c", null, OPEN, CreateMode.CONTAINER, s);
                eq(0L, s.getEphemeralOwner());
                z.put(r + "/c/x", "");
                z.delete(r + "/c/x", -1);
                until("the container is gone", () -> z.exists(r + "/c", false) == null);
            }
        });
        test("create-ttl", r -> {
            try (Client z = open()) {
                Stat s = new Stat();
                z.create(r + "/t", "t".getBytes(), OPEN, CreateMode.PERSISTENT_WITH_TTL, s, 500);
                eq(0L, s.getEphemeralOwner());
                String p = z.create(r + "/s-", null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL_WITH_TTL, s, 600_000);
                eq(r + "/s-0000000001", p);
                until("the TTL node is gone", () -> z.exists(r + "/t", false) == null);
                check(z.exists(p, false) != null, "the other TTL node went too early");
                fails(KeeperException.Code.BADARGUMENTS, () -> {
                    try { z.create(r + "/u", null, OPEN, CreateMode.PERSISTENT_WITH_TTL, s, 1L << 41); }
                    catch (IllegalArgumentException e) { throw new KeeperException.BadArgumentsException(); }
                });
            }
        });
        test("delete", r -> {
            try (Client z = open()) {
                z.put(r + "/a", "");
                z.put(r + "/a/b", "");
                fails(KeeperException.Code.NOTEMPTY, () -> z.delete(r + "/a", -1));
                fails(KeeperException.Code.BADVERSION, () -> z.delete(r + "/a/b", 1));
                z.delete(r + "/a/b", 0);
                z.delete(r + "/a", -1);
                fails(KeeperException.Code.NONODE, () -> z.delete(r + "/a", -1));
                fails(KeeperException.Code.BADARGUMENTS, () -> z.delete("/zookeeper", -1));
                ZKUtil.deleteRecursive(z, r);
                eq(null, z.exists(r, false));
            }
        });
        test("exists", r -> {
            try (Client z = open()) {
                eq(null, z.exists(r + "/a", false));
                z.put(r + "/a", "12");
                eq(2, z.exists(r + "/a", false).getDataLength());
            }
        });
        test("get-children", r -> {
            try (Client z = open()) {
                for (String n : "a b c d".split(" ")) z.put(r + "/" + n, "");
                eq(new TreeSet<>(List.of("a", "b", "c", "d")), new TreeSet<>(z.getChildren(r, false)));
                Stat s = new Stat();
                eq(4, z.getChildren(r, false, s).size());
                eq(4, s.getNumChildren());
                eq(4, s.getCversion());
                z.delete(r + "/a", -1);
                eq(5, z.exists(r, false).getCversion());
                fails(KeeperException.Code.NONODE, () -> z.getChildren(r + "/no", false));
                check(z.getChildren("/", false).contains("zookeeper"), "no /zookeeper");
            }
        });
        test("path-rules", r -> {
            try (Client z = open()) {
                String odd = r + "/\u00e4\u6f22 space-%~";
                z.put(odd, "odd");
                eq("odd", z.read(odd));
                check(z.getChildren(r, false).contains(odd.substring(r.length() + 1)), "the name is not listed");
                for (String bad : new String[] {"a", "/a/", "/a//b", "/a/./b", "/a/../b", "/a\u0001b"}) {
                    try { z.put(bad, ""); check(false, bad + " was accepted"); }
                    catch (IllegalArgumentException e) { /* the client refuses it */ }
                }
            }
        });
        test("chroot", r -> {
            try (Client z = open(ZK + r, 8000)) {
                z.put("/a", "1");
                eq("/a/s0000000000", z.create("/a/s", null, OPEN, CreateMode.PERSISTENT_SEQUENTIAL));
                z.getData("/a", true, null);
                z.setData("/a", null, -1);
                z.log.expect("NodeDataChanged /a");
            }
        });
    }

    static void data() {
        test("get-set-data", r -> {
            try (Client z = open()) {
                z.put(r + "/a", "0");
                Stat s = z.setData(r + "/a", "one".getBytes(), 0);
                eq(1, s.getVersion());
                Stat t = new Stat();
                eq("one", new String(z.getData(r + "/a", false, t)));
                eq(s, t);
                check(s.getMzxid() > s.getCzxid(), "mzxid");
                fails(KeeperException.Code.BADVERSION, () -> z.setData(r + "/a", null, 0));
                z.setData(r + "/a", "two".getBytes(), -1);
                eq(2, z.exists(r + "/a", false).getVersion());
                fails(KeeperException.Code.NONODE, () -> z.setData(r + "/no", null, -1));
                fails(KeeperException.Code.NONODE, () -> z.getData(r + "/no", false, null));
            }
        });
        test("null-and-empty-data", r -> {
            try (Client z = open()) {
                z.create(r + "/n", null, OPEN, CreateMode.PERSISTENT);
                z.create(r + "/e", new byte[0], OPEN, CreateMode.PERSISTENT);
                eq(null, z.getData(r + "/n", false, null));
                eq(0, z.getData(r + "/e", false, null).length);
                eq(0, z.exists(r + "/n", false).getDataLength());
            }
        });
        test("large-data", r -> {
            byte[] big = new byte[0xfffff - 200];
            new Random(1).nextBytes(big);
            try (Client z = open()) {
                z.create(r + "/big", big, OPEN, CreateMode.PERSISTENT);
                check(Arrays.equals(big, z.getData(r + "/big", false, null)), "differs");
                big[17]++;
                z.setData(r + "/big", big, -1);
                check(Arrays.equals(big, z.getData(r + "/big", false, null)), "differs");
            }
        });
        test("over-maxbuffer", r -> {
            try (Client z = open()) {
                fails(KeeperException.Code.CONNECTIONLOSS,
                        () -> z.create(r + "/big", new byte[0xfffff], OPEN, CreateMode.PERSISTENT));
                until("an answer", () -> {
                    try { return z.exists(r + "/big", false) == null; }
                    catch (KeeperException.ConnectionLossException e) { return false; }
                });
            }
        });
        test("many-children", r -> {
            try (Client z = open()) {
                CountDownLatch l = new CountDownLatch(3000);
                for (int i = 0; i < 3000; i++)
                    z.create(r + "/child-with-a-long-name-" + i, null, OPEN, CreateMode.PERSISTENT,
                            (rc, p, c, n) -> { if (rc == 0) l.countDown(); }, null);
                check(l.await(60, TimeUnit.SECONDS), "not all created");
                eq(3000, z.getChildren(r, false).size());
            }
        });
    }

    static List<ACL> digest(int perms, String idpw) throws Exception {
        return Arrays.asList(new ACL(perms, new Id("digest", DigestAuthenticationProvider.generateDigest(idpw))));
    }

    static void acl() {
        test("acl-get-set", r -> {
            try (Client z = open()) {
                z.put(r + "/a", "");
                Stat s = new Stat();
                eq(OPEN, z.getACL(r + "/a", s));
                eq(0, s.getAversion());
                List<ACL> mine = Arrays.asList(new ACL(ZooDefs.Perms.ALL, ZooDefs.Ids.ANYONE_ID_UNSAFE),
                        new ACL(ZooDefs.Perms.READ, new Id("ip", "10.0.0.0/8")));
                eq(1, z.setACL(r + "/a", mine, 0).getAversion());
                eq(mine, z.getACL(r + "/a", s));
                fails(KeeperException.Code.BADVERSION, () -> z.setACL(r + "/a", OPEN, 0));
                fails(KeeperException.Code.NONODE, () -> z.setACL(r + "/no", OPEN, 0));
            }
        });
        test("acl-invalid", r -> {
            try (Client z = open()) {
                fails(KeeperException.Code.INVALIDACL, () -> z.create(r + "/a", null,
                        Arrays.asList(new ACL(31, new Id("nosuch", "x"))), CreateMode.PERSISTENT));
                fails(KeeperException.Code.INVALIDACL, () -> z.create(r + "/a", null,
                        Arrays.asList(new ACL(31, new Id("world", "x"))), CreateMode.PERSISTENT));
                fails(KeeperException.Code.INVALIDACL, () -> z.create(r + "/a", null,
                        ZooDefs.Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT));
                fails(KeeperException.Code.INVALIDACL, () -> z.create(r + "/a", null,
                        new ArrayList<>(), CreateMode.PERSISTENT));
            }
        });
        test("auth-digest", r -> {
            try (Client a = open(); Client b = open()) {
                a.addAuthInfo("digest", "ann:secret".getBytes());
                a.create(r + "/a", "x".getBytes(), ZooDefs.Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
                eq(digest(31, "ann:secret"), a.getACL(r + "/a", null));
                fails(KeeperException.Code.NOAUTH, () -> b.getData(r + "/a", false, null));
                fails(KeeperException.Code.NOAUTH, () -> b.setData(r + "/a", null, -1));
                fails(KeeperException.Code.NOAUTH, () -> b.getChildren(r + "/a", false));
                fails(KeeperException.Code.NOAUTH, () -> b.put(r + "/a/b", ""));
                fails(KeeperException.Code.NOAUTH, () -> b.exists(r + "/a", false));
                fails(KeeperException.Code.NOAUTH, () -> b.setACL(r + "/a", OPEN, -1));
                fails(KeeperException.Code.NOAUTH, () -> b.getACL(r + "/a", null));
                b.addAuthInfo("digest", "ann:wrong".getBytes());
                fails(KeeperException.Code.NOAUTH, () -> b.getData(r + "/a", false, null));
                b.addAuthInfo("digest", "ann:secret".getBytes());
                eq("x", b.read(r + "/a"));
            }
        });
        test("auth-again-after-reconnect", r -> {
            try (Client a = open(ZKP, 8000)) {
                a.addAuthInfo("digest", "ann:secret".getBytes());
                a.create(r + "/a", "x".getBytes(), ZooDefs.Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
                ctl("drop");
                until("an answer", () -> {
                    try { return "x".equals(a.read(r + "/a")); }
                    catch (KeeperException.ConnectionLossException e) { return false; }
                });
            }
        });
        test("auth-failed", r -> {
            Client a = open();
            a.addAuthInfo("nosuch", "x".getBytes());
            a.log.await(KeeperState.AuthFailed);
            fails(KeeperException.Code.AUTHFAILED, () -> a.exists("/", false));
            a.close();
        });
        test("acl-permissions", r -> {
            try (Client a = open(); Client b = open()) {
                b.addAuthInfo("digest", "bob:b".getBytes());
                String[] names = {"read", "write", "create", "delete", "admin"};
                for (int i = 0; i < 5; i++) {
                    String p = r + "/" + names[i];
                    a.put(p, "d");
                    a.put(p + "/kid", "");
                    a.setACL(p, digest(1 << i, "bob:b"), -1);
                    Act[] acts = {() -> b.getData(p, false, null), () -> b.setData(p, null, -1),
                            () -> b.put(p + "/new", ""), () -> b.delete(p + "/kid", -1),
                            () -> b.setACL(p, digest(16, "bob:b"), -1)};
                    for (int j = 0; j < 5; j++)
                        if (i == j) acts[j].run();
                        else fails(KeeperException.Code.NOAUTH, acts[j]);
                }
            }
        });
        test("acl-masked", r -> {
            try (Client a = open()) {
                a.put(r + "/a", "");
                List<ACL> l = new ArrayList<>(digest(31, "ann:secret"));
                l.add(new ACL(1, ZooDefs.Ids.ANYONE_ID_UNSAFE));
                a.setACL(r + "/a", l, -1);
                eq("ann:x", a.getACL(r + "/a", null).get(0).getId().getId());
            }
        });
        test("acl-ip", r -> {
            try (Client a = open()) {
                a.create(r + "/yes", null, Arrays.asList(new ACL(31, new Id("ip", "127.0.0.0/8"))), CreateMode.PERSISTENT);
                a.create(r + "/no", null, Arrays.asList(new ACL(31, new Id("ip", "10.1.2.3"))), CreateMode.PERSISTENT);
                a.getData(r + "/yes", false, null);
                fails(KeeperException.Code.NOAUTH, () -> a.getData(r + "/no", false, null));
            }
        });
        test("super-user", r -> {
            try (Client a = open()) {
                a.create(r + "/no", "x".getBytes(), Arrays.asList(new ACL(31, new Id("ip", "10.1.2.3"))), CreateMode.PERSISTENT);
                fails(KeeperException.Code.NOAUTH, () -> a.getData(r + "/no", false, null));
                a.addAuthInfo("digest", SUPER.getBytes());
                eq("x", a.read(r + "/no"));
                a.setACL(r + "/no", OPEN, -1);
            }
        });
    }

    static void multi() {
        test("multi", r -> {
            try (Client z = open()) {
                List<OpResult> l = z.multi(List.of(
                        Op.create(r + "/a", "1".getBytes(), OPEN, CreateMode.PERSISTENT),
                        Op.check(r + "/a", 0),
                        Op.setData(r + "/a", "2".getBytes(), 0),
                        Op.create(r + "/a/s", null, OPEN, CreateMode.EPHEMERAL_SEQUENTIAL),
                        Op.create(r + "/b", null, OPEN, CreateMode.PERSISTENT),
                        Op.delete(r + "/b", -1)));
                eq(6, l.size());
                eq(r + "/a", ((OpResult.CreateResult) l.get(0)).getPath());
                check(l.get(1) instanceof OpResult.CheckResult, "check result");
                eq(1, ((OpResult.SetDataResult) l.get(2)).getStat().getVersion());
                eq(r + "/a/s0000000000", ((OpResult.CreateResult) l.get(3)).getPath());
                check(l.get(5) instanceof OpResult.DeleteResult, "delete result");
                eq("2", z.read(r + "/a"));
                Stat a = z.exists(r + "/a", false);
                eq(a.getCzxid(), a.getMzxid());
                eq(a.getCzxid(), a.getPzxid());
                eq(0, z.multi(List.of()).size());
            }
        });
        test("multi-failed", r -> {
            try (Client z = open()) {
                try {
                    z.multi(List.of(
                            Op.create(r + "/a", null, OPEN, CreateMode.PERSISTENT),
                            Op.check(r, 77),
                            Op.delete(r + "/never", -1)));
                    check(false, "it went through");
                } catch (KeeperException e) {
                    eq(KeeperException.Code.BADVERSION, e.code());
                    List<Integer> codes = new ArrayList<>();
                    for (OpResult o : e.getResults()) codes.add(((OpResult.ErrorResult) o).getErr());
                    eq(List.of(0, -103, -2), codes);
                }
                eq(null, z.exists(r + "/a", false));
                eq(0, z.exists(r, false).getCversion());
            }
        });
        test("multi-container-ttl", r -> {
            try (Client z = open()) {
                List<OpResult> l = z.multi(List.of(
                        Op.create(r + "/c", null, OPEN, CreateMode.CONTAINER),
                        Op.create(r + "/t", null, OPEN, CreateMode.PERSISTENT_WITH_TTL, 600_000)));
                eq(2, l.size());
                eq(r + "/c", ((OpResult.CreateResult) l.get(0)).getPath());
                eq(r + "/t", ((OpResult.CreateResult) l.get(1)).getPath());
                check(((OpResult.CreateResult) l.get(0)).getStat() != null, "no stat");
            }
        });
        test("multi-read", r -> {
            try (Client z = open()) {
                z.put(r + "/a", "A");
                List<OpResult> l = z.multi(List.of(Op.getData(r + "/a"), Op.getChildren(r), Op.getData(r + "/no")));
                eq("A", new String(((OpResult.GetDataResult) l.get(0)).getData()));
                eq(List.of("a"), ((OpResult.GetChildrenResult) l.get(1)).getChildren());
                eq(-101, ((OpResult.ErrorResult) l.get(2)).getErr());
            }
        });
        test("multi-async", r -> {
            try (Client z = open()) {
                CompletableFuture<Integer> f = new CompletableFuture<>();
                z.multi(List.of(Op.create(r + "/a", null, OPEN, CreateMode.PERSISTENT), Op.delete(r + "/no", -1)),
                        (rc, p, c, res) -> f.complete(rc), null);
                eq(-101, f.get(60, TimeUnit.SECONDS));
            }
        });
    }

    static void watches() {
        test("watch-data", r -> {
            try (Client a = open(); Client b = open()) {
                a.put(r + "/x", "0");
                a.getData(r + "/x", true, null);
                b.setData(r + "/x", "1".getBytes(), -1);
                a.log.expect("NodeDataChanged " + r + "/x");
                b.setData(r + "/x", "2".getBytes(), -1);
                a.log.quiet();
                a.getData(r + "/x", true, null);
                b.delete(r + "/x", -1);
                a.log.expect("NodeDeleted " + r + "/x");
            }
        });
        test("watch-exists", r -> {
            try (Client a = open(); Client b = open()) {
                a.exists(r + "/x", true);
                b.put(r + "/x", "");
                a.log.expect("NodeCreated " + r + "/x");
                a.exists(r + "/x", true);
                b.setData(r + "/x", null, -1);
                a.log.expect("NodeDataChanged " + r + "/x");
                a.log.quiet();
            }
        });
        test("watch-children", r -> {
            try (Client a = open(); Client b = open()) {
                a.getChildren(r, true);
                b.put(r + "/x", "");
                a.log.expect("NodeChildrenChanged " + r);
                b.put(r + "/y", "");
                a.log.quiet();
                a.getChildren(r + "/y", true);
                a.getData(r + "/y", true, null);
                b.delete(r + "/y", -1);
                a.log.expect("NodeDeleted " + r + "/y");
                a.log.quiet();
            }
        });
        test("watch-before-reply", r -> {
            try (Client a = open(); Client b = open()) {
                a.put(r + "/x", "0");
                for (int i = 1; i <= 50; i++) {
                    a.getData(r + "/x", true, null);
                    b.setData(r + "/x", ("" + i).getBytes(), -1);
                    CountDownLatch done = new CountDownLatch(1);
                    List<String> seen = Collections.synchronizedList(new ArrayList<>());
                    String want = "" + i;
                    while (!a.read(r + "/x").equals(want)) Thread.sleep(1);
                    a.getData(r + "/x", false, (rc, p, c, d, s) -> {
                        seen.addAll(a.log.events); done.countDown();
                    }, null);
                    check(done.await(60, TimeUnit.SECONDS), "no reply");
                    eq(List.of("NodeDataChanged " + r + "/x"), seen);
                    a.log.events.clear();
                }
            }
        });
        test("watch-persistent", r -> {
            try (Client a = open(); Client b = open()) {
                a.addWatch(r + "/x", AddWatchMode.PERSISTENT);
                b.put(r + "/x", "");
                b.setData(r + "/x", null, -1);
                b.put(r + "/x/k", "");
                b.setData(r + "/x/k", null, -1);
                b.delete(r + "/x/k", -1);
                b.delete(r + "/x", -1);
                String x = " " + r + "/x";
                a.log.expect("NodeCreated" + x, "NodeDataChanged" + x, "NodeChildrenChanged" + x,
                        "NodeChildrenChanged" + x, "NodeDeleted" + x);
                a.log.quiet();
            }
        });
        test("watch-recursive", r -> {
            try (Client a = open(); Client b = open()) {
                a.addWatch(r, AddWatchMode.PERSISTENT_RECURSIVE);
                b.put(r + "/x", "");
                b.put(r + "/x/k", "");
                b.setData(r + "/x/k", null, -1);
                b.delete(r + "/x/k", -1);
                b.delete(r + "/x", -1);
                String x = " " + r + "/x";
                a.log.expect("NodeCreated" + x, "NodeCreated" + x + "/k", "NodeDataChanged" + x + "/k",
                        "NodeDeleted" + x + "/k", "NodeDeleted" + x);
                a.log.quiet();
            }
        });
        test("watch-remove", r -> {
            try (Client a = open(); Client b = open()) {
                Log w = new Log(), v = new Log();
                a.put(r + "/x", "");
                a.getData(r + "/x", w, null);
                a.getChildren(r + "/x", v);
                fails(KeeperException.Code.NOWATCHER, () ->
                        a.removeWatches(r + "/x", new Log(), Watcher.WatcherType.Data, false));
                a.removeWatches(r + "/x", w, Watcher.WatcherType.Data, false);
                w.expect("DataWatchRemoved " + r + "/x");
                a.removeAllWatches(r + "/x", Watcher.WatcherType.Any, false);
                v.expect("ChildWatchRemoved " + r + "/x");
                b.setData(r + "/x", null, -1);
                w.quiet();
                a.addWatch(r, v, AddWatchMode.PERSISTENT_RECURSIVE);
                a.removeWatches(r, v, Watcher.WatcherType.Any, false);
                v.expect("PersistentWatchRemoved " + r);
                b.delete(r + "/x", -1);
                v.quiet();
                fails(KeeperException.Code.NOWATCHER, () ->
                        a.removeAllWatches(r + "/x", Watcher.WatcherType.Any, false));
            }
        });
        test("watch-multi", r -> {
            try (Client a = open(); Client b = open()) {
                a.addWatch(r, AddWatchMode.PERSISTENT_RECURSIVE);
                b.multi(List.of(Op.create(r + "/a", null, OPEN, CreateMode.PERSISTENT),
                        Op.setData(r + "/a", null, -1), Op.delete(r + "/a", -1)));
                String x = " " + r + "/a";
                a.log.expect("NodeCreated" + x, "NodeDataChanged" + x, "NodeDeleted" + x);
            }
        });
        test("watch-acl-filter", r -> {
            try (Client a = open(); Client b = open()) {
                b.addAuthInfo("digest", "bob:b".getBytes());
                a.addWatch(r, AddWatchMode.PERSISTENT_RECURSIVE);
                b.create(r + "/secret", null, ZooDefs.Ids.CREATOR_ALL_ACL, CreateMode.PERSISTENT);
                b.setData(r + "/secret", null, -1);
                b.delete(r + "/secret", -1);
                b.put(r + "/open", "");
                a.log.expect("NodeCreated " + r + "/open");
            }
        });
        test("watches-after-reconnect", r -> {
            try (Client a = open(ZKP, 8000); Client b = open()) {
                for (String n : "data gone kids same".split(" ")) a.put(r + "/" + n, "");
                a.getData(r + "/data", true, null);
                a.exists(r + "/gone", true);
                a.getChildren(r + "/kids", true);
                a.exists(r + "/new", true);
                a.getData(r + "/same", true, null);
                a.addWatch(r + "/pers", AddWatchMode.PERSISTENT);
                a.addWatch(r + "/rec", AddWatchMode.PERSISTENT_RECURSIVE);
                ctl("pause");
                a.log.await(KeeperState.Disconnected);
                b.setData(r + "/data", null, -1);
                b.delete(r + "/gone", -1);
                b.put(r + "/kids/k", "");
                b.put(r + "/new", "");
                ctl("resume");
                a.log.await(KeeperState.SyncConnected);
                Set<String> got = new TreeSet<>();
                for (int i = 0; i < 4; i++) got.add(a.log.next());
                eq(new TreeSet<>(List.of("NodeDataChanged " + r + "/data", "NodeDeleted " + r + "/gone",
                        "NodeChildrenChanged " + r + "/kids", "NodeCreated " + r + "/new")), got);
                a.log.quiet();
                b.setData(r + "/same", null, -1);
                a.log.expect("NodeDataChanged " + r + "/same");
                b.put(r + "/pers", "");
                b.put(r + "/rec", "");
                b.put(r + "/rec/a", "");
                a.log.expect("NodeCreated " + r + "/pers", "NodeCreated " + r + "/rec", "NodeCreated " + r + "/rec/a");
            }
        });
        test("many-watches-after-reconnect", r -> {
            // More than one setWatches packet: the client splits them at 128 KiB.
            try (Client a = open(ZKP, 8000); Client b = open()) {
                String pad = "p".repeat(100);
                CountDownLatch l = new CountDownLatch(4000);
                for (int i = 0; i < 4000; i++)
                    a.exists(r + "/" + pad + i, true, (rc, p, c, s) -> l.countDown(), null);
                check(l.await(60, TimeUnit.SECONDS), "no answers");
                ctl("drop");
                a.log.await(KeeperState.Disconnected);
                a.log.await(KeeperState.SyncConnected);
                b.put(r + "/" + pad + 1, "");
                b.put(r + "/" + pad + 3999, "");
                a.log.expect("NodeCreated " + r + "/" + pad + 1, "NodeCreated " + r + "/" + pad + 3999);
            }
        });
        test("watches-after-server-restart", r -> {
            try (Client a = open(ZKP, 10_000)) {
                a.put(r + "/x", "");
                a.getData(r + "/x", true, null);
                a.addWatch(r + "/p", AddWatchMode.PERSISTENT_RECURSIVE);
                ctl("restart");
                until("an answer", () -> {
                    try { return a.exists(r + "/x", false) != null; }
                    catch (KeeperException.ConnectionLossException e) { return false; }
                });
                try (Client b = open()) {
                    b.setData(r + "/x", null, -1);
                    b.put(r + "/p", "");
                    a.log.expect("NodeDataChanged " + r + "/x", "NodeCreated " + r + "/p");
                }
            }
        });
    }

    static void other() {
        test("sync", r -> {
            try (Client a = open()) {
                CompletableFuture<String> f = new CompletableFuture<>();
                a.sync(r, (rc, p, c) -> f.complete(rc + " " + p), null);
                eq("0 " + r, f.get(60, TimeUnit.SECONDS));
            }
        });
        test("who-am-i", r -> {
            try (Client a = open()) {
                a.addAuthInfo("digest", "ann:secret".getBytes());
                Set<String> s = new TreeSet<>();
                for (ClientInfo i : a.whoAmI()) s.add(i.getAuthScheme() + " " + i.getUser());
                eq(new TreeSet<>(List.of("digest ann", "ip 127.0.0.1")), s);
            }
        });
        test("get-ephemerals", r -> {
            try (Client a = open()) {
                a.create(r + "/e1", null, OPEN, CreateMode.EPHEMERAL);
                a.create(r + "/e2", null, OPEN, CreateMode.EPHEMERAL);
                a.create(r + "/f", null, OPEN, CreateMode.EPHEMERAL);
                eq(3, a.getEphemerals().size());
                eq(new TreeSet<>(List.of(r + "/e1", r + "/e2")), new TreeSet<>(a.getEphemerals(r + "/e")));
            }
        });
        test("get-all-children-number", r -> {
            try (Client a = open()) {
                a.put(r + "/a", "");
                a.put(r + "/a/b", "");
                a.put(r + "/a/b/c", "");
                eq(3, a.getAllChildrenNumber(r));
                eq(0, a.getAllChildrenNumber(r + "/a/b/c"));
                check(a.getAllChildrenNumber("/") > 6, "root");
            }
        });
        test("get-config", r -> {
            try (Client a = open()) {
                Stat s = new Stat();
                eq(0, a.getConfig(false, s).length);
                eq(0L, s.getCzxid());
                fails(KeeperException.Code.NOAUTH, () -> a.setData("/zookeeper/config", null, -1));
            }
        });
        test("reconfig", r -> {
            try (Client a = open()) {
                fails(KeeperException.Code.RECONFIGDISABLED,
                        () -> a.reconfigure("server.5=127.0.0.1:1:2;3", null, null, -1, null));
            }
        });
        test("quota", r -> {
            try (Client a = open()) {
                a.put(r + "/q", "12345");
                StatsTrack t = new StatsTrack();
                t.setCountHardLimit(3);
                t.setByteHardLimit(20);
                SetQuotaCommand.createQuota(a, r + "/q", t);
                a.put(r + "/q/a", "abc");
                StatsTrack now = new StatsTrack(a.getData(Quotas.statPath(r + "/q"), false, null));
                eq(2L, now.getCount());
                eq(8L, now.getBytes());
                a.put(r + "/q/b", "");
                fails(KeeperException.Code.QUOTAEXCEEDED, () -> a.put(r + "/q/c", ""));
                fails(KeeperException.Code.QUOTAEXCEEDED, () -> a.setData(r + "/q/a", new byte[100], -1));
                DelQuotaCommand.delQuota(a, r + "/q", null);
                a.put(r + "/q/c", "");
            }
        });
        test("pipeline-order", r -> {
            try (Client a = open()) {
                int n = 2000;
                List<Integer> order = Collections.synchronizedList(new ArrayList<>());
                CountDownLatch l = new CountDownLatch(3 * n);
                for (int i = 0; i < n; i++) {
                    int k = 3 * i;
                    a.create(r + "/" + i, null, OPEN, CreateMode.PERSISTENT,
                            (rc, p, c, s) -> { order.add(rc == 0 ? k : -1); l.countDown(); }, null);
                    a.exists(r + "/" + i, false,
                            (rc, p, c, s) -> { order.add(rc == 0 ? k + 1 : -1); l.countDown(); }, null);
                    a.delete(r + "/" + i, 0,
                            (rc, p, c) -> { order.add(rc == 0 ? k + 2 : -1); l.countDown(); }, null);
                }
                check(l.await(60, TimeUnit.SECONDS), "answers are missing: " + l.getCount());
                for (int i = 0; i < 3 * n; i++) eq(i, order.get(i));
            }
        });
        test("concurrent-counter", r -> {
            try (Client a = open()) {
                a.put(r + "/n", "0");
                int clients = 6, each = 40;
                List<FutureTask<Void>> all = new ArrayList<>();
                for (int i = 0; i < clients; i++) {
                    FutureTask<Void> t = new FutureTask<>(() -> {
                        try (Client z = open()) {
                            for (int k = 0; k < each; ) {
                                Stat s = new Stat();
                                int v = Integer.parseInt(new String(z.getData(r + "/n", false, s)));
                                try { z.setData(r + "/n", ("" + (v + 1)).getBytes(), s.getVersion()); k++; }
                                catch (KeeperException.BadVersionException e) { /* another was first */ }
                            }
                        }
                        return null;
                    });
                    all.add(t);
                    new Thread(t).start();
                }
                for (FutureTask<Void> t : all) t.get();
                eq("" + clients * each, a.read(r + "/n"));
            }
        });
        test("four-letter-words", r -> {
            eq("imok", word("ruok").trim());
            check(word("srvr").contains("Mode: standalone"), "srvr");
            check(word("mntr").contains("zk_znode_count\t"), "mntr");
            check(word("conf").contains("tickTime=500"), "conf");
            check(word("isro").trim().equals("rw"), "isro");
        });
    }

    static String word(String w) throws Exception {
        String[] a = ZK.split(":");
        return org.apache.zookeeper.client.FourLetterWordMain.send4LetterWord(a[0], Integer.parseInt(a[1]), w);
    }
}
