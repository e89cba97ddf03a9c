import java.io.*;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import org.apache.curator.framework.*;
import org.apache.curator.framework.recipes.leader.LeaderLatch;
import org.apache.curator.framework.state.ConnectionState;
import org.apache.curator.retry.RetryForever;

/** Two contenders for a latch and a writer, while the members of the ensemble in ZK are replaced.
 * A line `move` makes the leader resign; the end of the input ends the run and tells what was seen. */
public class Latch {
    static final String ZK = System.getenv("ZK"), LATCH = "/rolling/latch", NODE = "/rolling/counter";
    static final int SESSION_MS = 40_000;
    static final AtomicInteger lost = new AtomicInteger(), both = new AtomicInteger();
    static volatile boolean over;

    /** A client that counts the sessions that it loses. */
    static CuratorFramework open() throws Exception {
        CuratorFramework c = CuratorFrameworkFactory.newClient(ZK, SESSION_MS, 10_000, new RetryForever(100));
        c.getConnectionStateListenable().addListener((x, s) -> { if (s == ConnectionState.LOST) lost.incrementAndGet(); });
        c.start();
        if (!c.blockUntilConnected(30, TimeUnit.SECONDS)) throw new IllegalStateException("not connected");
        return c;
    }
    static long session(CuratorFramework c) throws Exception { return c.getZookeeperClient().getZooKeeper().getSessionId(); }

    static class Contender {
        final String name;
        final CuratorFramework client = open();
        final long session = session(client);
        volatile LeaderLatch latch;
        Contender(String name) throws Exception { this.name = name; join(); }
        void join() throws Exception { latch = new LeaderLatch(client, LATCH, name); latch.start(); }
        boolean leads() { return latch.hasLeadership(); }
    }

    /** Counts up by compare-and-set, so that the node's version is what was acknowledged. */
    static class Writer extends Thread {
        final CuratorFramework client = open();
        final long session = session(client);
        volatile long acked, longest, unknown;
        volatile String wrong;
        Writer() throws Exception { client.create().creatingParentsIfNeeded().forPath(NODE, "0".getBytes()); }

        /** What is there is what was acknowledged, or one more whose reply was lost. */
        void settle() throws Exception {
            client.sync().forPath(NODE);
            long there = Long.parseLong(new String(client.getData().forPath(NODE)));
            if (there != acked && there != acked + 1) wrong = acked + " acknowledged, " + there + " there";
            acked = there;
        }
        public void run() {
            long last = System.nanoTime();
            while (!over && wrong == null) {
                try {
                    // Without Curator's retries: a second try of a write that was done would fail.
                    client.getZookeeperClient().getZooKeeper().setData(NODE, Long.toString(acked + 1).getBytes(), (int) acked);
                    acked++;
                    long now = System.nanoTime();
                    longest = Math.max(longest, now - last);
                    last = now;
                    Thread.sleep(5);
                } catch (Exception e) {
                    unknown++;
                    try { Thread.sleep(50); settle(); } catch (Exception x) { wrong = x.toString(); }
                }
            }
            try { settle(); } catch (Exception x) { wrong = x.toString(); }
        }
    }

    static Contender leader(Contender a, Contender b, Contender not) throws Exception {
        long end = System.currentTimeMillis() + 60_000;
        while (System.currentTimeMillis() < end) {
            for (Contender c : List.of(a, b)) if (c != not && c.leads()) return c;
            Thread.sleep(20);
        }
        throw new AssertionError("nobody leads");
    }

    static void tell(String feature, boolean ok, String why) {
        System.out.println((ok ? "ok " : "FAIL ") + feature + " " + why);
    }

    public static void main(String[] args) throws Exception {
        Writer writer = new Writer();
        Contender a = new Contender("a"), b = new Contender("b");
        Thread watch = new Thread(() -> {
            while (!over) {
                // Three looks: between two of them the leadership may have moved.
                if (a.leads() && b.leads() && a.leads()) both.incrementAndGet();
                try { Thread.sleep(1); } catch (InterruptedException e) { return; }
            }
        });
        watch.start();
        writer.start();
        leader(a, b, null);
        System.out.println("ready");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        int moves = 0;
        String trouble = "";
        for (String line; (line = in.readLine()) != null; ) {
            try {
                Contender old = leader(a, b, null);
                old.latch.close();
                leader(a, b, old);
                old.join();
                moves++;
                System.out.println("done " + line);
            } catch (Throwable e) {
                trouble = String.valueOf(e);
                System.out.println("failed " + e);
            }
        }
        over = true;
        writer.join();
        watch.join();
        boolean kept = a.session == session(a.client) && b.session == session(b.client) && writer.session == session(writer.client);
        tell("rolling-writer", writer.wrong == null && writer.acked > 500, writer.acked + " writes acknowledged, none lost; longest time without one "
                + writer.longest / 1_000_000 + " ms; " + writer.unknown + " interrupted " + (writer.wrong == null ? "" : writer.wrong));
        tell("rolling-latch", both.get() == 0 && trouble.isEmpty() && moves > 0, moves + " moves, two leaders seen " + both.get() + " times " + trouble);
        tell("rolling-sessions", kept && lost.get() == 0, lost.get() + " sessions lost" + (kept ? "" : ", not the same at the end"));
        System.exit(0);
    }
}
