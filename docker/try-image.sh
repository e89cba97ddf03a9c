#!/bin/bash
# Three members from the image `zkd` (cargo xtask image), found by their names, as an engine would run them: each in a
# network of its own, as user 1000 without capabilities, on a root file system that is read-only but for /data and
# /datalog. All stop with SIGTERM and start again: sessions and data are there. For root, with buildah and ip; no engine.
set -u
container=$(buildah from localhost/zkd) && root=$(buildah mount "$container") || exit 2
work=$(mktemp -d)
name=zki$$
members="server.1=zoo1:2888:3888;2181 server.2=zoo2:2888:3888;2181 server.3=zoo3:2888:3888;2181"
image=(HOME=/ ZOO_CONF_DIR=/conf ZOO_DATA_DIR=/data ZOO_DATA_LOG_DIR=/datalog ZOO_LOG_DIR=/logs ZOOCFGDIR=/conf
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/apache-zookeeper-3.9.4-bin/bin)

clean_up() {
    for n in 1 2 3; do
        # By process id: what runs in our own networks.
        ip netns pids $name$n 2>/dev/null | xargs -r kill -9
        ip netns del $name$n 2>/dev/null
    done
    ip link del ${name}br 2>/dev/null
    buildah umount "$container" >/dev/null
    buildah rm "$container" >/dev/null
    rm -rf "$work"
}
trap clean_up EXIT

fail() {
    echo "FAIL $*"
    tail -n 5 "$work"/?/log
    exit 1
}

ip link add ${name}br type bridge && ip link set ${name}br up || fail "no bridge"
printf '127.0.0.1 localhost\n10.77.5.1 zoo1\n10.77.5.2 zoo2\n10.77.5.3 zoo3\n' >"$work/hosts"
for n in 1 2 3; do
    ip netns add $name$n && ip link add ${name}v$n type veth peer name e0 netns $name$n || fail "no network"
    ip link set ${name}v$n master ${name}br up
    ip -n $name$n addr add 10.77.5.$n/24 dev e0
    ip -n $name$n link set e0 up
    ip -n $name$n link set lo up
    mkdir -p "$work/$n/data" "$work/$n/datalog"
    chown -R 1000:1000 "$work/$n"
done

# container N COMMAND...: in the image, as the N-th member. With EXEC=exec in place of this shell.
container() {
    local n=$1
    shift
    ${EXEC:-} ip netns exec $name$n unshare -m bash -c '
        root=$1 work=$2 && shift 2
        mount --bind "$root" "$root" && mount --bind "$work/data" "$root/data" || exit 2
        mount --bind "$work/datalog" "$root/datalog" && mount --bind "${work%/*}/hosts" "$root/etc/hosts" || exit 2
        mount --rbind /dev "$root/dev" && mount -o remount,bind,ro "$root" && mount -t proc proc "$root/proc" || exit 2
        exec chroot --userspec=1000:1000 "$root" /usr/bin/env -i "$@"
    ' - "$root" "$work/$n" "${image[@]}" ZOO_MY_ID=$n ZOO_SERVERS="$members" ZOO_CFG_EXTRA=maxSessionTimeout=120000 "$@"
}

up() {
    pids=()
    for n in 1 2 3; do
        EXEC=exec container $n /docker-entrypoint.sh zkServer.sh start-foreground >>"$work/$n/log" 2>&1 &
        pids+=($!)
    done
    for n in 1 2 3; do
        tries=0
        until container $n zkd docker-health >/dev/null 2>&1; do
            tries=$((tries + 1))
            [ $tries -lt 100 ] || fail "member $n is not healthy"
            sleep 0.2
        done
        container $n zkServer.sh status 2>/dev/null | grep -E '^Mode: (leader|follower)$' || fail "status of member $n"
    done
}

stop() {
    kill -TERM "${pids[@]}"
    for pid in "${pids[@]}"; do
        wait "$pid" || fail "a member ends with $? on SIGTERM"
    done
}

# expect TEXT COMMAND...: its output has this line.
expect() {
    local due=$1
    shift
    container "$@" 2>&1 | grep -qxF -- "$due" || fail "no $due from $*"
}

up
for pid in "${pids[@]}"; do
    grep -q '^Uid:.1000.1000.1000.1000$' "/proc/$pid/status" || fail "it runs as another user"
    grep -q '^CapEff:.0*$' "/proc/$pid/status" || fail "it has capabilities"
done
container 1 touch /x 2>/dev/null && fail "the root file system can be written to"
expect "Created /kept" 1 zkCli.sh -server zoo2:2181 create /kept value
expect value 2 /apache-zookeeper-3.9.4-bin/bin/zkCli.sh -server zoo3:2181 get /kept
mkfifo "$work/lines"
container 3 zkCli.sh -server zoo1:2181,zoo2:2181 <"$work/lines" >"$work/cli" 2>&1 &
exec 9>"$work/lines"
echo "create -e /mine x" >&9
tries=0
until container 3 zkCli.sh -server zoo3:2181 ls / 2>&1 | grep -qF '[kept, mine, zookeeper]'; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || fail "no ephemeral node"
done
stop
up
expect "[kept, mine, zookeeper]" 3 zkCli.sh -server zoo3:2181 ls /
expect value 2 zkCli.sh -server zoo1:2181 get /kept
grep -q Expired "$work/cli" && fail "the session has expired"
echo "delete /mine" >&9
tries=0
until container 3 zkCli.sh -server zoo3:2181 ls / 2>&1 | grep -qxF '[kept, zookeeper]'; do
    tries=$((tries + 1))
    [ $tries -lt 100 ] || fail "the client of before does not go on"
done
stop
echo "all as it should be"
