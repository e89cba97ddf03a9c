import java.io.*;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.serialization.*;
import org.apache.zookeeper.*;
import org.apache.zookeeper.data.Stat;

/** A producer and a consumer that count, while the ZooKeeper members under the brokers are replaced.
 * A line `topic NAME` makes a topic; the end of the input ends the run and tells what was seen. */
public class Rolling {
    static final String KAFKA = System.getenv("KAFKA"), ZK = System.getenv("ZK"), TOPIC = "rolling";
    static volatile boolean over;
    static final Set<Integer> acked = ConcurrentHashMap.newKeySet();
    static final AtomicInteger failed = new AtomicInteger();
    static final AtomicLong lastAck = new AtomicLong(), longest = new AtomicLong();
    static final Map<Integer, Integer> seen = new ConcurrentHashMap<>();

    static Map<String, Object> props(Object... more) {
        Map<String, Object> p = new HashMap<>(Map.of("bootstrap.servers", KAFKA, "default.api.timeout.ms", 60_000, "request.timeout.ms", 20_000));
        for (int i = 0; i < more.length; i += 2) p.put((String) more[i], more[i + 1]);
        return p;
    }

    static void topic(Admin admin, String name) throws Exception {
        admin.createTopics(List.of(new NewTopic(name, 4, (short) 2))).all().get();
        long end = System.currentTimeMillis() + 60_000;
        while (true) {
            try {
                TopicDescription d = admin.describeTopics(List.of(name)).allTopicNames().get().get(name);
                if (d.partitions().stream().allMatch(p -> p.leader() != null && p.isr().size() == 2)) return;
            } catch (ExecutionException e) { if (System.currentTimeMillis() > end) throw e; }
            if (System.currentTimeMillis() > end) throw new AssertionError("no leaders of " + name);
            Thread.sleep(100);
        }
    }

    /** The sessions that hold the brokers' registrations. */
    static List<Long> owners() throws Exception {
        CountDownLatch up = new CountDownLatch(1);
        ZooKeeper zk = new ZooKeeper(ZK, 20_000, e -> { if (e.getState() == Watcher.Event.KeeperState.SyncConnected) up.countDown(); });
        try {
            up.await(120, TimeUnit.SECONDS);
            List<Long> out = new ArrayList<>();
            for (int i : new int[] {1, 2}) {
                Stat s = zk.exists("/kafka/brokers/ids/" + i, false);
                out.add(s == null ? 0 : s.getEphemeralOwner());
            }
            return out;
        } finally { zk.close(); }
    }

    static void produce() throws Exception {
        try (KafkaProducer<Integer, byte[]> p = new KafkaProducer<>(props("acks", "all", "linger.ms", 5,
                "max.in.flight.requests.per.connection", 1, "delivery.timeout.ms", 60_000), new IntegerSerializer(), new ByteArraySerializer())) {
            byte[] data = new byte[100];
            lastAck.set(System.nanoTime());
            for (int i = 0; !over; i++) {
                int n = i;
                p.send(new ProducerRecord<>(TOPIC, n, data), (m, e) -> {
                    if (e != null) { failed.incrementAndGet(); e.printStackTrace(); return; }
                    acked.add(n);
                    long now = System.nanoTime();
                    longest.accumulateAndGet(now - lastAck.getAndSet(now), Math::max);
                });
                Thread.sleep(5);
            }
        }
    }

    static void consume(CountDownLatch done) {
        try (KafkaConsumer<Integer, byte[]> c = new KafkaConsumer<>(props("group.id", "rolling-readers",
                "auto.offset.reset", "earliest"), new IntegerDeserializer(), new ByteArrayDeserializer())) {
            c.subscribe(List.of(TOPIC));
            while (done.getCount() > 0) {
                for (ConsumerRecord<Integer, byte[]> r : c.poll(Duration.ofMillis(200))) seen.merge(r.key(), 1, Integer::sum);
            }
        }
    }

    static void tell(String feature, boolean ok, String why) {
        System.out.println((ok ? "ok " : "FAIL ") + feature + " " + why);
    }

    public static void main(String[] args) throws Exception {
        Admin admin = Admin.create(props());
        topic(admin, TOPIC);
        List<Long> before = owners();
        CountDownLatch done = new CountDownLatch(1);
        Thread consumer = new Thread(() -> consume(done));
        consumer.start();
        FutureTask<Void> producer = new FutureTask<>(() -> { produce(); return null; });
        new Thread(producer).start();
        for (long end = System.currentTimeMillis() + 60_000; seen.isEmpty() && System.currentTimeMillis() < end; ) Thread.sleep(50);
        longest.set(0);
        System.out.println("ready");
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        int topics = 0;
        String trouble = "";
        for (String line; (line = in.readLine()) != null; ) {
            try {
                topic(admin, line.split(" ")[1]);
                topics++;
                System.out.println("done " + line);
            } catch (Throwable e) {
                trouble = String.valueOf(e);
                System.out.println("failed " + e);
            }
        }
        over = true;
        producer.get(90, TimeUnit.SECONDS);
        for (long end = System.currentTimeMillis() + 60_000; !seen.keySet().containsAll(acked) && System.currentTimeMillis() < end; ) Thread.sleep(50);
        done.countDown();
        consumer.join();
        Set<Integer> gone = new TreeSet<>(acked);
        gone.removeAll(seen.keySet());
        long twice = seen.values().stream().filter(n -> n > 1).count();
        tell("rolling-kafka-messages", gone.isEmpty() && failed.get() == 0 && acked.size() > 500, acked.size() + " produced, "
                + failed + " failed, " + gone.size() + " lost, " + twice + " twice; longest time without an acknowledged one " + longest.get() / 1_000_000 + " ms");
        tell("rolling-kafka-topics", trouble.isEmpty() && topics > 0, topics + " topics made " + trouble);
        List<Long> after = owners();
        tell("rolling-kafka-sessions", before.equals(after) && !after.contains(0L), "registrations of " + before + ", then of " + after);
        System.exit(0);
    }
}
