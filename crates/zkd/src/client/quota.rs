//! Quotas as zkCli keeps them. ref: StatsTrack, SetQuotaCommand, DelQuotaCommand.

use std::collections::BTreeMap;
use std::fmt;

use zk_client::{Client, Error, Result};
use zk_proto::client::CreateMode;
use zk_proto::path::{QUOTA, QUOTA_LIMITS, QUOTA_STATS};
use zk_proto::{Acl, ErrorCode};

use super::commands::below;

const COUNT: &str = "count";
const BYTES: &str = "bytes";

/// What a quota's nodes hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Track(BTreeMap<String, i64>);

impl Track {
    fn read(data: Option<&[u8]>) -> Track {
        let text = String::from_utf8_lossy(data.unwrap_or_default()).into_owned();
        let pairs = text.split([',', ';']).filter_map(|part| {
            let (name, value) = part.split_once('=')?;
            Some((name.to_owned(), value.trim_end_matches('=').parse().ok()?))
        });
        Track(pairs.collect())
    }

    fn get(&self, name: &str) -> i64 {
        self.0.get(name).copied().unwrap_or(-1)
    }
}

impl fmt::Display for Track {
    /// Older servers read only what is before the second equals sign of a part.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count={},bytes={}", self.get(COUNT), self.get(BYTES))?;
        let mut more = self.0.iter().filter(|(name, _)| *name != COUNT && *name != BYTES).peekable();
        if more.peek().is_some() {
            f.write_str("=")?;
        }
        more.try_for_each(|(name, value)| write!(f, ";{name}={value}"))
    }
}

/// The field that an option means.
pub fn field(option: &str) -> &'static str {
    match option {
        "n" => COUNT,
        "b" => BYTES,
        "N" => "countHardLimit",
        _ => "byteHardLimit",
    }
}

fn quota_path(path: &str) -> String {
    // Of the root it is the node itself. ref: Quotas.quotaPath.
    if path == "/" { QUOTA.to_owned() } else { format!("{QUOTA}{path}") }
}

/// The node with a quota's limits.
pub fn limits_path(path: &str) -> String {
    format!("{QUOTA}{path}/{QUOTA_LIMITS}")
}

/// Limits and what is used.
pub fn list(client: &Client, path: &str) -> Result<(Track, Track)> {
    let (limits, _) = client.get_data(&limits_path(path), false)?;
    let (used, _) = client.get_data(&format!("{QUOTA}{path}/{QUOTA_STATS}"), false)?;
    Ok((Track::read(limits.as_deref()), Track::read(used.as_deref())))
}

/// Sets one limit. Returns what should be said.
pub fn set(client: &Client, path: &str, field: &str, value: i64) -> Result<Vec<String>> {
    if client.exists(path, false)?.is_none() {
        return Err(Error::Path(format!("{path} does not exist.")));
    }
    refuse_child_quota(client, path)?;
    refuse_parent_quota(client, path)?;
    let limits = limits_path(path);
    if client.exists(&limits, false)?.is_none() {
        let mut node = String::new();
        for name in quota_path(path).split('/').skip(1) {
            node = format!("{node}/{name}");
            if client.exists(&node, false)?.is_none() {
                create(client, &node, None)?;
            }
        }
        let new = [(COUNT, -1), (BYTES, -1), ("countHardLimit", -1), ("byteHardLimit", -1), (field, value)];
        let new = Track(new.into_iter().map(|(n, v)| (n.to_owned(), v)).collect());
        create(client, &limits, Some(&new))?;
        let used = Track([(COUNT.to_owned(), 0), (BYTES.to_owned(), 0)].into());
        create(client, &format!("{}/{QUOTA_STATS}", quota_path(path)), Some(&used))?;
        let (_, used) = list(client, path)?;
        return Ok(warnings(&new, &used));
    }
    let (mut track, used) = list(client, path)?;
    track.0.insert(field.to_owned(), value);
    client.set_data(&limits, Some(track.to_string().as_bytes()), -1)?;
    Ok(warnings(&track, &used))
}

fn create(client: &Client, path: &str, track: Option<&Track>) -> Result<()> {
    let text = track.map(Track::to_string);
    match client.create(path, text.as_deref().map(str::as_bytes), &Acl::open(), CreateMode::Persistent, 0) {
        Err(Error::Refused { code: ErrorCode::NodeExists, .. }) => Ok(()),
        done => done.map(drop),
    }
}

/// ref: SetQuotaCommand.checkQuota.
fn warnings(limits: &Track, used: &Track) -> Vec<String> {
    let mut out = Vec::new();
    for (name, soft, hard) in [(COUNT, COUNT, "countHardLimit"), (BYTES, BYTES, "byteHardLimit")] {
        let limit = [limits.get(soft), limits.get(hard)].into_iter().filter(|l| *l > -1).min();
        let now = used.get(name);
        if let Some(limit) = limit
            && now > limit
        {
            out.push(format!(
                "[Warning]: the {name} quota you create is less than the existing {name}:{now}"
            ));
        }
    }
    out
}

fn refuse_child_quota(client: &Client, path: &str) -> Result<()> {
    let top = quota_path(path);
    let mut open = vec![top.clone()];
    while let Some(node) = open.pop() {
        let children = match client.get_children(&node, false) {
            Ok((children, _)) => children,
            Err(Error::Refused { code: ErrorCode::NoNode, .. }) => continue,
            Err(e) => return Err(e),
        };
        if node != top && children.iter().any(|c| c == QUOTA_LIMITS) {
            let child = node.strip_prefix(QUOTA).unwrap_or(&node);
            return Err(Error::Path(format!("{path} has a child {child} which has a quota")));
        }
        open.extend(children.iter().map(|c| below(&node, c)));
    }
    Ok(())
}

fn refuse_parent_quota(client: &Client, path: &str) -> Result<()> {
    let own = quota_path(path);
    let mut node = QUOTA.to_owned();
    for name in path.split('/').skip(1) {
        if node != own {
            let children = match client.get_children(&node, false) {
                Ok((children, _)) => children,
                Err(Error::Refused { code: ErrorCode::NoNode, .. }) => return Ok(()),
                Err(e) => return Err(e),
            };
            if children.iter().any(|c| c == QUOTA_LIMITS) {
                let parent = node.strip_prefix(QUOTA).unwrap_or(&node);
                return Err(Error::Path(format!("{path} has a parent {parent} which has a quota")));
            }
        }
        node = format!("{node}/{name}");
    }
    Ok(())
}

/// Removes limits, or the quota if none is named. False: there was none.
pub fn remove(client: &Client, path: &str, fields: &[&'static str]) -> Result<bool> {
    let limits = limits_path(path);
    if client.exists(&limits, false)?.is_none() {
        return Ok(false);
    }
    if !fields.is_empty() {
        let (data, _) = client.get_data(&limits, false)?;
        let mut track = Track::read(data.as_deref());
        for field in fields {
            track.0.insert((*field).to_owned(), -1);
        }
        client.set_data(&limits, Some(track.to_string().as_bytes()), -1)?;
        return Ok(true);
    }
    let mut node = quota_path(path);
    for child in [QUOTA_LIMITS, QUOTA_STATS] {
        match client.delete(&below(&node, child), -1) {
            Err(Error::Refused { code: ErrorCode::NoNode, .. }) => {}
            done => done?,
        }
    }
    // What is empty above goes, too. ref: DelQuotaCommand.trimProcQuotas.
    while node != QUOTA && client.get_children(&node, false)?.0.is_empty() {
        client.delete(&node, -1)?;
        node.truncate(node.rfind('/').unwrap_or(0));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_as_java_writes_them() {
        let text = "count=3,bytes=100=;byteHardLimit=200;countHardLimit=4";
        assert_eq!(Track::read(Some(text.as_bytes())).to_string(), text);
        assert_eq!(Track::read(Some(b"count=0,bytes=0")).to_string(), "count=0,bytes=0");
        assert_eq!(Track::read(None).to_string(), "count=-1,bytes=-1");
    }

    #[test]
    fn small_quotas_are_warned_of() {
        let (limits, used) = (Track::read(Some(b"count=3,bytes=-1")), Track::read(Some(b"count=4,bytes=9")));
        assert_eq!(
            warnings(&limits, &used),
            ["[Warning]: the count quota you create is less than the existing count:4"]
        );
    }
}
