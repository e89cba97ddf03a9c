//! Logins by SASL, of clients and between members: sections of Java's file of logins, and the
//! properties beside it.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    config::{Door, Keytab, MemberLogin, PrincipalNames, QuorumSasl, Sasl},
    error::{ConfigError, Secret},
    jaas::{LoginFile, LoginModule},
    load::{Builder, DIGEST_LOGIN, must_read},
    zoo_cfg::Setting,
};

const KERBEROS: &str = "com.sun.security.auth.module.Krb5LoginModule";
const LOGIN_FILE: &str = "java.security.auth.login.config";

/// Which logins between members are switched on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct QuorumLogins {
    /// `quorum.auth.enableSasl`.
    enabled: bool,
    /// `quorum.auth.serverRequireSasl`.
    required: bool,
    /// `quorum.auth.learnerRequireSasl`.
    dial: bool,
}

impl Builder<'_> {
    /// `None`: there is no file of logins, or it has no section for this server, as Java takes it.
    /// (ref: ServerCnxnFactory.configureSaslLogin)
    pub(crate) fn sasl(&mut self) -> Result<Option<Sasl>, ConfigError> {
        let Some(setting) = self.login_setting() else { return Ok(None) };
        let section =
            self.property("zookeeper.sasl.serverconfig").map_or_else(|| "Server".into(), |s| s.value.clone());
        let file = self.logins(&setting)?;
        let modules = file.sections.get(&section).map(Vec::as_slice).unwrap_or_default();
        if modules.is_empty() {
            let path = login_path(&setting.value).display();
            let text = format!("{path} has no section {section}: clients cannot log in by SASL");
            self.settings.warn(Some(setting.origin), text);
            return Ok(None);
        }
        let mut door = self.door(&setting, &section, modules)?;
        // A user super must be there all the same. (ref: SaslServerCallbackHandler)
        let password = self.property("zookeeper.SASLAuthenticationProvider.superPassword");
        if let (Door::Digest(users), Some(s)) = (&mut door, password)
            && let Some(of_super) = users.get_mut("super")
        {
            *of_super = Secret::new(s.value.clone());
        }
        let is_on = |name: &str| self.property(name).is_some_and(|s| s.value == "true");
        let names = PrincipalNames {
            remove_host: is_on("zookeeper.kerberos.removeHostFromPrincipal"),
            remove_realm: is_on("zookeeper.kerberos.removeRealmFromPrincipal"),
            rules: self.property("zookeeper.security.auth_to_local").map(|s| s.value.clone()),
        };
        let named = self.settings.properties.iter();
        let is_super = |name: &str| name == "zookeeper.superUser" || name.starts_with("zookeeper.superUser.");
        let super_users = named.filter(|(name, _)| is_super(name)).map(|(_, s)| s.value.clone());
        Ok(Some(Sasl {
            door,
            names,
            super_users: super_users.filter(|name| !name.is_empty()).collect(),
            allow_failed: self.flag("zookeeper.allowSaslFailedClients", false),
        }))
    }

    /// Switches that must fit each other on a server without members too.
    /// (ref: QuorumPeerConfig.parseProperties)
    pub(crate) fn quorum_logins(&self) -> Result<QuorumLogins, ConfigError> {
        let logins = QuorumLogins {
            enabled: self.switch("quorum.auth.enableSasl", false)?,
            required: self.switch("quorum.auth.serverRequireSasl", false)?,
            dial: self.switch("quorum.auth.learnerRequireSasl", false)?,
        };
        if (logins.required || logins.dial) && !logins.enabled {
            return Err(self.conflict(
                "quorum.auth.serverRequireSasl and .learnerRequireSasl need quorum.auth.enableSasl=true",
            ));
        }
        if logins.required && !logins.dial {
            return Err(
                self.conflict("quorum.auth.serverRequireSasl needs quorum.auth.learnerRequireSasl=true")
            );
        }
        Ok(logins)
    }

    /// What a member needs to log in to others, and to let them in. Both sections must be there, as
    /// in Java. (ref: QuorumPeer.initialize, SaslQuorumAuthServer, SaslQuorumAuthLearner)
    pub(crate) fn quorum_sasl(&mut self) -> Result<Option<QuorumSasl>, ConfigError> {
        let switches = self.quorum_logins()?;
        if !switches.enabled {
            return Ok(None);
        }
        let Some(setting) = self.login_setting() else {
            return Err(
                self.missing(LOGIN_FILE, "quorum.auth.enableSasl=true needs the file with the logins")
            );
        };
        let file = self.logins(&setting)?;
        let (name, modules) =
            self.quorum_section(&setting, &file, "quorum.auth.server.saslLoginContext", "QuorumServer")?;
        let door = self.door(&setting, &name, modules)?;
        let (name, modules) =
            self.quorum_section(&setting, &file, "quorum.auth.learner.saslLoginContext", "QuorumLearner")?;
        let login = self.login(&name, modules, switches.dial)?;
        Ok(Some(QuorumSasl { door, required: switches.required, login }))
    }

    fn quorum_section<'f>(
        &self,
        setting: &Setting,
        file: &'f LoginFile,
        key: &str,
        default: &str,
    ) -> Result<(String, &'f [LoginModule]), ConfigError> {
        let name = self.text(key).map_or(default, |s| &s.value);
        match file.sections.get(name) {
            Some(modules) if !modules.is_empty() => Ok((name.to_owned(), modules)),
            _ => {
                let path = login_path(&setting.value).display();
                Err(self.conflict(format!("{path} has no section {name}, which {key} names")))
            }
        }
    }

    /// Whom this member says it is, if it says so. (ref: DigestLoginModule, SecurityUtils.createSaslClient)
    fn login(
        &self,
        section: &str,
        modules: &[LoginModule],
        wanted: bool,
    ) -> Result<Option<MemberLogin>, ConfigError> {
        let kerberos = self.kerberos(section, modules)?;
        if !wanted {
            return Ok(None);
        }
        if let Some(keytab) = kerberos {
            return Ok(Some(MemberLogin::Kerberos { keytab, service: self.service() }));
        }
        if self.flag("zookeeper.fips-mode", true) {
            return Err(self.conflict(
                "quorum.auth.learnerRequireSasl=true with DIGEST-MD5 needs fips-mode=false, as with Java",
            ));
        }
        let option =
            |name: &str| modules.iter().find_map(|m| m.options.get(name)).filter(|v| !v.expose().is_empty());
        match (option("username"), option("password")) {
            (Some(user), Some(password)) => {
                Ok(Some(MemberLogin::Digest { user: user.expose().to_owned(), password: password.clone() }))
            }
            _ => {
                Err(self
                    .conflict(format!("section {section} has no username=\"NAME\" password=\"PASSWORD\"")))
            }
        }
    }

    /// Whom members log in to. (ref: SecurityUtils.createSaslClient)
    fn service(&self) -> String {
        let key = "quorum.auth.kerberos.servicePrincipal";
        let service = self.text(key).map_or("zkquorum/localhost", |s| &s.value);
        match self.property("zookeeper.server.realm") {
            Some(realm) if !service.contains('@') => format!("{service}@{}", realm.value),
            _ => service.to_owned(),
        }
    }

    /// How a section lets others in.
    fn door(
        &mut self,
        setting: &Setting,
        section: &str,
        modules: &[LoginModule],
    ) -> Result<Door, ConfigError> {
        if let Some(keytab) = self.kerberos(section, modules)? {
            if !keytab.principal.contains('/') {
                let principal = keytab.principal;
                return Err(self.conflict(format!(
                    "section {section}: principal {principal} is no service, which has the form SERVICE/HOST"
                )));
            }
            return Ok(Door::Kerberos(keytab));
        }
        let options = modules.iter().flat_map(|m| &m.options);
        let users: BTreeMap<_, _> =
            options.filter_map(|(k, v)| Some((k.strip_prefix("user_")?.to_owned(), v.clone()))).collect();
        if users.is_empty() {
            let path = login_path(&setting.value).display();
            let text = format!("section {section} of {path} has no user_NAME=\"password\"");
            self.settings.warn(Some(setting.origin.clone()), text);
        }
        Ok(Door::Digest(users))
    }

    /// The principal of a section for Kerberos, which counts more than users beside it. Another class
    /// could let anybody in. (ref: Login, ZooKeeperSaslServer.createSaslServer)
    fn kerberos(&self, section: &str, modules: &[LoginModule]) -> Result<Option<Keytab>, ConfigError> {
        let refused = |module: &LoginModule, reason: String| ConfigError::Refused {
            origin: module.origin.clone(),
            key: section.to_owned(),
            value: module.class.clone(),
            reason,
        };
        if let Some(module) = modules.iter().find(|m| m.class != DIGEST_LOGIN && m.class != KERBEROS) {
            return Err(refused(
                module,
                format!("there are no plug-in classes, allowed are {DIGEST_LOGIN} and {KERBEROS}"),
            ));
        }
        let Some(module) = modules.iter().find(|m| m.class == KERBEROS) else { return Ok(None) };
        let option = |name: &str| module.options.get(name).map(|v| v.expose()).filter(|v| !v.is_empty());
        if !option("useKeyTab").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
            return Err(refused(
                module,
                "a server has its key in a file: set useKeyTab=true and keyTab".to_owned(),
            ));
        }
        let Some(principal) = option("principal").filter(|p| *p != "*") else {
            return Err(refused(module, "it needs principal=\"SERVICE/HOST@REALM\"".to_owned()));
        };
        // It may be a URL, as in Java.
        let path = option("keyTab")
            .map(|p| p.strip_prefix("FILE:").or_else(|| p.strip_prefix("file:")).unwrap_or(p));
        Ok(Some(Keytab { principal: principal.to_owned(), path: path.map(PathBuf::from) }))
    }

    /// Where the file of logins is said to be.
    pub(crate) fn login_setting(&self) -> Option<Setting> {
        self.property(LOGIN_FILE).filter(|s| !s.value.is_empty()).cloned()
    }

    pub(crate) fn logins(&self, setting: &Setting) -> Result<LoginFile, ConfigError> {
        let path = login_path(&setting.value);
        let property = |name: &str| self.property(name).map(|s| s.value.clone());
        LoginFile::parse(path, &must_read(path, self.read)?, &property)
    }
}

/// The file of logins from its setting: `=` in front says in Java that there is no other, and it may
/// be a URL. (ref: sun.security.provider.ConfigFile.init)
pub(crate) fn login_path(value: &str) -> &Path {
    let value = value.strip_prefix('=').unwrap_or(value);
    let local = value.strip_prefix("file:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
    Path::new(local.unwrap_or(value))
}
