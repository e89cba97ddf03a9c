import java.util.*;
import java.util.concurrent.ExecutionException;
import org.apache.kafka.clients.admin.*;
import org.apache.kafka.clients.consumer.*;
import org.apache.kafka.clients.producer.*;
import org.apache.kafka.common.config.ConfigResource;
import org.apache.kafka.common.serialization.*;
import org.apache.zookeeper.*;
import org.apache.zookeeper.client.ZKClientConfig;
import org.apache.zookeeper.data.*;

/** A broker that logs in to a server which requires it, and brokers that fail to; this process logs in as the first. */
public class Logins extends Brokers {
    static final String KIND = System.getenv("LOGIN"), NAME = System.getenv("NAME");

    static List<ACL> acl(String path) throws Exception { return zk.getACL("/kafka" + path, null); }
    static ACL own() { return new ACL(ZooDefs.Perms.ALL, new Id("sasl", NAME)); }
    static ACL everyone() { return new ACL(ZooDefs.Perms.READ, ZooDefs.Ids.ANYONE_ID_UNSAFE); }

    interface Call { void on(ZooKeeper z) throws Exception; }

    static void denied(Call call, ZooKeeper z) throws Exception {
        try { call.on(z); } catch (KeeperException.NoAuthException e) { return; }
        throw new AssertionError("allowed");
    }

    static void topic(String name) throws Exception {
        admin.createTopics(List.of(new NewTopic(name, 1, (short) 1))).all().get();
        until("a leader of " + name, () -> admin.describeTopics(List.of(name)).allTopicNames().get().get(name)
                .partitions().get(0).leader() != null);
    }

    public static void main(String[] args) throws Exception {
        CASES.put(KIND + "-broker", () -> {
            brokers(1);
            eq(List.of("1"), zk.getChildren("/kafka/brokers/ids", false));
            eq(1, controller());
        });
        CASES.put(KIND + "-records", () -> {
            topic("one");
            produce("one", 300);
            consume("one", 300);
        });
        CASES.put(KIND + "-broker-acls", () -> {
            admin.alterUserScramCredentials(List.of(new UserScramCredentialUpsertion("bob",
                    new ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, 4096), "secret"))).all().get();
            until("the user", () -> zk.exists("/kafka/config/users/bob", false) != null);
            eq(Set.of(own(), everyone()), new HashSet<>(acl("/brokers/ids/1")));
            eq(Set.of(own(), everyone()), new HashSet<>(acl("/brokers/topics/one")));
            eq(List.of(own()), acl("/config/users/bob"));
            ZKClientConfig bob = new ZKClientConfig();
            bob.setProperty(ZKClientConfig.LOGIN_CONTEXT_NAME_KEY, "Bob");
            try (ZooKeeper z = new ZooKeeper(ZK, 8000, e -> { }, bob)) {
                check(z.getData("/kafka/brokers/ids/1", false, null).length > 0, "no data");
                denied(c -> c.getData("/kafka/config/users/bob", false, null), z);
                denied(c -> c.setData("/kafka/brokers/topics/one", new byte[0], -1), z);
                denied(c -> c.delete("/kafka/controller", -1), z);
                denied(c -> c.create("/kafka/brokers/ids/3", new byte[0], ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.EPHEMERAL), z);
            }
        });
        CASES.put(KIND + "-server-restart", () -> {
            ctl("restart");
            topic("two");
            produce("two", 300);
            consume("two", 300);
            check(zk.exists("/kafka/brokers/ids/1", false) != null, "the broker is not there");
        });
        CASES.put(KIND + "-broker-wrong", () -> ctl("broker refused 2"));
        CASES.put(KIND + "-broker-without", () -> ctl("broker refused 3"));
        runAll();
    }
}
