//! The files in which a member keeps who belongs to the ensemble, once that can change:
//! their names and texts. Writing them is the caller's.

use std::path::{Path, PathBuf};

use crate::properties::Properties;

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut path = file.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

/// The proposed membership, beside `zoo.cfg`. ref: QuorumPeerConfig.nextDynamicConfigFileSuffix.
pub fn next_file(zoo_cfg: &Path) -> PathBuf {
    beside(zoo_cfg, ".dynamic.next")
}

/// The membership in force. ref: QuorumPeer.makeDynamicConfigFilename.
pub fn version_file(zoo_cfg: &Path, version: i64) -> PathBuf {
    beside(zoo_cfg, &format!(".dynamic.{version:x}"))
}

/// `zoo.cfg` as it was before the membership left it. ref: QuorumPeerConfig.backupOldConfig.
pub fn backup_file(zoo_cfg: &Path) -> PathBuf {
    beside(zoo_cfg, ".bak")
}

/// Server lines and the like, in the form of `/zookeeper/config`, as their file has them:
/// sorted, without an end of the last line. The name tells the version; the proposed
/// one has it inside. ref: QuorumPeerConfig.writeDynamicConfig.
pub fn dynamic_text(config: &str, keep_version: bool) -> String {
    let wanted = |l: &&str| keep_version || !l.starts_with("version");
    let mut lines: Vec<&str> = config.lines().filter(wanted).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// `zoo.cfg` that leads to a dynamic file: without what is in that one, and without the
/// client port if its server line names it. ref: QuorumPeerConfig.editStaticConfig.
///
/// differs: comments and the order stay, and of the keys that begin with `clientPort` only
/// those of the address go.
pub fn static_text(zoo_cfg: &[u8], dynamic_file: &Path, erase_client: bool) -> Vec<u8> {
    let gone = |key: &str| {
        let families = ["server.", "group", "weight", "dynamicConfigFile", "peerType"];
        families.iter().any(|family| key.starts_with(family))
            || erase_client && matches!(key, "clientPort" | "clientPortAddress")
    };
    let mut out = Vec::with_capacity(zoo_cfg.len());
    for entry in entries(zoo_cfg) {
        // What does not parse was refused when the server started.
        let key = Properties::parse(dynamic_file, entry).ok().and_then(|p| p.entries.into_iter().next());
        if !key.is_some_and(|e| gone(&e.key)) {
            out.extend_from_slice(entry);
        }
    }
    if out.last().is_some_and(|b| *b != b'\n') {
        out.push(b'\n');
    }
    let path = dynamic_file.display().to_string().replace('\\', "\\\\");
    out.extend_from_slice(format!("dynamicConfigFile={path}\n").as_bytes());
    out
}

/// Cuts into comments, empty lines, and entries with their continued lines.
fn entries(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut found, mut rest) = (Vec::new(), bytes);
    while !rest.is_empty() {
        let (mut end, mut comment) = (0, false);
        loop {
            let line_at = end;
            let break_at = rest[end..].iter().position(|b| matches!(b, b'\n' | b'\r'));
            let line_end = break_at.map_or(rest.len(), |n| end + n);
            end = match rest.get(line_end) {
                Some(b'\r') if rest.get(line_end + 1) == Some(&b'\n') => line_end + 2,
                Some(_) => line_end + 1,
                None => line_end,
            };
            let line = rest[line_at..line_end].trim_ascii_start();
            comment |= line_at == 0 && matches!(line.first(), Some(b'#' | b'!'));
            let backslashes = line.iter().rev().take_while(|b| **b == b'\\').count();
            if comment || backslashes % 2 == 0 || end == rest.len() {
                break;
            }
        }
        let (entry, behind) = rest.split_at(end);
        found.push(entry);
        rest = behind;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a Java member wrote them at its first start.
    #[test]
    fn texts_of_a_member() {
        let config = "server.2=b:1:2:participant;0.0.0.0:3\nserver.10=c:1:2:participant\nversion=100000000";
        let sorted = "server.10=c:1:2:participant\nserver.2=b:1:2:participant;0.0.0.0:3";
        assert_eq!(dynamic_text(config, false), sorted);
        assert_eq!(dynamic_text(config, true), format!("{sorted}\nversion=100000000"));
        let file = Path::new("/c/zoo.cfg");
        assert_eq!(version_file(file, 0x1_0000_0000), Path::new("/c/zoo.cfg.dynamic.100000000"));
        assert_eq!(next_file(file), Path::new("/c/zoo.cfg.dynamic.next"));
        assert_eq!(backup_file(file), Path::new("/c/zoo.cfg.bak"));
    }

    fn edited(text: &str, erase: bool) -> String {
        let dynamic = Path::new("/c/d.1");
        String::from_utf8(static_text(text.as_bytes(), dynamic, erase)).expect("text stays text")
    }

    #[test]
    fn the_membership_leaves_the_static_file() {
        let text = "# mine\ndataDir=/d\nserver.1=a:\\\n  1:2\n\nclientPort=1\nclientPortAddress : x\r\n\
            #server.9=\\\nclientPortListenBacklog=5\ndynamicConfigFile=/old\n group.1=1\nweight.1=1\npeerType=observer\nx=y";
        assert_eq!(
            edited(text, true),
            "# mine\ndataDir=/d\n\n#server.9=\\\nclientPortListenBacklog=5\nx=y\ndynamicConfigFile=/c/d.1\n"
        );
        assert!(edited(text, false).contains("\nclientPort=1\nclientPortAddress : x\r\n"));
        assert_eq!(edited("", true), "dynamicConfigFile=/c/d.1\n");
        assert_eq!(edited("server.1=a\\", true), "dynamicConfigFile=/c/d.1\n");
        assert_eq!(edited("a=1\rserver.1=b\rc=2", true), "a=1\rc=2\ndynamicConfigFile=/c/d.1\n");
    }
}
