//! Results in zkCli's words.

use serde_json::{Value, json};
use zk_client::Error;
use zk_proto::{Acl, ErrorCode, Perms, Stat};

use crate::{out, times};

/// ref: StatPrinter.
pub fn stat(s: &Stat) -> String {
    format!(
        "cZxid = {:#x}\nctime = {}\nmZxid = {:#x}\nmtime = {}\npZxid = {:#x}\ncversion = {}\ndataVersion = {}\n\
         aclVersion = {}\nephemeralOwner = {:#x}\ndataLength = {}\nnumChildren = {}",
        s.czxid,
        times::java(s.ctime),
        s.mzxid,
        times::java(s.mtime),
        s.pzxid,
        s.cversion,
        s.version,
        s.aversion,
        s.ephemeral_owner,
        s.data_length,
        s.num_children
    )
}

/// The same as an object.
pub fn stat_json(s: &Stat) -> Value {
    json!({
        "czxid": format!("{:#x}", s.czxid), "mzxid": format!("{:#x}", s.mzxid), "pzxid": format!("{:#x}", s.pzxid),
        "ctime": s.ctime, "mtime": s.mtime, "version": s.version, "cversion": s.cversion, "aversion": s.aversion,
        "ephemeral_owner": format!("{:#x}", s.ephemeral_owner), "data_length": s.data_length,
        "num_children": s.num_children,
    })
}

/// ref: GetAclCommand.exec.
pub fn acl(list: &[Acl]) -> String {
    let one = |a: &Acl| format!("'{},'{}\n: {}", a.scheme, a.id, out::perms(a.perms));
    list.iter().map(one).collect::<Vec<_>>().join("\n")
}

/// Reads `scheme:id:perms,…`. The second result is what Java complains about and goes on.
/// ref: AclParser.parse.
pub fn parse_acl(text: &str) -> (Vec<Acl>, Vec<String>) {
    let (mut list, mut complaints) = (Vec::new(), Vec::new());
    for part in text.split(',') {
        let (Some(first), Some(last)) = (part.find(':'), part.rfind(':')) else {
            complaints.push(format!("{part} does not have the form scheme:id:perm"));
            continue;
        };
        let parts = (part.get(..first), part.get(first + 1..last), part.get(last + 1..));
        let (Some(scheme), Some(id), Some(letters)) = parts else {
            complaints.push(format!("{part} does not have the form scheme:id:perm"));
            continue;
        };
        let mut perms = Perms::default();
        for letter in letters.chars() {
            perms = perms
                | match letter {
                    'r' => Perms::READ,
                    'w' => Perms::WRITE,
                    'c' => Perms::CREATE,
                    'd' => Perms::DELETE,
                    'a' => Perms::ADMIN,
                    other => {
                        complaints.push(format!("Unknown perm type: {other}"));
                        continue;
                    }
                };
        }
        list.push(Acl::new(perms, scheme, id));
    }
    (list, complaints)
}

/// `KeeperErrorCode = NoNode for /a`. ref: KeeperException.getMessage.
pub fn keeper(code: ErrorCode, path: &str) -> String {
    let name = match code {
        ErrorCode::NotEmpty => "Directory not empty".to_owned(),
        ErrorCode::SessionExpired => "Session expired".to_owned(),
        ErrorCode::InvalidCallback => "Invalid callback".to_owned(),
        ErrorCode::InvalidAcl => "InvalidACL".to_owned(),
        ErrorCode::ApiError => "APIError".to_owned(),
        ErrorCode::SessionMoved => "Session moved".to_owned(),
        ErrorCode::NotReadOnly => "Not a read-only call".to_owned(),
        ErrorCode::EphemeralOnLocalSession => "Ephemeral node on local session".to_owned(),
        ErrorCode::NoWatcher => "No such watcher".to_owned(),
        ErrorCode::ReconfigDisabled => "Reconfig is disabled".to_owned(),
        ErrorCode::SessionClosedRequireSaslAuth => {
            "Session closed because client failed to authenticate".to_owned()
        }
        ErrorCode::QuotaExceeded => "Quota has exceeded".to_owned(),
        ErrorCode::ThrottledOp => "Op throttled due to high load".to_owned(),
        other => format!("{other:?}"),
    };
    let path = if path.is_empty() { String::new() } else { format!(" for {path}") };
    format!("KeeperErrorCode = {name}{path}")
}

/// What zkCli makes of an error. ref: CliWrapperException.getMessage.
pub fn error(e: &Error) -> String {
    let Error::Refused { code, path } = e else { return e.to_string() };
    match code {
        ErrorCode::NoNode => format!("Node does not exist: {path}"),
        ErrorCode::NoChildrenForEphemerals => format!("Ephemerals cannot have children: {path}"),
        ErrorCode::NodeExists => format!("Node already exists: {path}"),
        ErrorCode::NotEmpty => format!("Node not empty: {path}"),
        ErrorCode::NotReadOnly => format!("Not a read-only call: {path}"),
        ErrorCode::InvalidAcl => format!("Acl is not valid : {path}"),
        ErrorCode::NoAuth => format!("Insufficient permission : {path}"),
        ErrorCode::BadArguments => format!("Arguments are not valid : {path}"),
        ErrorCode::BadVersion => format!("version No is not valid : {path}"),
        ErrorCode::ReconfigInProgress => {
            "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)".to_owned()
        }
        ErrorCode::NewConfigNoQuorum => {
            "No quorum of new config is connected and up-to-date with the leader of last commmitted config - try \
             invoking reconfiguration after new servers are connected and synced"
                .to_owned()
        }
        ErrorCode::QuotaExceeded => format!("Quota has exceeded : {path}"),
        code => keeper(*code, path),
    }
}

/// Data as a table of bytes. ref: HexDumpOutputFormatter (netty's ByteBufUtil.prettyHexDump).
pub fn hex_dump(data: &[u8]) -> String {
    if data.is_empty() {
        return String::new();
    }
    let line = "+--------+-------------------------------------------------+----------------+";
    let mut out = String::from(
        "         +-------------------------------------------------+\n\
         \u{20}        |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n",
    );
    out.push_str(line);
    for (row, bytes) in data.chunks(16).enumerate() {
        let hex: String = bytes.iter().map(|b| format!(" {b:02x}")).collect();
        let text: String =
            bytes.iter().map(|b| if (0x20..0x7f).contains(b) { char::from(*b) } else { '.' }).collect();
        out.push_str(&format!("\n|{:08x}|{hex:<48} |{text:<16}|", row * 16));
    }
    out.push('\n');
    out.push_str(line);
    out
}

/// Java's `List.toString`.
pub fn list(names: &[String]) -> String {
    format!("[{}]", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_rights() {
        let (list, complaints) = parse_acl("world:anyone:cdrwa,ip:10.0.0.0/8:r,digest:a:b=:w");
        assert_eq!((list.len(), complaints.len()), (3, 0));
        assert_eq!((list[1].id.as_str(), list[2].id.as_str()), ("10.0.0.0/8", "a:b="));
        let (list, complaints) = parse_acl("auth::r,nothing,world:anyone:rq,a:b");
        assert_eq!(list.len(), 2);
        assert_eq!(list[0].id, "");
        assert_eq!(
            complaints,
            [
                "nothing does not have the form scheme:id:perm",
                "Unknown perm type: q",
                "a:b does not have the form scheme:id:perm"
            ]
        );
    }

    #[test]
    fn bytes_in_a_table() {
        let text = hex_dump(b"with some spaces!");
        assert!(
            text.contains("|00000000| 77 69 74 68 20 73 6f 6d 65 20 73 70 61 63 65 73 |with some spaces|\n")
        );
        assert!(
            text.contains("|00000010| 21                                              |!               |\n")
        );
    }
}
