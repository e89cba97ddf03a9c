# Sourced by ./run and ./test: system packages, the prebuilt RocksDB, and where
# build output goes. Everything that is built or downloaded stays outside of the
# checkout, in ${XDG_CACHE_HOME:-~/.cache}/zkd.
# shellcheck shell=sh

cache=${XDG_CACHE_HOME:-$HOME/.cache}/zkd
mkdir -p "$cache"

say() { printf '%s\n' "zkd: $*" >&2; }
die() { say "$*"; exit 1; }

# need COMMAND-OR-FILE PACKAGE...: installs the Debian packages when it is missing.
need() {
    probe=$1; shift
    command -v "$probe" >/dev/null 2>&1 && return 0
    [ -e "$probe" ] && return 0
    command -v apt-get >/dev/null 2>&1 ||
        die "'$probe' is missing and this is no Debian: install what '$*' contains there, then try again"
    sudo=
    [ "$(id -u)" = 0 ] || sudo=sudo
    say "installing $*"
    if [ ! -e "$cache/.apt-updated" ] || [ -n "$(find "$cache/.apt-updated" -mmin +1440)" ]; then
        $sudo apt-get update -qq >&2 || die "apt-get update failed: see above"
        touch "$cache/.apt-updated"
    fi
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq "$@" >"$cache/apt.log" 2>&1 ||
        { tail -n 5 "$cache/apt.log" >&2; die "apt-get install $* failed: see $cache/apt.log"; }
}

need cargo cargo
need c++ g++
need strace strace
need ip iproute2
need openssl openssl
# A KDC of the tests' own; the server itself opens the library when logins need it.
need /usr/sbin/krb5kdc krb5-kdc krb5-admin-server
libclang=$(find /usr/lib/llvm-*/lib -name 'libclang.so*' 2>/dev/null | head -n 1)
[ -n "$libclang" ] || need libclang.so libclang-dev clang

lock_version() { sed -n "/^name = \"$1\"\$/{n;s/^version = \"\\(.*\\)\"\$/\\1/p;}" Cargo.lock; }

# RocksDB is half an hour of C++ on a small machine. It is built once for each
# version and compiler, and every build here links that one archive.
rocksdb_version=$(lock_version librocksdb-sys)
rocksdb_key=$(printf '%s|%s|%s|O2' "$rocksdb_version" "$(c++ -dumpfullversion)" "$(uname -m)" | cksum | cut -d' ' -f1)
rocksdb_dir=$cache/rocksdb-$rocksdb_key
if [ ! -s "$rocksdb_dir/librocksdb.a" ]; then
    say "building RocksDB $rocksdb_version once (about 20 minutes on two cores); log: $cache/rocksdb.log"
    work=$cache/rocksdb-work
    rm -rf "$work"; mkdir -p "$work/src"
    : > "$work/src/lib.rs"
    cat > "$work/Cargo.toml" <<T
[package]
name = "rocksdb-once"
version = "0.0.0"
edition = "2021"
[dependencies]
librocksdb-sys = { version = "=${rocksdb_version%%+*}", default-features = false, features = ["bindgen-runtime"] }
[profile.release]
opt-level = 2
debug = false
[workspace]
T
    (cd "$work" && env -u ROCKSDB_LIB_DIR CARGO_TARGET_DIR="$work/target" cargo build --release) >"$cache/rocksdb.log" 2>&1 ||
        { tail -n 20 "$cache/rocksdb.log" >&2; die "RocksDB did not build: see $cache/rocksdb.log"; }
    mkdir -p "$rocksdb_dir"
    cp "$(find "$work/target/release/build" -name librocksdb.a | head -n 1)" "$rocksdb_dir/librocksdb.a.tmp"
    mv "$rocksdb_dir/librocksdb.a.tmp" "$rocksdb_dir/librocksdb.a"
    rm -rf "$work"
fi
export ROCKSDB_LIB_DIR="$rocksdb_dir" ROCKSDB_STATIC=1

# Build output by lock file, toolchain and checkout; what was not used for two
# weeks goes. Cargo tells checkouts apart by the times of their files alone, so
# that a shared folder may run what another checkout built.
target_key=$( (cat Cargo.lock rust-toolchain.toml; cargo --version; pwd -P) | cksum | cut -d' ' -f1)
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target-$target_key}"
mkdir -p "$CARGO_TARGET_DIR"; touch "$CARGO_TARGET_DIR"
find "$cache" -maxdepth 1 -name 'target-*' -mtime +14 ! -path "$CARGO_TARGET_DIR" -exec rm -rf {} + 2>/dev/null || true

# What `srvr` and `zkd --version` print.
if ZKD_REVISION=$(git rev-parse HEAD 2>/dev/null); then
    ZKD_BUILT=$(git log -1 --format=%ct)
    export ZKD_REVISION ZKD_BUILT
fi
