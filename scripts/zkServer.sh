#!/bin/sh
# zkServer.sh of Apache ZooKeeper, for scripts that call it: the same commands, exit codes and
# lines, by zkd. Environment, as there: ZOOCFGDIR, ZOOCFG, ZOOPIDFILE, ZOO_LOG_DIR,
# SERVER_JVMFLAGS; conf/zookeeper-env.sh is read. ZKD_BIN names the binary.
set -u

here=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
if [ -z "${ZKD_BIN:-}" ]; then
    ZKD_BIN=zkd
    [ -x "$here/zkd" ] && ZKD_BIN=$here/zkd
fi

if [ "${1:-}" = "--config" ]; then
    ZOOCFGDIR=${2:?"--config needs a directory"}
    shift 2
fi
if [ -z "${ZOOCFGDIR:-}" ]; then
    # Behind Java's places that of the Debian package.
    for ZOOCFGDIR in "$here/../conf" "$here/../etc/zookeeper" /etc/zkd /etc/zookeeper/conf /etc/zookeeper; do
        [ -d "$ZOOCFGDIR" ] && break
    done
fi
if [ -f "$ZOOCFGDIR/zookeeper-env.sh" ]; then
    . "$ZOOCFGDIR/zookeeper-env.sh"
fi

command=${1:-}
cfg=${2:-${ZOOCFG:-zoo.cfg}}
case $cfg in
    /*) ;;
    *) if [ ! -f "$cfg" ] || [ -z "${2:-}" ]; then cfg=$ZOOCFGDIR/$cfg; fi ;;
esac
# In a container whose root file system is read-only it is made there.
if [ ! -f "$cfg" ] && [ -z "${2:-}" ] && [ -f "${ZOO_DATA_DIR:-}/zoo.cfg.made" ]; then
    cfg=$ZOO_DATA_DIR/zoo.cfg.made
fi

# The last value of a key in zoo.cfg, without blanks around it.
value() {
    sed -n "s/^[[:space:]]*$1[[:space:]]*=[[:space:]]*//p" "$2" 2>/dev/null | sed 's/[[:space:]]*$//' | tail -n 1
}

need_cfg() {
    echo "Using config: $cfg" >&2
    if [ ! -f "$cfg" ]; then
        echo "zkServer.sh: $cfg is not there; name a zoo.cfg, or its directory with --config" >&2
        exit 1
    fi
    data_dir=$(value dataDir "$cfg")
    pid_file=${ZOOPIDFILE:-$data_dir/zookeeper_server.pid}
}

# Whether the process of the pid file lives.
running() {
    [ -f "$pid_file" ] && pid=$(cat "$pid_file") && [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null
}

start() {
    need_cfg
    printf 'Starting zookeeper ... '
    if running; then
        echo "already running as process $pid."
        exit 1
    fi
    # Beside an installation of one's own, or where the system has logs.
    log_dir=$here/../logs
    [ "$here" = /usr/bin ] && log_dir=/var/log/zookeeper
    log_dir=${ZOO_LOG_DIR:-$log_dir}
    mkdir -p "$log_dir" "$(dirname "$pid_file")" || exit 1
    log=$log_dir/zookeeper-$(id -un)-server-$(uname -n).out
    nohup "$ZKD_BIN" serve "$cfg" >"$log" 2>&1 </dev/null &
    pid=$!
    if ! printf '%s' "$pid" >"$pid_file"; then
        kill "$pid"
        echo FAILED TO WRITE PID
        exit 1
    fi
    sleep 1
    if kill -0 "$pid" 2>/dev/null; then
        echo STARTED
    else
        rm -f "$pid_file"
        echo FAILED TO START
        tail -n 3 "$log" >&2
        exit 1
    fi
}

# A member hands over before it ends; that takes as long as it takes.
stop() {
    need_cfg
    printf 'Stopping zookeeper ... '
    if [ ! -f "$pid_file" ]; then
        echo "no zookeeper to stop (could not find file $pid_file)"
        return
    fi
    if running; then
        kill "$pid"
        tries=0
        while kill -0 "$pid" 2>/dev/null; do
            tries=$((tries + 1))
            if [ "$tries" -gt 300 ]; then
                echo "process $pid does not end"
                exit 1
            fi
            sleep 0.1
        done
    fi
    rm -f "$pid_file"
    echo STOPPED
}

status() {
    need_cfg
    port=$(value clientPort "$cfg")
    host=$(value clientPortAddress "$cfg")
    if [ -z "$port" ]; then
        dynamic=$(value dynamicConfigFile "$cfg")
        id=$(cat "$data_dir/myid" 2>/dev/null)
        server=$(value "server\\.$id" "${dynamic:-$cfg}")
        case $server in
            *\;*)
                address=${server##*;}
                port=${address##*:}
                [ "$address" = "$port" ] || host=${address%:*}
                ;;
        esac
    fi
    if [ -z "$port" ]; then
        port=$(value secureClientPort "$cfg")
        if [ -n "$port" ]; then
            echo "zkServer.sh: only a secureClientPort is set; status asks on a plain clientPort" >&2
        else
            echo "Client port not found in the server configs" >&2
        fi
        exit 1
    fi
    case ${host:-} in
        '' | 0.0.0.0 | ::) host=localhost ;;
    esac
    echo "Client port found: $port. Client address: $host. Client SSL: false."
    mode=$("$ZKD_BIN" status "$host:$port" --json 2>/dev/null | sed -n 's/.*"role":"\([a-z-]*\)".*/\1/p')
    if [ -z "$mode" ]; then
        echo "Error contacting service. It is probably not running."
        exit 1
    fi
    echo "Mode: $mode"
}

case $command in
    start) start ;;
    start-foreground)
        need_cfg
        exec "$ZKD_BIN" serve "$cfg"
        ;;
    stop) stop ;;
    restart)
        stop
        start
        ;;
    status) status ;;
    version) "$ZKD_BIN" --version ;;
    print-cmd)
        need_cfg
        echo "\"$ZKD_BIN\" serve \"$cfg\""
        ;;
    *)
        echo "Usage: $0 [--config <conf-dir>] {start|start-foreground|stop|version|restart|status|print-cmd}" >&2
        exit 1
        ;;
esac
