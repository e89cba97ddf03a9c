//! From what a client asks for to the text of a new configuration.

use std::collections::BTreeSet;
use std::net::IpAddr;

use zab::config::{ConfigError, Configs, EnsembleConfig, Member};
use zk_pipeline::prep::RequestError;
use zk_pipeline::reconfig::{Ensemble, Reconfig};
use zk_proto::{PeerId, Zxid};

/// The ensemble at the moment of a request.
#[derive(Debug)]
pub struct View {
    /// The configurations of the leader.
    pub configs: Configs,
    /// The leader and the synchronised followers, whether they vote or not.
    /// ref: Leader.isQuorumSynced, forwardingFollowers.
    pub synced: BTreeSet<PeerId>,
    /// `standaloneEnabled`: one voter alone is no ensemble.
    pub standalone_enabled: bool,
    /// `multiAddress.enabled`: a server may have several addresses.
    pub multi_address: bool,
}

impl Ensemble for View {
    fn reconfigure(&self, request: &Reconfig<'_>, version: Zxid) -> Result<String, RequestError> {
        let newest = self.configs.last_seen.as_ref().unwrap_or(&self.configs.active);
        if newest.version != self.configs.active.version {
            return Err(RequestError::ReconfigInProgress);
        }
        if request.base != -1 && request.base != newest.version.0 {
            let (expected, found) = (request.base, newest.version.0);
            return Err(RequestError::ConfigVersion { expected, found });
        }
        let mut config = match request.members {
            Some(text) => self.whole(text)?,
            None => self.changed(newest, request)?,
        };
        config.version = version;
        let voters = config.voters().count();
        if voters < if self.standalone_enabled { 2 } else { 1 } {
            return Err(RequestError::BadReconfig(format!("{voters} voters are too few")));
        }
        // Only voters among them count.
        if !config.has_quorum(&self.synced) {
            return Err(RequestError::NewConfigNoQuorum);
        }
        self.text(&config)
    }
}

impl View {
    /// What every member will read again, whatever the client has sent.
    fn text(&self, config: &EnsembleConfig) -> Result<String, RequestError> {
        let several = config.members.values().any(|m| m.addresses.len() > 1);
        if several && !self.multi_address {
            let why = "a server has several addresses, and multiAddress.enabled is false";
            return Err(RequestError::BadReconfig(why.to_owned()));
        }
        let text = config.to_text();
        match EnsembleConfig::parse(&text) {
            Ok(read) if read.members == config.members => Ok(text),
            Ok(_) => Err(RequestError::BadReconfig("a line holds another line".to_owned())),
            Err(e) => Err(RequestError::BadReconfig(e.to_string())),
        }
    }

    /// ref: QuorumPeerConfig.parseDynamicConfig.
    fn whole(&self, text: &str) -> Result<EnsembleConfig, RequestError> {
        let bad = |e: ConfigError| match e {
            // What Java does not catch: numbers, and what there must be of each kind.
            ConfigError::Key(key) if is_known(&key) => RequestError::UnreadableReconfig(key),
            ConfigError::NoVoters if !self.standalone_enabled || text.contains("server.") => {
                RequestError::UnreadableReconfig(e.to_string())
            }
            e => RequestError::BadReconfig(e.to_string()),
        };
        let config = EnsembleConfig::parse(&text.replace(',', "\n")).map_err(bad)?;
        let alone = self.standalone_enabled && config.voters().count() == 1;
        if alone && config.members.len() > 1 {
            return Err(RequestError::UnreadableReconfig("observers need an ensemble".to_owned()));
        }
        Ok(config)
    }

    /// Some leave, then some join.
    fn changed(&self, from: &EnsembleConfig, request: &Reconfig<'_>) -> Result<EnsembleConfig, RequestError> {
        if from.is_hierarchical() {
            let why = "members cannot be added to groups or taken from them one by one";
            return Err(RequestError::BadReconfig(why.to_owned()));
        }
        let mut to = from.clone();
        for id in list(request.leaving, ',') {
            to.members.remove(&number(id)?);
        }
        for line in list(request.joining, ',') {
            join(&mut to, line)?;
        }
        Ok(to)
    }
}

fn is_known(key: &str) -> bool {
    ["server.", "group", "weight"].iter().any(|family| key.starts_with(family))
}

/// ref: StringUtils.split.
fn list(text: Option<&str>, separator: char) -> impl Iterator<Item = &str> {
    text.into_iter().flat_map(move |t| t.split(separator)).map(str::trim).filter(|s| !s.is_empty())
}

fn number(text: &str) -> Result<PeerId, RequestError> {
    text.parse().map(PeerId).map_err(|_| RequestError::UnreadableReconfig(text.to_owned()))
}

/// Takes a line `server.N=...;port` in, in place of the one that there is.
fn join(config: &mut EnsembleConfig, line: &str) -> Result<(), RequestError> {
    let bad = || RequestError::BadReconfig(line.to_owned());
    let parts: Vec<&str> = list(Some(line), '=').collect();
    let [key, value] = parts.as_slice() else { return Err(bad()) };
    let id = number(key.rsplit('.').next().unwrap_or(key))?;
    let member = Member::parse(value).filter(|m| m.client.is_some()).ok_or_else(bad)?;
    let mut others = config.members.iter().filter(|(other, _)| **other != id);
    if others.any(|(_, other)| conflict(&member, other)) {
        return Err(bad());
    }
    config.members.insert(id, member);
    Ok(())
}

/// Whether two servers name the same address; those that every machine has do not count.
/// ref: QuorumServer.checkAddressDuplicate.
///
/// differs: names are not resolved.
fn conflict(a: &Member, b: &Member) -> bool {
    let a: Vec<_> = endpoints(a).collect();
    endpoints(b).any(|e| !is_everywhere(e.0) && a.contains(&e))
}

fn endpoints(m: &Member) -> impl Iterator<Item = (&str, u16)> {
    let client = m.client.iter().map(|(host, port)| (host.as_str(), *port));
    let both = m.addresses.iter().flat_map(|a| [(&*a.host, a.quorum_port), (&*a.host, a.election_port)]);
    both.chain(client)
}

fn is_everywhere(host: &str) -> bool {
    let is_local = |ip: IpAddr| ip.is_loopback() || ip.is_unspecified();
    host == "localhost" || host.parse().is_ok_and(is_local)
}

#[cfg(test)]
mod tests {
    use super::*;
    use zk_proto::ErrorCode;

    const THREE: &str = "server.1=a:1:2:participant;0.0.0.0:3\nserver.2=b:1:2:participant;0.0.0.0:3\n\
        server.3=c:1:2:participant;0.0.0.0:3\nversion=100000000";

    fn view(text: &str, synced: &[i64]) -> View {
        View {
            configs: Configs::new(EnsembleConfig::parse(text).unwrap()),
            synced: synced.iter().copied().map(PeerId).collect(),
            standalone_enabled: true,
            multi_address: false,
        }
    }

    fn ask(view: &View, joining: &str, leaving: &str, base: i64) -> Result<String, ErrorCode> {
        let request = Reconfig { joining: Some(joining), leaving: Some(leaving), members: None, base };
        view.reconfigure(&request, Zxid(0x1_0000_0005)).map_err(|e| e.code())
    }

    fn replace(view: &View, members: &str) -> Result<String, ErrorCode> {
        let request = Reconfig { joining: Some("x"), leaving: None, members: Some(members), base: -1 };
        view.reconfigure(&request, Zxid(0x1_0000_0005)).map_err(|e| e.code())
    }

    #[test]
    fn servers_leave_and_join() {
        let v = view(THREE, &[1, 2, 4]);
        let text = "server.2=b:1:2:participant;0.0.0.0:3\nserver.3=c:1:2:participant;0.0.0.0:3\n\
            server.4=d:1:2:participant;0.0.0.0:3\nversion=100000005";
        assert_eq!(ask(&v, "server.4=d:1:2;3", " 1 ,9", 0x1_0000_0000).as_deref(), Ok(text));
        // One that is there gets another line, and need not be connected where others are.
        let text = "server.1=a:1:2:participant;0.0.0.0:3\nserver.2=b:1:2:participant;0.0.0.0:3\n\
            server.3=c:4:5:observer;9.9.9.9:6\nversion=100000005";
        assert_eq!(ask(&v, "server.3=c:4:5:observer;9.9.9.9:6", "", -1).as_deref(), Ok(text));
    }

    #[test]
    fn what_is_refused() {
        use ErrorCode as E;
        let v = view(THREE, &[1, 2, 4]);
        assert_eq!(ask(&v, "", "", 7), Err(E::BadVersion));
        for (joining, leaving, code) in [
            ("server.4=d:1:2", "", E::BadArguments),
            ("server.4=d:1;3", "", E::BadArguments),
            ("server.4", "", E::BadArguments),
            ("server.4=d=1:1:2;3", "", E::BadArguments),
            ("server.4=a:7:1;3", "", E::BadArguments),
            ("server.4=d:1:2|e:1:2;3", "", E::BadArguments),
            ("server.2=x\nb:1:2;3", "", E::BadArguments),
            ("server.x=d:1:2;3", "", E::MarshallingError),
            ("", "x", E::MarshallingError),
            ("", "1,2", E::BadArguments),
            ("", "1", E::NewConfigNoQuorum),
            ("server.2=b:1:2:observer;3", "", E::NewConfigNoQuorum),
            ("server.5=e:1:2;3,server.6=f:1:2;3", "", E::NewConfigNoQuorum),
        ] {
            assert_eq!(ask(&v, joining, leaving, -1), Err(code), "{joining} {leaving}");
        }
        let mut v = v;
        let pending = EnsembleConfig { version: Zxid(0x1_0000_0002), ..(*v.configs.active).clone() };
        v.configs.last_seen = Some(pending.into());
        assert_eq!(ask(&v, "", "", 7), Err(E::ReconfigInProgress));
    }

    #[test]
    fn one_server_is_enough_where_none_stands_alone() {
        let mut v = view("server.1=a:1:2;3\nversion=0", &[1]);
        assert_eq!(ask(&v, "", "", -1), Err(ErrorCode::BadArguments));
        v.standalone_enabled = false;
        assert!(ask(&v, "", "", -1).is_ok());
        assert_eq!(ask(&v, "", "1", -1), Err(ErrorCode::BadArguments));
    }

    #[test]
    fn all_servers_at_once() {
        use ErrorCode as E;
        let v = view(THREE, &[1, 2, 4]);
        let text = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\nversion=100000005";
        assert_eq!(replace(&v, "server.1=a:1:2,server.2=b:1:2,version=77").as_deref(), Ok(text));
        let groups = "server.1=a:1:2:participant\nserver.2=b:1:2:participant\ngroup.1=1:2\n\
            weight.1=1\nweight.2=1\nversion=100000005";
        assert_eq!(replace(&v, "server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1:2").as_deref(), Ok(groups));
        for (members, code) in [
            ("", E::BadArguments),
            ("peerType=observer", E::BadArguments),
            ("server.1=a:1", E::BadArguments),
            ("server.x=a:1:2", E::MarshallingError),
            ("server.1=a:1:2", E::BadArguments),
            ("server.1=a:1:2,server.2=b:1:2:observer", E::MarshallingError),
            ("server.1=a:1:2:observer", E::MarshallingError),
            ("server.1=a:1:2,server.3=b:1:2", E::NewConfigNoQuorum),
        ] {
            assert_eq!(replace(&v, members), Err(code), "{members}");
        }
        let v = view(groups, &[1, 2]);
        assert_eq!(ask(&v, "server.2=b:1:2;3", "", -1), Err(E::BadArguments));
        assert!(replace(&v, "server.1=a:1:2,server.2=b:1:2").is_ok());
    }
}
