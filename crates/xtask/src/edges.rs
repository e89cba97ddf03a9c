//! Which crate may use which, and under which licences others' crates come.
//!
//! The deterministic crates must not reach tokio, RocksDB, threads' helpers or
//! a clock: the simulator runs the very same code.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// Our crates and which of ours each may use. A new edge is its own commit
/// with a reason.
const EDGES: &[(&str, &[&str])] = &[
    ("jute", &[]),
    ("zk-proto", &["jute"]),
    ("zk-tree", &["jute", "zk-proto"]),
    ("zk-pipeline", &["jute", "zk-proto", "zk-tree"]),
    ("zab", &["jute", "zk-proto"]),
    ("zk-node", &["jute", "zk-proto", "zk-tree", "zk-pipeline", "zab"]),
    ("zk-sim", &["jute", "zk-proto", "zk-tree", "zk-pipeline", "zab", "zk-node"]),
    ("zk-storage", &["jute", "zk-proto", "zk-tree"]),
    ("zk-config", &[]),
    ("zk-admin", &[]),
    (
        "zk-server",
        &[
            "jute",
            "zk-proto",
            "zk-tree",
            "zk-pipeline",
            "zk-storage",
            "zk-config",
            "zk-admin",
            "zab",
            "zk-node",
            "zk-gssapi",
            "zk-memory",
        ],
    ),
    ("zk-gssapi", &[]),
    ("zk-client", &["zk-proto"]),
    ("zk-load", &["jute", "zk-proto"]),
    ("zk-memory", &[]),
    (
        "zkd",
        &[
            "zk-config",
            "zk-server",
            "zk-storage",
            "zk-admin",
            "zk-client",
            "zk-load",
            "zk-memory",
            "zk-proto",
            "zk-tree",
        ],
    ),
    ("zk-testkit", &["jute", "zk-proto"]),
];

/// Crates that are the same in a simulation and in production.
const DETERMINISTIC: &[&str] = &["jute", "zk-proto", "zk-tree", "zk-pipeline", "zab", "zk-node"];

/// What a deterministic crate must not reach, through others either.
const FORBIDDEN: &[&str] = &[
    "tokio",
    "tokio-util",
    "rocksdb",
    "librocksdb-sys",
    "mio",
    "socket2",
    "nix",
    "rand",
    "parking_lot",
    "crossbeam-channel",
];

/// Licences that may be linked into a binary under Apache-2.0.
const LICENCES: &[&str] = &[
    "MIT",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "0BSD",
    "Unicode-3.0",
    "CC0-1.0",
    "Unlicense",
    "BSL-1.0",
    "MIT-0",
];

/// Checks edges and licences.
pub fn check() -> Result<()> {
    let out = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--all-features"])
        .current_dir(super::root())
        .output()
        .context("cannot run cargo metadata")?;
    if !out.status.success() {
        bail!("cargo metadata failed: {}", String::from_utf8_lossy(&out.stderr));
    }
    let meta: Value = serde_json::from_slice(&out.stdout).context("cargo metadata is no JSON")?;
    let mut wrong = Vec::new();
    let graph = Graph::read(&meta)?;
    for (name, allowed) in EDGES {
        for used in graph.direct(name) {
            if EDGES.iter().any(|(n, _)| *n == used) && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{name} uses {used}, which is no edge of the map"));
            }
        }
    }
    for name in DETERMINISTIC {
        for used in graph.reach(name) {
            if FORBIDDEN.contains(&used.as_str()) {
                wrong.push(format!("{name} is deterministic and reaches {used}"));
            }
        }
    }
    for (name, licence) in &graph.licences {
        if !licence_is_fine(licence) {
            wrong.push(format!("{name} comes under {licence:?}, which is not on the list"));
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\n"));
    }
    eprintln!("== edges and licences of {} packages: fine", graph.licences.len());
    Ok(())
}

/// `OR` needs one alternative on the list, `AND` needs all.
fn licence_is_fine(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ").replace(['(', ')'], "");
    expression
        .split(" OR ")
        .any(|alternative| alternative.split(" AND ").all(|l| LICENCES.contains(&l.trim())))
}

struct Graph {
    /// Package name to names of normal dependencies.
    uses: BTreeMap<String, BTreeSet<String>>,
    /// Name and licence of every package of others.
    licences: Vec<(String, String)>,
}

impl Graph {
    fn read(meta: &Value) -> Result<Self> {
        let text = |v: &Value| v.as_str().unwrap_or_default().to_owned();
        let list = |v: &Value| v.as_array().cloned().unwrap_or_default();
        let mut names = BTreeMap::new();
        let mut licences = Vec::new();
        for p in list(&meta["packages"]) {
            names.insert(text(&p["id"]), text(&p["name"]));
            if !p["source"].is_null() {
                licences.push((text(&p["name"]), text(&p["license"])));
            }
        }
        let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for n in list(&meta["resolve"]["nodes"]) {
            let name = names.get(&text(&n["id"])).context("node without package")?.clone();
            for d in list(&n["deps"]) {
                let normal = list(&d["dep_kinds"]).iter().any(|k| k["kind"].is_null());
                if normal && let Some(used) = names.get(&text(&d["pkg"])) {
                    uses.entry(name.clone()).or_default().insert(used.clone());
                }
            }
        }
        Ok(Self { uses, licences })
    }

    fn direct(&self, name: &str) -> BTreeSet<String> {
        self.uses.get(name).cloned().unwrap_or_default()
    }

    fn reach(&self, name: &str) -> BTreeSet<String> {
        let mut seen = BTreeSet::new();
        let mut todo = vec![name.to_owned()];
        while let Some(n) = todo.pop() {
            for used in self.direct(&n) {
                if seen.insert(used.clone()) {
                    todo.push(used);
                }
            }
        }
        seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_map_holds() {
        check().unwrap();
    }

    #[test]
    fn licence_expressions() {
        assert!(licence_is_fine("MIT OR Apache-2.0"));
        assert!(licence_is_fine("MIT/Apache-2.0"));
        assert!(licence_is_fine("(MIT OR Apache-2.0) AND Unicode-3.0"));
        assert!(!licence_is_fine("GPL-3.0"));
        assert!(!licence_is_fine(""));
    }
}
