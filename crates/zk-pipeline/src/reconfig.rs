//! What the leader of an ensemble is asked while a reconfiguration is prepared. Who is
//! a member, and how that is written, is known outside.

use zk_proto::Zxid;

use crate::prep::RequestError;

/// A request of a client. ref: ReconfigRequest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reconfig<'a> {
    /// Server lines with commas between.
    pub joining: Option<&'a str>,
    /// Numbers of servers with commas between.
    pub leaving: Option<&'a str>,
    /// All lines of the new configuration; the two above do not count then.
    pub members: Option<&'a str>,
    /// Version of the configuration that the client knows; -1 for any.
    pub base: i64,
}

/// The ensemble as its leader sees it at the moment of a request.
pub trait Ensemble: std::fmt::Debug + Send + Sync {
    /// The text of the configuration that is asked for; `version` becomes its version.
    ///
    /// # Errors
    /// If there is one under way, if the request does not fit the present one or makes none
    /// that works, or if no quorum of it is connected and synchronised.
    fn reconfigure(&self, request: &Reconfig<'_>, version: Zxid) -> Result<String, RequestError>;
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use zk_proto::client::WriteRequest;
    use zk_proto::txn::Txn;
    use zk_proto::{AuthId, ErrorCode, OpCode, SessionId, Xid, path};
    use zk_tree::{Tree, TreeOptions};

    use super::*;
    use crate::prep::{Asker, Ephemerals, Prep, Prepared};
    use crate::{AuthPolicy, Now, PipelineConfig};

    #[derive(Debug)]
    struct Agrees;

    impl Ensemble for Agrees {
        fn reconfigure(&self, request: &Reconfig<'_>, version: Zxid) -> Result<String, RequestError> {
            match request.leaving {
                Some("all") => Err(RequestError::NewConfigNoQuorum),
                _ => Ok(format!("version={:x}", version.0)),
            }
        }
    }

    fn ask(prep: &mut Prep, tree: &Tree, ids: &[AuthId], leaving: &str) -> Result<Txn, ErrorCode> {
        let leaving = Some(leaving.to_owned());
        let request = WriteRequest::Reconfig { joining: None, leaving, members: None, base: -1 };
        let who = Asker { session: SessionId(7), cxid: Xid(1), ids, ephemerals: Ephemerals::Allowed };
        let before = prep.last_zxid();
        let Prepared { entry, error, .. } = prep.prepare(Now { mono: 0, wall: 5 }, tree, who, Ok(request));
        assert_eq!(Some(entry.header.zxid), before.next());
        assert_eq!(entry.header.op, if error.is_some() { OpCode::Error } else { OpCode::Reconfig });
        error.map_or(Ok(entry.txn), |e| Err(e.code()))
    }

    #[test]
    fn the_switch_comes_first_and_the_permission_last() {
        let tree = Tree::new(TreeOptions { extended_types: true, digest: true, hash_seed: 7 });
        let off = PipelineConfig::default();
        let on = PipelineConfig { reconfig_enabled: true, ..PipelineConfig::default() };
        let nobody = &[];
        let somebody = &[AuthId { scheme: "super".to_owned(), id: "super".to_owned() }];

        let mut prep = Prep::new(off, &tree, Zxid(0));
        assert_eq!(ask(&mut prep, &tree, somebody, ""), Err(ErrorCode::ReconfigDisabled));
        let mut prep = Prep::new(on.clone(), &tree, Zxid(0));
        assert_eq!(ask(&mut prep, &tree, somebody, ""), Err(ErrorCode::Unimplemented));
        prep.set_ensemble(Arc::new(Agrees));
        assert_eq!(ask(&mut prep, &tree, nobody, "all"), Err(ErrorCode::NewConfigNoQuorum));
        assert_eq!(ask(&mut prep, &tree, nobody, ""), Err(ErrorCode::NoAuth));
        let digest_before = tree.digest();
        let txn = |zxid| Txn::SetData {
            path: path::CONFIG.into(),
            data: Some(format!("version={zxid:x}").into()),
            version: -1,
        };
        assert_eq!(ask(&mut prep, &tree, somebody, ""), Ok(txn(4)));
        // Until it is applied there is no other.
        assert_eq!(ask(&mut prep, &tree, somebody, ""), Err(ErrorCode::ReconfigInProgress));
        prep.applied(Zxid(3));
        assert_eq!(ask(&mut prep, &tree, somebody, ""), Err(ErrorCode::ReconfigInProgress));
        prep.applied(Zxid(4));
        assert_eq!(ask(&mut prep, &tree, somebody, ""), Ok(txn(7)));
        assert_eq!(tree.digest(), digest_before);

        let open = AuthPolicy { skip_acl: true, ..AuthPolicy::default() };
        let mut prep = Prep::new(PipelineConfig { policy: open, ..on }, &tree, Zxid(0));
        prep.set_ensemble(Arc::new(Agrees));
        assert_eq!(ask(&mut prep, &tree, nobody, ""), Ok(txn(1)));
    }
}
