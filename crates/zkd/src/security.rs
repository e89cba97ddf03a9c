//! TLS and logins of the tools that connect as clients, from an environment that is made for Java's zkCli.
//! ref: ZKClientConfig, bin/zkCli.sh.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use zk_client::Security;
use zk_config::Env;
use zk_config::config::ClientSettings;
use zk_server::sasl::Caller;
use zk_server::tls::Dialler;

/// What stands on a command line beside the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Given {
    /// A file of properties, as Java's option `-client-configuration` names it.
    pub file: Option<PathBuf>,
    /// Properties of the command line.
    pub properties: Vec<(String, String)>,
}

/// Splits `name=value`; without a value it is empty, as with Java.
pub fn property(text: &str) -> (String, String) {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    (name.to_owned(), value.to_owned())
}

/// Reads all of it, the files too. Remarks go to `note`.
pub fn load(given: &Given, note: impl Fn(&str)) -> Result<Security> {
    let env = Env::pick_client(|name| std::env::var(name).ok());
    let settings = ClientSettings::load(given.file.as_deref(), &env, &given.properties)?;
    settings.notes.iter().for_each(|n| note(&n.to_string()));
    let mut security = Security::default();
    if let Some(tls) = &settings.tls {
        let dialler = Dialler::load(tls).context("no TLS")?;
        security.tls = Some(Arc::new(move |stream, host| dialler.shake(stream, host)));
    }
    if let Some(login) = settings.login {
        security.login = Some(Arc::new(move || {
            let mut caller = Caller::new(login.clone());
            Box::new(move |token| caller.answer(token).map_err(|e| e.to_string()))
        }));
    }
    Ok(security)
}
