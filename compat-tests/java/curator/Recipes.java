import java.io.*;
import java.net.Socket;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.framework.api.transaction.CuratorOp;
import org.apache.curator.framework.recipes.atomic.*;
import org.apache.curator.framework.recipes.barriers.*;
import org.apache.curator.framework.recipes.cache.*;
import org.apache.curator.framework.recipes.leader.*;
import org.apache.curator.framework.recipes.locks.*;
import org.apache.curator.framework.recipes.nodes.*;
import org.apache.curator.framework.recipes.queue.*;
import org.apache.curator.framework.recipes.shared.*;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryForever;
import org.apache.curator.x.discovery.*;
import org.apache.zookeeper.CreateMode;

/** The recipes of Curator 5 against the server in ZK, some across a restart of it. */
public class Recipes {
    static final String ZK = System.getenv("ZK"), ZKP = System.getenv("ZKP"), CTL = System.getenv("CTL");

    interface Body { void run(String root) throws Exception; }
    interface Act { void run() throws Exception; }
    static final Map<String, Body> CASES = new LinkedHashMap<>();

    static void check(boolean ok, String why) { if (!ok) throw new AssertionError(why); }
    static void eq(Object want, Object got) { check(Objects.equals(want, got), "expected " + want + ", got " + got); }
    static void until(String what, Callable<Boolean> c) throws Exception {
        long end = System.currentTimeMillis() + 60_000;
        while (!c.call()) { check(System.currentTimeMillis() < end, "never: " + what); Thread.sleep(30); }
    }
    static void ctl(String order) throws Exception {
        String[] a = CTL.split(":");
        try (Socket s = new Socket(a[0], Integer.parseInt(a[1]))) {
            s.getOutputStream().write((order + "\n").getBytes());
            eq("ok", new BufferedReader(new InputStreamReader(s.getInputStream())).readLine());
        }
    }

    static CuratorFramework open(String at, int timeout) throws Exception {
        CuratorFramework c = CuratorFrameworkFactory.newClient(at, timeout, 5000, new RetryForever(100));
        c.start();
        check(c.blockUntilConnected(60, TimeUnit.SECONDS), "not connected");
        return c;
    }
    static CuratorFramework open() throws Exception { return open(ZK, 8000); }

    /** Runs `work` in n threads, each with a client of its own. */
    interface Work { void run(CuratorFramework c, int i) throws Exception; }
    static void together(int n, Work work) throws Exception {
        List<Future<?>> all = new ArrayList<>();
        ExecutorService pool = Executors.newFixedThreadPool(n);
        for (int i = 0; i < n; i++) {
            int k = i;
            all.add(pool.submit(() -> { try (CuratorFramework c = open()) { work.run(c, k); } return null; }));
        }
        for (Future<?> f : all) f.get(120, TimeUnit.SECONDS);
        pool.shutdown();
    }

    /** Counts how many are inside at once. */
    static class Room {
        final AtomicInteger inside = new AtomicInteger(), most = new AtomicInteger(), total = new AtomicInteger();
        void visit() throws Exception {
            most.accumulateAndGet(inside.incrementAndGet(), Math::max);
            total.incrementAndGet();
            Thread.sleep(2);
            inside.decrementAndGet();
        }
    }

    public static void main(String[] args) throws Exception {
        cases();
        System.out.println("plan " + String.join(" ", CASES.keySet()));
        int n = 0, bad = 0;
        for (Map.Entry<String, Body> e : CASES.entrySet()) {
            if (args.length > 0 && !Arrays.asList(args).contains(e.getKey())) continue;
            String root = "/curator" + n++;
            FutureTask<Void> t = new FutureTask<>(() -> { e.getValue().run(root); return null; });
            Thread th = new Thread(t);
            th.setDaemon(true);
            th.start();
            try {
                t.get(60, TimeUnit.SECONDS);
                System.out.println("ok " + e.getKey());
            } catch (Exception x) {
                bad++;
                Throwable why = x instanceof ExecutionException ? x.getCause() : x;
                why.printStackTrace();
                System.out.println("FAIL " + e.getKey() + " " + String.valueOf(why).replace('\n', ' '));
                ctl("resume");
            }
            System.out.flush();
        }
        System.exit(bad == 0 ? 0 : 1);
    }

    static void cases() {
        CASES.put("framework", r -> {
            try (CuratorFramework c = open()) {
                c.create().creatingParentContainersIfNeeded().withMode(CreateMode.PERSISTENT).forPath(r + "/a/b/c", "1".getBytes());
                String p = c.create().withProtection().withMode(CreateMode.EPHEMERAL_SEQUENTIAL).forPath(r + "/a/p-");
                check(c.checkExists().forPath(p) != null, "no protected node");
                List<?> l = c.transaction().forOperations(
                        c.transactionOp().create().forPath(r + "/t", "x".getBytes()),
                        c.transactionOp().setData().forPath(r + "/t", "y".getBytes()),
                        c.transactionOp().check().withVersion(1).forPath(r + "/t"));
                eq(3, l.size());
                eq("y", new String(c.getData().forPath(r + "/t")));
                c.delete().guaranteed().deletingChildrenIfNeeded().forPath(r);
                eq(null, c.checkExists().forPath(r));
                CountDownLatch done = new CountDownLatch(1);
                c.sync().inBackground((x, e) -> { if (e.getResultCode() == 0) done.countDown(); }).forPath("/");
                check(done.await(60, TimeUnit.SECONDS), "no answer in the background");
            }
        });
        CASES.put("namespace", r -> {
            try (CuratorFramework c = open()) {
                CuratorFramework n = c.usingNamespace(r.substring(1) + "/ns");
                n.create().creatingParentsIfNeeded().forPath("/x/y");
                check(c.checkExists().forPath(r + "/ns/x/y") != null, "not under the namespace");
            }
        });
        CASES.put("leader-latch", r -> {
            try (CuratorFramework a = open(); CuratorFramework b = open()) {
                LeaderLatch la = new LeaderLatch(a, r, "a"), lb = new LeaderLatch(b, r, "b");
                la.start();
                check(la.await(60, TimeUnit.SECONDS), "a does not lead");
                lb.start();
                until("two participants", () -> la.getParticipants().size() == 2);
                eq("a", lb.getLeader().getId());
                check(!lb.hasLeadership(), "two leaders");
                la.close();
                check(lb.await(60, TimeUnit.SECONDS), "b does not lead");
                lb.close();
            }
        });
        CASES.put("leader-latch-expired-leader", r -> {
            try (CuratorFramework a = open(ZKP, 3000); CuratorFramework b = open()) {
                LeaderLatch la = new LeaderLatch(a, r, "a"), lb = new LeaderLatch(b, r, "b");
                la.start();
                check(la.await(60, TimeUnit.SECONDS), "a does not lead");
                lb.start();
                until("two participants", () -> lb.getParticipants().size() == 2);
                ctl("pause");
                check(lb.await(60, TimeUnit.SECONDS), "b does not lead");
                until("a has stepped down", () -> !la.hasLeadership());
                ctl("resume");
                until("a takes part again", () -> lb.getParticipants().size() == 2);
                check(lb.hasLeadership(), "b lost it");
                la.close();
                lb.close();
            }
        });
        CASES.put("leader-selector", r -> {
            List<String> order = Collections.synchronizedList(new ArrayList<>());
            Room room = new Room();
            CountDownLatch led = new CountDownLatch(6);
            together(3, (c, i) -> {
                LeaderSelector s = new LeaderSelector(c, r, new LeaderSelectorListenerAdapter() {
                    public void takeLeadership(CuratorFramework x) throws Exception {
                        room.visit();
                        led.countDown();
                    }
                });
                s.autoRequeue();
                s.start();
                check(led.await(60, TimeUnit.SECONDS), "not led often enough");
                s.close();
            });
            eq(1, room.most.get());
        });
        CASES.put("mutex", r -> {
            Room room = new Room();
            together(4, (c, i) -> {
                InterProcessMutex m = new InterProcessMutex(c, r + "/lock");
                for (int k = 0; k < 10; k++) {
                    m.acquire();
                    m.acquire();
                    try { room.visit(); } finally { m.release(); m.release(); }
                }
            });
            eq(1, room.most.get());
            eq(40, room.total.get());
        });
        CASES.put("mutex-timeout-and-revoke", r -> {
            try (CuratorFramework a = open(); CuratorFramework b = open()) {
                InterProcessMutex x = new InterProcessMutex(a, r), y = new InterProcessMutex(b, r);
                CountDownLatch asked = new CountDownLatch(1);
                x.makeRevocable(f -> asked.countDown());
                x.acquire();
                check(!y.acquire(200, TimeUnit.MILLISECONDS), "both hold it");
                for (String n : x.getParticipantNodes()) Revoker.attemptRevoke(b, n);
                check(asked.await(60, TimeUnit.SECONDS), "no revocation");
                x.release();
                check(y.acquire(60, TimeUnit.SECONDS), "not free");
                y.release();
            }
        });
        CASES.put("read-write-lock", r -> {
            try (CuratorFramework a = open(); CuratorFramework b = open()) {
                InterProcessReadWriteLock x = new InterProcessReadWriteLock(a, r), y = new InterProcessReadWriteLock(b, r);
                x.readLock().acquire();
                check(y.readLock().acquire(60, TimeUnit.SECONDS), "readers exclude each other");
                check(!y.writeLock().acquire(200, TimeUnit.MILLISECONDS), "a writer beside readers");
                x.readLock().release();
                y.readLock().release();
                y.writeLock().acquire();
                check(!x.readLock().acquire(200, TimeUnit.MILLISECONDS), "a reader beside a writer");
                check(y.readLock().acquire(60, TimeUnit.SECONDS), "no downgrade");
                y.readLock().release();
                y.writeLock().release();
            }
        });
        CASES.put("semaphore", r -> {
            Room room = new Room();
            together(4, (c, i) -> {
                InterProcessSemaphoreV2 s = new InterProcessSemaphoreV2(c, r, 2);
                for (int k = 0; k < 6; k++) {
                    Lease l = s.acquire(60, TimeUnit.SECONDS);
                    try { room.visit(); } finally { s.returnLease(l); }
                }
            });
            check(room.most.get() <= 2, "more than two inside: " + room.most);
            eq(24, room.total.get());
        });
        CASES.put("multi-lock", r -> {
            try (CuratorFramework a = open(); CuratorFramework b = open()) {
                InterProcessMultiLock m = new InterProcessMultiLock(a, List.of(r + "/1", r + "/2"));
                m.acquire();
                check(!new InterProcessMutex(b, r + "/2").acquire(200, TimeUnit.MILLISECONDS), "not held");
                m.release();
                check(new InterProcessMutex(b, r + "/2").acquire(60, TimeUnit.SECONDS), "not free");
            }
        });
        CASES.put("barrier", r -> {
            try (CuratorFramework a = open(); CuratorFramework b = open()) {
                DistributedBarrier x = new DistributedBarrier(a, r), y = new DistributedBarrier(b, r);
                x.setBarrier();
                check(!y.waitOnBarrier(200, TimeUnit.MILLISECONDS), "no barrier");
                x.removeBarrier();
                check(y.waitOnBarrier(60, TimeUnit.SECONDS), "still a barrier");
            }
        });
        CASES.put("double-barrier", r -> {
            AtomicInteger in = new AtomicInteger(), out = new AtomicInteger();
            together(4, (c, i) -> {
                DistributedDoubleBarrier b = new DistributedDoubleBarrier(c, r, 4);
                check(b.enter(60, TimeUnit.SECONDS), "not entered");
                in.incrementAndGet();
                check(b.leave(60, TimeUnit.SECONDS), "not left");
                eq(4, in.get());
                out.incrementAndGet();
            });
            eq(4, out.get());
        });
        CASES.put("queue", r -> {
            try (CuratorFramework a = open(); CuratorFramework b = open()) {
                QueueSerializer<String> s = new QueueSerializer<>() {
                    public byte[] serialize(String x) { return x.getBytes(); }
                    public String deserialize(byte[] x) { return new String(x); }
                };
                BlockingQueue<String> got = new LinkedBlockingQueue<>();
                QueueConsumer<String> consumer = new QueueConsumer<>() {
                    public void consumeMessage(String m) { got.add(m); }
                    public void stateChanged(CuratorFramework c, ConnectionState n) { }
                };
                DistributedQueue<String> in = QueueBuilder.<String>builder(a, null, s, r).buildQueue();
                DistributedQueue<String> out = QueueBuilder.builder(b, consumer, s, r).lockPath(r + "-locks").buildQueue();
                in.start();
                out.start();
                for (int i = 0; i < 30; i++) in.put("m" + i);
                for (int i = 0; i < 30; i++) eq("m" + i, got.poll(60, TimeUnit.SECONDS));
                in.close();
                out.close();
                SimpleDistributedQueue q = new SimpleDistributedQueue(a, r + "-simple");
                q.offer("x".getBytes());
                eq("x", new String(q.poll(60, TimeUnit.SECONDS)));
            }
        });
        CASES.put("shared-count", r -> {
            try (CuratorFramework a = open(); CuratorFramework b = open()) {
                SharedCount x = new SharedCount(a, r, 7), y = new SharedCount(b, r, 7);
                x.start();
                y.start();
                eq(7, y.getCount());
                x.setCount(8);
                until("the new count", () -> y.getCount() == 8);
                until("set by version", () -> y.trySetCount(y.getVersionedValue(), 9));
                until("the newest count", () -> x.getCount() == 9);
                x.close();
                y.close();
            }
        });
        CASES.put("atomic-long", r -> {
            together(4, (c, i) -> {
                DistributedAtomicLong l = new DistributedAtomicLong(c, r, new RetryForever(5));
                for (int k = 0; k < 10; k++) check(l.increment().succeeded(), "not counted");
            });
            try (CuratorFramework c = open()) {
                eq(40L, new DistributedAtomicLong(c, r, new RetryForever(5)).get().postValue());
            }
        });
        CASES.put("cache", r -> {
            try (CuratorFramework a = open(); CuratorFramework b = open()) {
                b.create().forPath(r, "root".getBytes());
                b.create().forPath(r + "/old", "0".getBytes());
                BlockingQueue<String> seen = new LinkedBlockingQueue<>();
                CuratorCache cache = CuratorCache.build(a, r);
                cache.listenable().addListener(CuratorCacheListener.builder()
                        .forAll((t, o, n) -> seen.add(t + " " + (n == null ? o : n).getPath())).build());
                cache.start();
                Set<String> first = new TreeSet<>(List.of(String.valueOf(seen.poll(60, TimeUnit.SECONDS)),
                        String.valueOf(seen.poll(60, TimeUnit.SECONDS))));
                eq(new TreeSet<>(List.of("NODE_CREATED " + r, "NODE_CREATED " + r + "/old")), first);
                b.create().forPath(r + "/x", "1".getBytes());
                eq("NODE_CREATED " + r + "/x", seen.poll(60, TimeUnit.SECONDS));
                b.setData().forPath(r + "/x", "2".getBytes());
                eq("NODE_CHANGED " + r + "/x", seen.poll(60, TimeUnit.SECONDS));
                eq("2", new String(cache.get(r + "/x").get().getData()));
                b.delete().forPath(r + "/x");
                eq("NODE_DELETED " + r + "/x", seen.poll(60, TimeUnit.SECONDS));
                cache.close();
            }
        });
        CASES.put("cache-across-reconnect", r -> {
            try (CuratorFramework a = open(ZKP, 8000); CuratorFramework b = open()) {
                b.create().creatingParentsIfNeeded().forPath(r + "/x", "1".getBytes());
                CuratorCache cache = CuratorCache.build(a, r);
                cache.start();
                until("cached", () -> cache.get(r + "/x").isPresent());
                ctl("pause");
                b.setData().forPath(r + "/x", "2".getBytes());
                b.create().forPath(r + "/y", "new".getBytes());
                ctl("resume");
                until("changed", () -> new String(cache.get(r + "/x").get().getData()).equals("2") && cache.get(r + "/y").isPresent());
                cache.close();
            }
        });
        CASES.put("persistent-node", r -> {
            try (CuratorFramework a = open(); CuratorFramework b = open()) {
                PersistentNode n = new PersistentNode(a, CreateMode.EPHEMERAL, false, r + "/me", "up".getBytes());
                n.start();
                check(n.waitForInitialCreate(60, TimeUnit.SECONDS), "not created");
                b.delete().forPath(r + "/me");
                until("made again", () -> b.checkExists().forPath(r + "/me") != null);
                n.close();
                until("gone", () -> b.checkExists().forPath(r + "/me") == null);
            }
        });
        CASES.put("persistent-node-across-expiry", r -> {
            try (CuratorFramework a = open(ZKP, 3000); CuratorFramework b = open()) {
                PersistentNode n = new PersistentNode(a, CreateMode.EPHEMERAL, false, r + "/me", "up".getBytes());
                n.start();
                check(n.waitForInitialCreate(60, TimeUnit.SECONDS), "not created");
                ctl("pause");
                until("expired", () -> b.checkExists().forPath(r + "/me") == null);
                ctl("resume");
                until("made again", () -> b.checkExists().forPath(r + "/me") != null);
                n.close();
            }
        });
        CASES.put("persistent-ttl-node", r -> {
            try (CuratorFramework a = open(); CuratorFramework b = open()) {
                PersistentTtlNode n = new PersistentTtlNode(a, r + "/ttl", 3000, "up".getBytes());
                n.start();
                check(n.waitForInitialCreate(60, TimeUnit.SECONDS), "not created");
                Thread.sleep(5000);
                check(b.checkExists().forPath(r + "/ttl") != null, "it was not renewed");
                n.close();
                until("gone", () -> b.checkExists().forPath(r + "/ttl") == null);
            }
        });
        CASES.put("group-member", r -> {
            try (CuratorFramework a = open(); CuratorFramework b = open()) {
                GroupMember x = new GroupMember(a, r, "x", "1".getBytes()), y = new GroupMember(b, r, "y");
                x.start();
                y.start();
                until("both see both", () -> x.getCurrentMembers().size() == 2 && y.getCurrentMembers().size() == 2);
                y.close();
                until("one is left", () -> x.getCurrentMembers().size() == 1);
                x.close();
            }
        });
        CASES.put("service-discovery", r -> {
            try (CuratorFramework a = open(); CuratorFramework b = open()) {
                ServiceInstance<Void> me = ServiceInstance.<Void>builder().name("web").address("127.0.0.1").port(8080).build();
                ServiceDiscovery<Void> d = ServiceDiscoveryBuilder.builder(Void.class).client(a).basePath(r).thisInstance(me).build();
                d.start();
                ServiceDiscovery<Void> e = ServiceDiscoveryBuilder.builder(Void.class).client(b).basePath(r).build();
                e.start();
                eq(1, e.queryForInstances("web").size());
                ServiceProvider<Void> p = e.serviceProviderBuilder().serviceName("web").build();
                p.start();
                until("provided", () -> p.getInstance() != null);
                eq(8080, p.getInstance().getPort());
                d.close();
                until("withdrawn", () -> p.getInstance() == null);
                p.close();
                e.close();
            }
        });
        CASES.put("across-server-restart", r -> {
            try (CuratorFramework a = open(ZKP, 10_000); CuratorFramework b = open(ZKP, 10_000)) {
                long session = a.getZookeeperClient().getZooKeeper().getSessionId();
                LeaderLatch latch = new LeaderLatch(a, r + "/latch", "a");
                latch.start();
                check(latch.await(60, TimeUnit.SECONDS), "no leader");
                InterProcessMutex m = new InterProcessMutex(a, r + "/lock");
                m.acquire();
                PersistentNode n = new PersistentNode(a, CreateMode.EPHEMERAL, false, r + "/me", "up".getBytes());
                n.start();
                check(n.waitForInitialCreate(60, TimeUnit.SECONDS), "not created");
                CuratorCache cache = CuratorCache.build(b, r);
                cache.start();
                until("cached", () -> cache.get(r + "/me").isPresent());
                SharedCount count = new SharedCount(b, r + "/count", 1);
                count.start();
                ctl("restart");
                check(latch.await(60, TimeUnit.SECONDS), "the leader did not come back");
                eq(session, a.getZookeeperClient().getZooKeeper().getSessionId());
                check(!new InterProcessMutex(b, r + "/lock").acquire(200, TimeUnit.MILLISECONDS), "the lock was lost");
                m.release();
                check(new InterProcessMutex(b, r + "/lock").acquire(60, TimeUnit.SECONDS), "the lock is stuck");
                check(b.checkExists().forPath(r + "/me") != null, "the ephemeral is gone");
                a.setData().forPath(r + "/me", "2".getBytes());
                until("the cache follows", () -> new String(cache.get(r + "/me").get().getData()).equals("2"));
                until("counted", () -> count.trySetCount(count.getVersionedValue(), 5));
                latch.close();
                n.close();
                cache.close();
                count.close();
            }
        });
    }
}
