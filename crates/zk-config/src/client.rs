//! What tools that connect as clients have in their environment: the properties of Java's client.

use std::path::Path;

use crate::{
    config::{ClientSettings, Login},
    error::{ConfigError, Origin},
    jvm_flags::Env,
    load::{Builder, DIGEST_LOGIN, must_read, read_bounded},
    properties::Properties,
    sasl::login_path,
    zoo_cfg::{Setting, Settings},
};

impl ClientSettings {
    /// Takes the flags of `env`, then the entries of a file, then `arguments`: the later counts. What a
    /// client has no use for is skipped without a word.
    /// (ref: ZKConfig.addConfiguration, ZKClientConfig)
    pub fn load(file: Option<&Path>, env: &Env, arguments: &[(String, String)]) -> Result<Self, ConfigError> {
        let mut settings = Settings::from_env(env);
        settings.notes.clear();
        let mut put = |key: &str, value: &str, origin| {
            let setting = Setting { key: key.to_owned(), value: value.to_owned(), origin };
            settings.properties.insert(key.to_owned(), setting);
        };
        if let Some(path) = file {
            for entry in Properties::parse(path, &must_read(path, &read_bounded)?)?.entries {
                put(&entry.key, &entry.value, Origin::File { path: path.into(), line: entry.line });
            }
        }
        for (key, value) in arguments {
            put(key, value, Origin::Argument);
        }
        let place = file.map_or_else(|| "the client's properties".to_owned(), |p| p.display().to_string());
        let mut builder = Builder { place, path: file, settings, read: &read_bounded };
        let (tls, login) = (builder.tls_of_client()?, builder.login_of_client()?);
        Ok(Self { tls, login, notes: builder.settings.notes })
    }
}

impl Builder<'_> {
    /// Whom a client logs in as. `None`: there is no file of logins, or `zookeeper.sasl.client` says no, or
    /// the file has no section for a client, with which Java goes on as well.
    ///
    /// differs: `fips-mode`, which is on by default, does not forbid DIGEST-MD5; whoever writes such a login
    /// down wants it.
    /// (ref: ZooKeeperSaslClient, ClientCnxn.SendThread.startConnect, DigestLoginModule)
    fn login_of_client(&mut self) -> Result<Option<Login>, ConfigError> {
        if !self.flag("zookeeper.sasl.client", true) {
            return Ok(None);
        }
        let Some(setting) = self.login_setting() else { return Ok(None) };
        let section =
            self.property("zookeeper.sasl.clientconfig").map_or_else(|| "Client".into(), |s| s.value.clone());
        let modules = self.logins(&setting)?.sections.remove(&section).unwrap_or_default();
        let Some(module) = modules.into_iter().next() else {
            let path = login_path(&setting.value).display();
            let text = format!("{path} has no section {section}: nobody is logged in by SASL");
            self.settings.warn(Some(setting.origin), text);
            return Ok(None);
        };
        let option = |name: &str| module.options.get(name).filter(|v| !v.expose().is_empty());
        let reason = match (option("username"), option("password")) {
            _ if module.class != DIGEST_LOGIN => {
                format!("these tools log in with DIGEST-MD5 alone, which is {DIGEST_LOGIN}")
            }
            (Some(user), Some(password)) => {
                return Ok(Some(Login { user: user.expose().to_owned(), password: password.clone() }));
            }
            _ => "it needs username=\"NAME\" and password=\"PASSWORD\"".to_owned(),
        };
        Err(ConfigError::Refused { origin: module.origin, key: section, value: module.class, reason })
    }
}
