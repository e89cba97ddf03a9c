#!/bin/sh
# zkCli.sh of Apache ZooKeeper, for scripts that call it: the same arguments, by `zkd cli`. Environment, as
# there: ZOOCFGDIR, CLIENT_JVMFLAGS, JVMFLAGS; conf/zookeeper-env.sh and conf/java.env are read. ZKD_BIN names the binary.
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
if [ -z "${ZKD_BIN:-}" ] && [ -x "$here/zkd" ]; then
    ZKD_BIN=$here/zkd
fi
if [ -z "${ZOOCFGDIR:-}" ]; then
    for ZOOCFGDIR in "$here/../conf" "$here/../etc/zookeeper" /etc/zookeeper/conf /etc/zookeeper; do
        [ -d "$ZOOCFGDIR" ] && break
    done
fi
for file in "$ZOOCFGDIR/zookeeper-env.sh" "$ZOOCFGDIR/java.env"; do
    if [ -f "$file" ]; then
        . "$file"
    fi
done
export CLIENT_JVMFLAGS JVMFLAGS
exec "${ZKD_BIN:-zkd}" cli "$@"
