/*
 * The C client (libzookeeper-mt) against the server in $ZK. Each case runs in a
 * process of its own and prints `ok <feature>` or `FAIL <feature> <reason>`.
 */
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <time.h>
#include <unistd.h>

#include <zookeeper/zookeeper.h>

static const char *name, *zk, *zkp;
static char root[64];

static void die(int line, const char *fmt, ...) {
    char text[900];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    printf("FAIL %s %s (line %d)\n", name, text, line);
    fflush(stdout);
    _exit(1);
}

#define RC(want, call) do { int rc_ = (call); if (rc_ != (want)) \
    die(__LINE__, "%s: expected %s, got %s", #call, zerror(want), zerror(rc_)); } while (0)
#define CHECK(what) do { if (!(what)) die(__LINE__, "not so: %s", #what); } while (0)
#define STR(want, got) do { if (strcmp(want, got)) die(__LINE__, "expected %s, got %s", want, got); } while (0)
#define UNTIL(what) do { int t_ = 0; while (!(what)) { if (t_++ > 1200) die(__LINE__, "never: %s", #what); \
    usleep(50000); } } while (0)

/* A path below the root of the case; up to eight of them are valid at a time. */
static const char *p(const char *tail) {
    static char buf[8][256];
    static int n;
    char *b = buf[n++ % 8];
    snprintf(b, 256, "%s%s", root, tail);
    return b;
}

static void ctl(const char *order) {
    char host[64], answer[600] = "";
    int port;
    CHECK(sscanf(getenv("CTL"), "%63[^:]:%d", host, &port) == 2);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    inet_pton(AF_INET, host, &a.sin_addr);
    int s = socket(AF_INET, SOCK_STREAM, 0);
    CHECK(connect(s, (struct sockaddr *)&a, sizeof a) == 0);
    CHECK(write(s, order, strlen(order)) > 0 && write(s, "\n", 1) == 1);
    CHECK(read(s, answer, sizeof answer - 1) > 0);
    close(s);
    if (strncmp(answer, "ok", 2)) die(__LINE__, "%s: %s", order, answer);
}

/* A client, with the events it saw. */
struct client {
    zhandle_t *h;
    pthread_mutex_t m;
    pthread_cond_t c;
    char events[64][300];
    int first, last;
};

static const char *event_name(int t) {
    if (t == ZOO_CREATED_EVENT) return "created";
    if (t == ZOO_DELETED_EVENT) return "deleted";
    if (t == ZOO_CHANGED_EVENT) return "changed";
    if (t == ZOO_CHILD_EVENT) return "child";
    return "other";
}

static void watcher(zhandle_t *h, int type, int state, const char *path, void *ctx) {
    struct client *c = ctx;
    if (type == ZOO_SESSION_EVENT || !c) return;
    pthread_mutex_lock(&c->m);
    snprintf(c->events[c->last++ % 64], 300, "%s %s", event_name(type), path);
    pthread_cond_signal(&c->c);
    pthread_mutex_unlock(&c->m);
}

static void expect(struct client *c, const char *kind, const char *path) {
    char want[300], got[300] = "nothing";
    struct timespec end;
    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += 60;
    snprintf(want, sizeof want, "%s %s", kind, path);
    pthread_mutex_lock(&c->m);
    while (c->first == c->last && pthread_cond_timedwait(&c->c, &c->m, &end) == 0) {}
    if (c->first != c->last) strcpy(got, c->events[c->first++ % 64]);
    pthread_mutex_unlock(&c->m);
    STR(want, got);
}

static void quiet(struct client *c) {
    usleep(150000);
    CHECK(c->first == c->last);
}

static struct client *open_with(const char *at, int timeout, const clientid_t *id) {
    struct client *c = calloc(1, sizeof *c);
    pthread_mutex_init(&c->m, NULL);
    pthread_cond_init(&c->c, NULL);
    c->h = zookeeper_init(at, watcher, timeout, id, c, 0);
    CHECK(c->h != NULL);
    return c;
}

static struct client *open_at(const char *at, int timeout) {
    struct client *c = open_with(at, timeout, NULL);
    UNTIL(zoo_state(c->h) == ZOO_CONNECTED_STATE);
    return c;
}

static struct client *client(void) { return open_at(zk, 8000); }

static int create(struct client *c, const char *path, const char *data, int mode, char *made, int len) {
    return zoo_create(c->h, path, data, data ? (int)strlen(data) : -1, &ZOO_OPEN_ACL_UNSAFE, mode, made, len);
}

static void put(struct client *c, const char *path, const char *data) {
    RC(ZOK, create(c, path, data, ZOO_PERSISTENT, NULL, 0));
}

static char *get(struct client *c, const char *path, struct Stat *st) {
    static char buf[1024];
    int len = sizeof buf - 1;
    RC(ZOK, zoo_get(c->h, path, 0, buf, &len, st));
    buf[len > 0 ? len : 0] = 0;
    return buf;
}

static int same(const struct Stat *a, const struct Stat *b) {
    return a->czxid == b->czxid && a->mzxid == b->mzxid && a->ctime == b->ctime && a->mtime == b->mtime &&
           a->version == b->version && a->cversion == b->cversion && a->aversion == b->aversion &&
           a->ephemeralOwner == b->ephemeralOwner && a->dataLength == b->dataLength &&
           a->numChildren == b->numChildren && a->pzxid == b->pzxid;
}

static void done_auth(int rc, const void *data) { *(int *)data = rc; }

static int auth(struct client *c, const char *scheme, const char *cred) {
    static int result;
    result = 12345;
    RC(ZOK, zoo_add_auth(c->h, scheme, cred, strlen(cred), done_auth, &result));
    UNTIL(*(volatile int *)&result != 12345);
    return result;
}

/* ---- the cases ---------------------------------------------------------- */

static void t_connect(void) {
    struct client *c = client();
    CHECK(zoo_client_id(c->h)->client_id != 0);
    RC(ZOK, zookeeper_close(c->h));
}

static void t_timeout(void) {
    CHECK(zoo_recv_timeout(open_at(zk, 600)->h) == 1000);
    CHECK(zoo_recv_timeout(open_at(zk, 1000000)->h) == 10000);
}

static void t_read_only(void) {
    zhandle_t *h = zookeeper_init(zk, watcher, 8000, NULL, NULL, ZOO_READONLY);
    UNTIL(zoo_state(h) == ZOO_CONNECTED_STATE);
    RC(ZOK, zoo_create(h, p("/a"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0));
}

static void t_reopen(void) {
    struct client *a = open_at(zkp, 8000);
    clientid_t id = *zoo_client_id(a->h);
    struct Stat st;
    RC(ZOK, create(a, p("/e"), "", ZOO_EPHEMERAL, NULL, 0));
    ctl("pause");
    struct client *b = open_with(zk, 8000, &id);
    UNTIL(zoo_state(b->h) == ZOO_CONNECTED_STATE);
    CHECK(zoo_client_id(b->h)->client_id == id.client_id);
    RC(ZOK, zoo_exists(b->h, p("/e"), 0, &st));
    CHECK(st.ephemeralOwner == id.client_id);
    RC(ZOK, zookeeper_close(b->h));
    RC(ZNONODE, zoo_exists(client()->h, p("/e"), 0, &st));
    ctl("resume");
}

static void t_wrong_password(void) {
    struct client *a = client();
    clientid_t id = *zoo_client_id(a->h);
    id.passwd[3] ^= 1;
    struct client *b = open_with(zk, 8000, &id);
    UNTIL(zoo_state(b->h) == ZOO_EXPIRED_SESSION_STATE);
    RC(ZOK, zoo_exists(a->h, "/", 0, NULL));
}

static void t_close(void) {
    struct client *a = client(), *b = client();
    RC(ZOK, create(a, p("/e"), "", ZOO_EPHEMERAL, NULL, 0));
    RC(ZOK, zoo_exists(b->h, p("/e"), 1, NULL));
    RC(ZOK, zookeeper_close(a->h));
    expect(b, "deleted", p("/e"));
}

static void t_expiry(void) {
    struct client *b = client(), *a = open_at(zkp, 3000);
    RC(ZOK, create(a, p("/e"), "", ZOO_EPHEMERAL, NULL, 0));
    RC(ZOK, zoo_exists(b->h, p("/e"), 1, NULL));
    ctl("pause");
    expect(b, "deleted", p("/e"));
    ctl("resume");
    UNTIL(zoo_state(a->h) == ZOO_EXPIRED_SESSION_STATE);
}

static void t_pings(void) {
    struct client *a = open_at(zk, 3000);
    RC(ZOK, create(a, p("/e"), "", ZOO_EPHEMERAL, NULL, 0));
    sleep(5);
    RC(ZOK, zoo_exists(a->h, p("/e"), 0, NULL));
}

static void t_reconnect(void) {
    struct client *a = open_at(zkp, 8000);
    int64_t id = zoo_client_id(a->h)->client_id;
    RC(ZOK, create(a, p("/e"), "", ZOO_EPHEMERAL, NULL, 0));
    ctl("drop");
    UNTIL(zoo_exists(a->h, p("/e"), 0, NULL) == ZOK);
    CHECK(zoo_client_id(a->h)->client_id == id);
}

static void t_restart(void) {
    struct client *a = open_at(zkp, 10000);
    struct Stat st;
    int64_t id = zoo_client_id(a->h)->client_id;
    RC(ZOK, create(a, p("/e"), "", ZOO_EPHEMERAL, NULL, 0));
    char n[32];
    for (int i = 0; i < 50; i++) { sprintf(n, "/n%d", i); put(a, p(n), n); }
    ctl("restart");
    UNTIL(zoo_exists(a->h, p("/e"), 0, NULL) == ZOK);
    CHECK(zoo_client_id(a->h)->client_id == id);
    RC(ZOK, zoo_exists(a->h, root, 0, &st));
    CHECK(st.numChildren == 51);
    STR("/n49", get(a, p("/n49"), &st));
}

static void t_create(void) {
    struct client *c = client();
    struct Stat st;
    char made[100];
    RC(ZOK, create(c, p("/a"), "x", ZOO_PERSISTENT, made, sizeof made));
    STR(p("/a"), made);
    STR("x", get(c, p("/a"), &st));
    RC(ZNODEEXISTS, create(c, p("/a"), "", 0, NULL, 0));
    RC(ZNONODE, create(c, p("/no/a"), "", 0, NULL, 0));
}

static void t_create2(void) {
    struct client *c = client();
    struct Stat st, now;
    char made[100];
    RC(ZOK, zoo_create2(c->h, p("/a"), "xyz", 3, &ZOO_OPEN_ACL_UNSAFE, 0, made, sizeof made, &st));
    RC(ZOK, zoo_exists(c->h, p("/a"), 0, &now));
    CHECK(same(&st, &now) && st.dataLength == 3 && st.czxid == st.pzxid);
}

static void t_ephemeral(void) {
    struct client *c = client();
    struct Stat st;
    RC(ZOK, create(c, p("/e"), "", ZOO_EPHEMERAL, NULL, 0));
    RC(ZOK, zoo_exists(c->h, p("/e"), 0, &st));
    CHECK(st.ephemeralOwner == zoo_client_id(c->h)->client_id);
    RC(ZNOCHILDRENFOREPHEMERALS, create(c, p("/e/x"), "", 0, NULL, 0));
}

static void t_sequential(void) {
    struct client *c = client();
    char made[100];
    RC(ZOK, create(c, p("/s-"), "", ZOO_PERSISTENT_SEQUENTIAL, made, sizeof made));
    STR(p("/s-0000000000"), made);
    RC(ZOK, create(c, p("/e-"), "", ZOO_EPHEMERAL_SEQUENTIAL, made, sizeof made));
    STR(p("/e-0000000001"), made);
}

static void t_container(void) {
    struct client *c = client();
    RC(ZOK, create(c, p("/c"), "", ZOO_CONTAINER, NULL, 0));
    put(c, p("/c/x"), "");
    RC(ZOK, zoo_delete(c->h, p("/c/x"), -1));
    UNTIL(zoo_exists(c->h, p("/c"), 0, NULL) == ZNONODE);
}

static void t_ttl(void) {
    struct client *c = client();
    struct Stat st;
    char made[100];
    RC(ZOK, zoo_create2_ttl(c->h, p("/t"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_WITH_TTL, 500, made, 100, &st));
    CHECK(st.ephemeralOwner == 0);
    RC(ZOK, zoo_create_ttl(c->h, p("/s-"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_PERSISTENT_SEQUENTIAL_WITH_TTL, 600000,
                           made, sizeof made));
    STR(p("/s-0000000001"), made);
    UNTIL(zoo_exists(c->h, p("/t"), 0, NULL) == ZNONODE);
}

static void t_delete(void) {
    struct client *c = client();
    put(c, p("/a"), "");
    put(c, p("/a/b"), "");
    RC(ZNOTEMPTY, zoo_delete(c->h, p("/a"), -1));
    RC(ZBADVERSION, zoo_delete(c->h, p("/a/b"), 3));
    RC(ZOK, zoo_delete(c->h, p("/a/b"), 0));
    RC(ZNONODE, zoo_delete(c->h, p("/a/b"), -1));
    RC(ZBADARGUMENTS, zoo_delete(c->h, "/zookeeper", -1));
}

static void t_exists(void) {
    struct client *c = client();
    struct Stat st;
    RC(ZNONODE, zoo_exists(c->h, p("/a"), 0, &st));
    put(c, p("/a"), "12");
    RC(ZOK, zoo_exists(c->h, p("/a"), 0, &st));
    CHECK(st.dataLength == 2);
}

static void t_children(void) {
    struct client *c = client();
    struct String_vector v;
    struct Stat st;
    put(c, p("/a"), "");
    put(c, p("/b"), "");
    RC(ZOK, zoo_get_children(c->h, root, 0, &v));
    CHECK(v.count == 2);
    RC(ZOK, zoo_get_children2(c->h, root, 0, &v, &st));
    CHECK(v.count == 2 && st.numChildren == 2 && st.cversion == 2);
    RC(ZNONODE, zoo_get_children(c->h, p("/no"), 0, &v));
}

static void t_paths(void) {
    struct client *c = client();
    struct Stat st;
    put(c, p("/\xc3\xa4\xe6\xbc\xa2 space"), "odd");
    STR("odd", get(c, p("/\xc3\xa4\xe6\xbc\xa2 space"), &st));
    RC(ZBADARGUMENTS, create(c, p("/a/../b"), "", 0, NULL, 0));
    RC(ZBADARGUMENTS, create(c, p("/a/"), "", 0, NULL, 0));
}

static void t_chroot(void) {
    char at[200], made[100];
    snprintf(at, sizeof at, "%s%s", zk, root);
    struct client *c = open_at(at, 8000);
    put(c, "/a", "");
    RC(ZOK, create(c, "/a/s", "", ZOO_PERSISTENT_SEQUENTIAL, made, sizeof made));
    STR("/a/s0000000000", made);
    RC(ZOK, zoo_exists(c->h, "/a", 1, NULL));
    RC(ZOK, zoo_set(c->h, "/a", "x", 1, -1));
    expect(c, "changed", "/a");
}

static void t_data(void) {
    struct client *c = client();
    struct Stat st, st2;
    put(c, p("/a"), "0");
    RC(ZOK, zoo_set2(c->h, p("/a"), "one", 3, 0, &st));
    CHECK(st.version == 1);
    STR("one", get(c, p("/a"), &st2));
    CHECK(same(&st, &st2));
    RC(ZBADVERSION, zoo_set(c->h, p("/a"), "", 0, 0));
    RC(ZNONODE, zoo_set(c->h, p("/no"), "", 0, -1));
}

static void t_null(void) {
    struct client *c = client();
    struct Stat st;
    char buf[8];
    int len = 8;
    RC(ZOK, create(c, p("/n"), NULL, 0, NULL, 0));
    put(c, p("/e"), "");
    RC(ZOK, zoo_get(c->h, p("/n"), 0, buf, &len, &st));
    CHECK(len == -1);
    len = 8;
    RC(ZOK, zoo_get(c->h, p("/e"), 0, buf, &len, &st));
    CHECK(len == 0);
}

static void t_large(void) {
    struct client *c = client();
    int n = 0xfffff - 200, len = n;
    char *big = malloc(n), *back = malloc(n);
    for (int i = 0; i < n; i++) big[i] = (char)(i * 31 + i / 255);
    RC(ZOK, zoo_create(c->h, p("/big"), big, n, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0));
    RC(ZOK, zoo_get(c->h, p("/big"), 0, back, &len, NULL));
    CHECK(len == n && memcmp(big, back, n) == 0);
}

static void t_over(void) {
    struct client *c = client();
    char *big = calloc(1, 0xfffff);
    RC(ZCONNECTIONLOSS, zoo_create(c->h, p("/big"), big, 0xfffff, &ZOO_OPEN_ACL_UNSAFE, 0, NULL, 0));
    UNTIL(zoo_exists(c->h, p("/big"), 0, NULL) == ZNONODE);
}

static void t_acl(void) {
    struct client *c = client();
    struct Stat st;
    struct ACL two[] = {{ZOO_PERM_ALL, {"world", "anyone"}}, {ZOO_PERM_READ, {"ip", "10.0.0.0/8"}}};
    struct ACL_vector v = {2, two}, got;
    put(c, p("/a"), "");
    RC(ZOK, zoo_get_acl(c->h, p("/a"), &got, &st));
    CHECK(got.count == 1 && got.data[0].perms == ZOO_PERM_ALL && st.aversion == 0);
    RC(ZOK, zoo_set_acl(c->h, p("/a"), 0, &v));
    RC(ZOK, zoo_get_acl(c->h, p("/a"), &got, &st));
    CHECK(got.count == 2 && st.aversion == 1);
    STR("10.0.0.0/8", got.data[1].id.id);
    RC(ZBADVERSION, zoo_set_acl(c->h, p("/a"), 0, &v));
}

static void t_acl_invalid(void) {
    struct client *c = client();
    struct ACL bad[] = {{ZOO_PERM_ALL, {"nosuch", "x"}}};
    struct ACL_vector v = {1, bad};
    RC(ZINVALIDACL, zoo_create(c->h, p("/a"), "", 0, &v, 0, NULL, 0));
    RC(ZINVALIDACL, zoo_create(c->h, p("/a"), "", 0, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0));
}

static void t_digest(void) {
    struct client *a = client(), *b = client();
    char buf[10];
    int len = sizeof buf;
    struct Stat st;
    RC(ZOK, auth(a, "digest", "ann:secret"));
    RC(ZOK, zoo_create(a->h, p("/a"), "x", 1, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0));
    RC(ZNOAUTH, zoo_get(b->h, p("/a"), 0, buf, &len, &st));
    RC(ZNOAUTH, zoo_set(b->h, p("/a"), "", 0, -1));
    RC(ZOK, auth(b, "digest", "ann:secret"));
    STR("x", get(b, p("/a"), &st));
}

static void t_auth_again(void) {
    struct client *a = open_at(zkp, 8000);
    char buf[10];
    int len = sizeof buf;
    RC(ZOK, auth(a, "digest", "ann:secret"));
    RC(ZOK, zoo_create(a->h, p("/a"), "x", 1, &ZOO_CREATOR_ALL_ACL, 0, NULL, 0));
    ctl("drop");
    UNTIL((len = sizeof buf, zoo_get(a->h, p("/a"), 0, buf, &len, NULL)) == ZOK);
}

static void t_auth_failed(void) {
    struct client *a = client();
    RC(ZAUTHFAILED, auth(a, "nosuch", "x"));
    UNTIL(zoo_state(a->h) == ZOO_AUTH_FAILED_STATE);
}

static void t_super(void) {
    struct client *a = client();
    struct ACL far[] = {{ZOO_PERM_ALL, {"ip", "10.1.2.3"}}};
    struct ACL_vector v = {1, far};
    char buf[10];
    int len = sizeof buf;
    RC(ZOK, zoo_create(a->h, p("/no"), "x", 1, &v, 0, NULL, 0));
    RC(ZNOAUTH, zoo_get(a->h, p("/no"), 0, buf, &len, NULL));
    RC(ZOK, auth(a, "digest", getenv("ZK_SUPER")));
    STR("x", get(a, p("/no"), NULL));
}

static void t_multi(void) {
    struct client *c = client();
    char one[100], two[100], three[100];
    struct Stat st;
    zoo_op_t ops[6];
    zoo_op_result_t res[6];
    zoo_create_op_init(&ops[0], p("/a"), "1", 1, &ZOO_OPEN_ACL_UNSAFE, 0, one, sizeof one);
    zoo_check_op_init(&ops[1], p("/a"), 0);
    zoo_set_op_init(&ops[2], p("/a"), "2", 1, 0, &st);
    zoo_create_op_init(&ops[3], p("/a/s"), "", 0, &ZOO_OPEN_ACL_UNSAFE, ZOO_EPHEMERAL_SEQUENTIAL, two, sizeof two);
    zoo_create_op_init(&ops[4], p("/b"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, three, sizeof three);
    zoo_delete_op_init(&ops[5], p("/b"), -1);
    RC(ZOK, zoo_multi(c->h, 6, ops, res));
    STR(p("/a"), one);
    STR(p("/a/s0000000000"), two);
    CHECK(st.version == 1);
    STR("2", get(c, p("/a"), NULL));
}

static void t_multi_failed(void) {
    struct client *c = client();
    char one[100];
    zoo_op_t ops[3];
    zoo_op_result_t res[3];
    zoo_create_op_init(&ops[0], p("/a"), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, one, sizeof one);
    zoo_check_op_init(&ops[1], root, 77);
    zoo_delete_op_init(&ops[2], p("/never"), -1);
    RC(ZBADVERSION, zoo_multi(c->h, 3, ops, res));
    CHECK(res[0].err == ZOK && res[1].err == ZBADVERSION && res[2].err == ZRUNTIMEINCONSISTENCY);
    RC(ZNONODE, zoo_exists(c->h, p("/a"), 0, NULL));
}

static void t_watch_data(void) {
    struct client *a = client(), *b = client();
    char buf[10];
    int len = sizeof buf;
    put(a, p("/x"), "");
    RC(ZOK, zoo_get(a->h, p("/x"), 1, buf, &len, NULL));
    RC(ZOK, zoo_set(b->h, p("/x"), "1", 1, -1));
    expect(a, "changed", p("/x"));
    RC(ZOK, zoo_set(b->h, p("/x"), "2", 1, -1));
    quiet(a);
    len = sizeof buf;
    RC(ZOK, zoo_get(a->h, p("/x"), 1, buf, &len, NULL));
    RC(ZOK, zoo_delete(b->h, p("/x"), -1));
    expect(a, "deleted", p("/x"));
}

static void t_watch_exists(void) {
    struct client *a = client(), *b = client();
    RC(ZNONODE, zoo_exists(a->h, p("/x"), 1, NULL));
    put(b, p("/x"), "");
    expect(a, "created", p("/x"));
}

static void t_watch_children(void) {
    struct client *a = client(), *b = client();
    struct String_vector v;
    RC(ZOK, zoo_get_children(a->h, root, 1, &v));
    put(b, p("/x"), "");
    expect(a, "child", root);
    put(b, p("/y"), "");
    quiet(a);
}

static void t_watch_remove(void) {
    struct client *a = client(), *b = client();
    char buf[10];
    int len = sizeof buf;
    put(a, p("/x"), "");
    RC(ZOK, zoo_wget(a->h, p("/x"), watcher, a, buf, &len, NULL));
    RC(ZNOWATCHER, zoo_remove_watches(a->h, p("/no"), ZWATCHTYPE_DATA, watcher, a, 0));
    RC(ZOK, zoo_remove_watches(a->h, p("/x"), ZWATCHTYPE_DATA, watcher, a, 0));
    RC(ZOK, zoo_set(b->h, p("/x"), "1", 1, -1));
    usleep(150000);
    for (int i = a->first; i < a->last; i++) CHECK(strncmp(a->events[i], "changed", 7) != 0);
}

static void t_watches_reconnect(void) {
    struct client *a = open_at(zkp, 8000), *b = client();
    char buf[10];
    int len = sizeof buf, seen = 0;
    struct String_vector v;
    put(b, p("/data"), "");
    put(b, p("/gone"), "");
    put(b, p("/kids"), "");
    put(b, p("/same"), "");
    RC(ZOK, zoo_get(a->h, p("/data"), 1, buf, &len, NULL));
    RC(ZOK, zoo_exists(a->h, p("/gone"), 1, NULL));
    RC(ZOK, zoo_get_children(a->h, p("/kids"), 1, &v));
    RC(ZNONODE, zoo_exists(a->h, p("/new"), 1, NULL));
    len = sizeof buf;
    RC(ZOK, zoo_get(a->h, p("/same"), 1, buf, &len, NULL));
    ctl("pause");
    RC(ZOK, zoo_set(b->h, p("/data"), "1", 1, -1));
    RC(ZOK, zoo_delete(b->h, p("/gone"), -1));
    put(b, p("/kids/k"), "");
    put(b, p("/new"), "");
    ctl("resume");
    UNTIL(a->last - a->first >= 4);
    char want[4][300];
    snprintf(want[0], 300, "changed %s", p("/data"));
    snprintf(want[1], 300, "deleted %s", p("/gone"));
    snprintf(want[2], 300, "child %s", p("/kids"));
    snprintf(want[3], 300, "created %s", p("/new"));
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 4; k++)
            if (!strcmp(want[i], a->events[k])) seen++;
    CHECK(seen == 4);
    a->first += 4;
    quiet(a);
    RC(ZOK, zoo_set(b->h, p("/same"), "1", 1, -1));
    expect(a, "changed", p("/same"));
}

static void t_watches_restart(void) {
    struct client *a = open_at(zkp, 10000);
    put(a, p("/x"), "");
    RC(ZOK, zoo_exists(a->h, p("/x"), 1, NULL));
    ctl("restart");
    RC(ZOK, zoo_set(client()->h, p("/x"), "1", 1, -1));
    expect(a, "changed", p("/x"));
}

static void done_sync(int rc, const char *value, const void *data) {
    *(int *)data = rc == ZOK && !strcmp(value, root) ? 1 : 2;
}

static void t_sync(void) {
    static volatile int got;
    RC(ZOK, zoo_async(client()->h, root, done_sync, (void *)&got));
    UNTIL(got != 0);
    CHECK(got == 1);
}

static void t_config(void) {
    char buf[100];
    int len = sizeof buf;
    struct Stat st;
    RC(ZOK, zoo_getconfig(client()->h, 0, buf, &len, &st));
    CHECK(len <= 0 && st.czxid == 0);
}

static void t_reconfig(void) {
    char buf[100];
    int len = sizeof buf;
    struct Stat st;
    RC(ZRECONFIGDISABLED, zoo_reconfig(client()->h, "server.5=127.0.0.1:1:2;3", NULL, NULL, -1, buf, &len, &st));
}

static int next_answer, wrong;

static void done_string(int rc, const char *value, const void *data) {
    if (rc != ZOK || (int)(long)data != next_answer++) wrong++;
}

static void done_stat(int rc, const struct Stat *st, const void *data) {
    if (rc != ZOK || (int)(long)data != next_answer++) wrong++;
}

static void done_void(int rc, const void *data) {
    if (rc != ZOK || (int)(long)data != next_answer++) wrong++;
}

static void t_pipeline(void) {
    struct client *c = client();
    char n[32];
    for (long i = 0; i < 1000; i++) {
        sprintf(n, "/%ld", i);
        RC(ZOK, zoo_acreate(c->h, p(n), "", 0, &ZOO_OPEN_ACL_UNSAFE, 0, done_string, (void *)(3 * i)));
        RC(ZOK, zoo_aexists(c->h, p(n), 0, done_stat, (void *)(3 * i + 1)));
        RC(ZOK, zoo_adelete(c->h, p(n), 0, done_void, (void *)(3 * i + 2)));
    }
    UNTIL(*(volatile int *)&next_answer + *(volatile int *)&wrong >= 3000);
    CHECK(wrong == 0);
}

static const struct { const char *name; void (*run)(void); } cases[] = {
    {"connect", t_connect}, {"timeout-negotiation", t_timeout}, {"read-only-flag", t_read_only},
    {"session-reopen", t_reopen}, {"session-wrong-password", t_wrong_password}, {"session-close", t_close},
    {"session-expiry", t_expiry}, {"session-kept-by-pings", t_pings}, {"reconnect", t_reconnect},
    {"server-restart", t_restart}, {"create", t_create}, {"create-stat", t_create2},
    {"create-ephemeral", t_ephemeral}, {"create-sequential", t_sequential}, {"create-container", t_container},
    {"create-ttl", t_ttl}, {"delete", t_delete}, {"exists", t_exists}, {"get-children", t_children},
    {"path-rules", t_paths}, {"chroot", t_chroot}, {"get-set-data", t_data}, {"null-and-empty-data", t_null},
    {"large-data", t_large}, {"over-maxbuffer", t_over}, {"acl-get-set", t_acl}, {"acl-invalid", t_acl_invalid},
    {"auth-digest", t_digest}, {"auth-again-after-reconnect", t_auth_again}, {"auth-failed", t_auth_failed},
    {"super-user", t_super}, {"multi", t_multi}, {"multi-failed", t_multi_failed}, {"watch-data", t_watch_data},
    {"watch-exists", t_watch_exists}, {"watch-children", t_watch_children}, {"watch-remove", t_watch_remove},
    {"watches-after-reconnect", t_watches_reconnect}, {"watches-after-server-restart", t_watches_restart},
    {"sync", t_sync}, {"get-config", t_config}, {"reconfig", t_reconfig}, {"pipeline-order", t_pipeline},
};

int main(int argc, char **argv) {
    int n = sizeof cases / sizeof cases[0], bad = 0;
    zk = getenv("ZK");
    zkp = getenv("ZKP");
    zoo_set_debug_level(ZOO_LOG_LEVEL_ERROR);
    printf("plan");
    for (int i = 0; i < n; i++) printf(" %s", cases[i].name);
    printf("\n");
    for (int i = 0; i < n; i++) {
        if (argc > 1 && strcmp(argv[1], cases[i].name)) continue;
        fflush(stdout);
        name = cases[i].name;
        pid_t pid = fork();
        if (pid == 0) {
            alarm(45);
            snprintf(root, sizeof root, "/c%d", i);
            struct client *c = client();
            put(c, root, "");
            RC(ZOK, zookeeper_close(c->h));
            cases[i].run();
            printf("ok %s\n", name);
            fflush(stdout);
            _exit(0);
        }
        int status = 0;
        waitpid(pid, &status, 0);
        if (WIFSIGNALED(status))
            printf("FAIL %s %s\n", name, WTERMSIG(status) == SIGALRM ? "it hangs" : "the client crashed");
        if (status) {
            bad++;
            ctl("resume");
        }
    }
    return bad ? 1 : 0;
}
