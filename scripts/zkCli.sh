#!/bin/sh
# zkCli.sh of Apache ZooKeeper, for scripts that call it: the same arguments, by `zkd cli`.
here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
if [ -z "${ZKD_BIN:-}" ] && [ -x "$here/zkd" ]; then
    ZKD_BIN=$here/zkd
fi
exec "${ZKD_BIN:-zkd}" cli "$@"
