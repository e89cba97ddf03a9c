import java.io.*;
import java.net.Socket;
import java.time.Duration;
import java.util.*;
import java.util.concurrent.*;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.*;
import org.apache.kafka.common.acl.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.resource.*;
import org.apache.kafka.common.serialization.*;
import org.apache.zookeeper.ZooKeeper;

/** Two brokers in ZooKeeper mode, used by Kafka's own clients; the cases build on each other. */
public class Brokers {
    static final String KAFKA = System.getenv("KAFKA"), SASL = System.getenv("KAFKA_SASL");
    static final String ZK = System.getenv("ZK"), CTL = System.getenv("CTL");
    static final int RECORDS = 100_000;

    interface Body { void run() throws Exception; }
    static final Map<String, Body> CASES = new LinkedHashMap<>();
    static Admin admin;
    static ZooKeeper zk;

    static void check(boolean ok, String why) { if (!ok) throw new AssertionError(why); }
    static void eq(Object want, Object got) { check(Objects.equals(want, got), "expected " + want + ", got " + got); }

    /** Tries until it holds; errors on the way count as "not yet". */
    static void until(String what, Callable<Boolean> c) throws Exception {
        long end = System.currentTimeMillis() + 40_000;
        Object last = "";
        while (true) {
            try { if (c.call()) return; } catch (ExecutionException e) { last = e.getCause(); } catch (KafkaException e) { last = e; }
            check(System.currentTimeMillis() < end, "never: " + what + " " + last);
            Thread.sleep(100);
        }
    }
    static void ctl(String order) throws Exception {
        String[] a = CTL.split(":");
        try (Socket s = new Socket(a[0], Integer.parseInt(a[1]))) {
            s.getOutputStream().write((order + "\n").getBytes());
            eq("ok", new BufferedReader(new InputStreamReader(s.getInputStream())).readLine());
        }
    }

    static Map<String, Object> props(boolean sasl, Object... more) {
        Map<String, Object> p = new HashMap<>();
        p.put("bootstrap.servers", sasl ? SASL : KAFKA);
        p.put("default.api.timeout.ms", 30_000);
        p.put("request.timeout.ms", 10_000);
        if (sasl) {
            p.put("security.protocol", "SASL_PLAINTEXT");
            p.put("sasl.mechanism", "SCRAM-SHA-256");
            p.put("sasl.jaas.config", "org.apache.kafka.common.security.scram.ScramLoginModule required"
                    + " username=\"bob\" password=\"secret\";");
        }
        for (int i = 0; i < more.length; i += 2) p.put((String) more[i], more[i + 1]);
        return p;
    }

    static void topic(String name) throws Exception {
        admin.createTopics(List.of(new NewTopic(name, 4, (short) 2))).all().get();
        until("leaders of " + name, () -> admin.describeTopics(List.of(name)).allTopicNames().get().get(name)
                .partitions().stream().allMatch(p -> p.leader() != null && p.isr().size() == 2));
    }

    /** One request in flight: a broker that is late to lead refuses the first batch and takes the second,
     * and an idempotent producer can never send the first again (KAFKA-15591). */
    static void produce(String topic, int n) throws Exception {
        try (KafkaProducer<Integer, byte[]> p = new KafkaProducer<>(props(false, "acks", "all", "linger.ms", 5,
                "max.in.flight.requests.per.connection", 1, "batch.size", 65_536,
                "delivery.timeout.ms", 60_000), new IntegerSerializer(), new ByteArraySerializer())) {
            byte[] data = new byte[100];
            List<Future<RecordMetadata>> all = new ArrayList<>(n);
            for (int i = 0; i < n; i++) all.add(p.send(new ProducerRecord<>(topic, i, data)));
            for (Future<RecordMetadata> f : all) f.get();
        }
    }

    /** Reads the whole topic in a new group; every number once, in order in its partition. */
    static void consume(String topic, int n) throws Exception {
        BitSet seen = new BitSet(n);
        int[] last = new int[16];
        Arrays.fill(last, -1);
        try (KafkaConsumer<Integer, byte[]> c = new KafkaConsumer<>(props(false, "group.id", topic + "-readers",
                "auto.offset.reset", "earliest"), new IntegerDeserializer(), new ByteArrayDeserializer())) {
            c.subscribe(List.of(topic));
            long end = System.currentTimeMillis() + 60_000;
            while (seen.cardinality() < n) {
                check(System.currentTimeMillis() < end, "only " + seen.cardinality() + " of " + n + " came");
                for (ConsumerRecord<Integer, byte[]> r : c.poll(Duration.ofMillis(200))) {
                    check(!seen.get(r.key()), "twice: " + r.key());
                    check(r.key() > last[r.partition()], "out of order: " + r.key());
                    last[r.partition()] = r.key();
                    seen.set(r.key());
                }
            }
            c.commitSync();
        }
    }

    static int controller() throws Exception { return admin.describeCluster().controller().get().id(); }

    static void brokers(int n) throws Exception {
        until(n + " brokers", () -> admin.describeCluster().nodes().get().size() == n);
    }

    static void inSync(String topic) throws Exception {
        until("all in sync", () -> admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic)
                .partitions().stream().allMatch(p -> p.isr().size() == 2));
    }

    static String node(String path) throws Exception { return new String(zk.getData("/kafka" + path, false, null)); }

    public static void main(String[] args) throws Exception {
        CASES.put("brokers-register", () -> {
            brokers(2);
            eq(Set.of("1", "2"), new HashSet<>(zk.getChildren("/kafka/brokers/ids", false)));
            until("all name one controller", () -> node("/controller").contains("\"brokerid\":" + controller()));
        });
        CASES.put("create-topics", () -> {
            for (String t : List.of("one", "two", "three")) topic(t);
            until("all listed", () -> admin.listTopics().names().get().containsAll(List.of("one", "two", "three"))); // by either broker
            eq(4, zk.getChildren("/kafka/brokers/topics/one/partitions", false).size());
        });
        CASES.put("produce-consume-100000", () -> {
            produce("one", RECORDS);
            consume("one", RECORDS);
        });
        CASES.put("add-partitions", () -> {
            admin.createPartitions(Map.of("two", NewPartitions.increaseTo(6))).all().get();
            until("six partitions", () -> admin.describeTopics(List.of("two")).allTopicNames().get().get("two").partitions().size() == 6);
        });
        CASES.put("delete-topic", () -> {
            admin.deleteTopics(List.of("three")).all().get();
            until("deleted", () -> zk.exists("/kafka/brokers/topics/three", false) == null);
        });
        CASES.put("dynamic-configs", () -> {
            ConfigResource t = new ConfigResource(ConfigResource.Type.TOPIC, "one");
            ConfigResource b = new ConfigResource(ConfigResource.Type.BROKER, "");
            admin.incrementalAlterConfigs(Map.of(
                    t, List.of(new AlterConfigOp(new ConfigEntry("retention.ms", "123456"), AlterConfigOp.OpType.SET)),
                    b, List.of(new AlterConfigOp(new ConfigEntry("message.max.bytes", "900000"), AlterConfigOp.OpType.SET)))).all().get();
            until("the topic's config", () -> admin.describeConfigs(List.of(t)).all().get().get(t).get("retention.ms").value().equals("123456"));
            ConfigResource one = new ConfigResource(ConfigResource.Type.BROKER, "1");
            until("the broker's config", () -> admin.describeConfigs(List.of(one)).all().get().get(one).get("message.max.bytes").value().equals("900000"));
            check(node("/config/topics/one").contains("123456"), node("/config/topics/one"));
        });
        CASES.put("scram-and-acls", () -> {
            admin.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion("bob",
                    new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), "secret"))).all().get();
            Callable<Boolean> send = () -> {
                try (KafkaProducer<Integer, byte[]> p = new KafkaProducer<>(props(true, "max.block.ms", 5000, "enable.idempotence", false),
                        new IntegerSerializer(), new ByteArraySerializer())) {
                    p.send(new ProducerRecord<>("two", 1, new byte[1])).get();
                    return true;
                }
            };
            try {
                until("a refusal", () -> {
                    try { send.call(); } catch (ExecutionException e) {
                        if (e.getCause() instanceof org.apache.kafka.common.errors.TopicAuthorizationException) return true;
                        throw e;
                    }
                    throw new IllegalStateException("bob may write without an ACL");
                });
            } catch (IllegalStateException e) { throw new AssertionError(e.getMessage()); }
            AclBinding acl = new AclBinding(new ResourcePattern(ResourceType.TOPIC, "two", PatternType.LITERAL),
                    new AccessControlEntry("User:bob", "*", AclOperation.WRITE, AclPermissionType.ALLOW));
            admin.createAcls(List.of(acl)).all().get();
            until("both brokers know the ACL", () -> Set.of(acl).equals(new HashSet<>(admin.describeAcls(AclBindingFilter.ANY).values().get())));
            check(node("/kafka-acl/Topic/two").contains("User:bob"), node("/kafka-acl/Topic/two"));
            until("bob may write", send);
            admin.deleteAcls(List.of(acl.toFilter())).all().get();
            until("no ACL is left", () -> admin.describeAcls(AclBindingFilter.ANY).values().get().isEmpty());
        });
        CASES.put("broker-restart", () -> {
            ctl("broker stop 2");
            brokers(1);
            produce("two", 1000);
            ctl("broker start 2");
            brokers(2);
            inSync("one");
            topic("four");
            produce("four", 5000);
            consume("four", 5000);
        });
        CASES.put("zookeeper-restart", () -> {
            ctl("restart");
            topic("five");
            produce("five", 5000);
            consume("five", 5000);
            brokers(2);
        });
        CASES.put("produce-while-zookeeper-restarts", () -> {
            topic("six");
            FutureTask<Void> t = new FutureTask<>(() -> { produce("six", 20_000); return null; });
            new Thread(t).start();
            ctl("stop");
            Thread.sleep(1000);
            ctl("start");
            t.get(60, TimeUnit.SECONDS);
            consume("six", 20_000);
        });
        CASES.put("controller-failover", () -> {
            int c = controller();
            ctl("broker kill " + c);
            until("another controller", () -> controller() == 3 - c);
            brokers(1);
            until("leaders", () -> admin.describeTopics(List.of("five")).allTopicNames().get().get("five")
                    .partitions().stream().allMatch(p -> p.leader() != null && p.leader().id() == 3 - c));
            produce("two", 1000);
            ctl("broker start " + c);
            brokers(2);
            inSync("five");
            try (Admin fresh = Admin.create(props(false))) { // the old one stays with the old controller
                until("an election of preferred leaders", () -> {
                    fresh.electLeaders(ElectionType.PREFERRED, null).all().get();
                    return true;
                });
            }
            topic("seven");
            produce("seven", 5000);
            consume("seven", 5000);
        });
        runAll();
    }

    /** Runs the cases one after the other, and ends the process. */
    static void runAll() throws Exception {
        System.out.println("plan " + String.join(" ", CASES.keySet()));
        zk = new ZooKeeper(ZK, 8000, e -> { });
        admin = Admin.create(props(false));
        int bad = 0;
        for (Map.Entry<String, Body> e : CASES.entrySet()) {
            FutureTask<Void> t = new FutureTask<>(() -> { e.getValue().run(); return null; });
            Thread th = new Thread(t);
            th.setDaemon(true);
            th.start();
            try {
                t.get(75, TimeUnit.SECONDS);
                System.out.println("ok " + e.getKey());
            } catch (Exception x) {
                bad++;
                Throwable why = x instanceof ExecutionException ? x.getCause() : x;
                why.printStackTrace();
                System.out.println("FAIL " + e.getKey() + " " + String.valueOf(why).replace('\n', ' '));
            }
            System.out.flush();
        }
        System.exit(bad == 0 ? 0 : 1);
    }
}
