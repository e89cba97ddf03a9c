//! The `ssl.*` and `ssl.quorum.*` properties. Names of protocols and cipher suites stay text:
//! which of them can be had is known where TLS is.

use std::path::PathBuf;

use crate::{
    config::{ClientAuth, Store, StoreKind, Tls, TlsSide},
    error::{ConfigError, Secret},
    load::Builder,
};

const CLIENT: &str = "zookeeper.ssl.";
const QUORUM: &str = "zookeeper.ssl.quorum.";

impl Builder<'_> {
    /// Whether some port takes clients with TLS, and the x509 provider is there.
    /// (ref: QuorumPeerConfig.configureSSLAuth)
    pub(crate) fn clients_use_tls(&self) -> bool {
        self.text("secureClientPort").is_some() || self.flag("zookeeper.client.portUnification", false)
    }

    pub(crate) fn tls(&mut self, has_members: bool) -> Result<Tls, ConfigError> {
        let quorum = self.switch("sslQuorum", false)?;
        let quorum_unified = self.switch("portUnification", false)?;
        let quorum_reload = self.switch("sslQuorumReloadCertFiles", false)?;
        let unified = self.flag("zookeeper.client.portUnification", false);
        let client = if self.clients_use_tls() {
            self.check_client_classes()?;
            let reload = self.flag("zookeeper.client.certReload", false);
            Some(self.tls_side(CLIENT, "ssl.", false, reload)?)
        } else {
            None
        };
        let between = if has_members && (quorum || quorum_unified) {
            Some(self.tls_side(QUORUM, "ssl.quorum.", true, quorum_reload)?)
        } else {
            None
        };
        let limit = self.number(
            "zookeeper.netty.server.outstandingHandshake.limit",
            -1,
            i32::MIN.into(),
            i32::MAX.into(),
        )?;
        Ok(Tls {
            client,
            unified,
            quorum: between,
            dial: quorum,
            quorum_unified,
            super_user: self
                .property("zookeeper.X509AuthenticationProvider.superUser")
                .map(|s| s.value.clone()),
            handshakes: u32::try_from(limit).ok().filter(|n| *n > 0),
            early_drop: self.flag("zookeeper.netty.server.earlyDropSecureConnectionHandshakes", false),
        })
    }

    fn check_client_classes(&self) -> Result<(), ConfigError> {
        if let Some(s) = self.property("zookeeper.ssl.authProvider").filter(|s| s.value != "x509") {
            return Err(s.refused("there are no plug-in classes, remove it or set it to x509"));
        }
        let known = ["JDK", "OPENSSL", "OPENSSL_REFCNT"];
        if let Some(s) = self.property("zookeeper.ssl.sslProvider").filter(|s| !known.contains(&&*s.value)) {
            return Err(s.invalid("JDK, OPENSSL or OPENSSL_REFCNT, which all mean the same here"));
        }
        Ok(())
    }

    /// (ref: X509Util, SSLContextAndOptions)
    fn tls_side(
        &mut self,
        prefix: &str,
        shown: &'static str,
        quorum: bool,
        reload: bool,
    ) -> Result<TlsSide, ConfigError> {
        let name = |key: &str| format!("{prefix}{key}");
        let client_auth = match self.property(&name("clientAuth")) {
            None => ClientAuth::Need,
            Some(s) => match s.value.to_ascii_lowercase().as_str() {
                "" | "need" => ClientAuth::Need,
                "want" => ClientAuth::Want,
                "none" => ClientAuth::None,
                _ => return Err(s.invalid("need, want or none")),
            },
        };
        let key_store = self.store(prefix, "keyStore")?.ok_or_else(|| {
            self.missing(
                &format!("{shown}keyStore.location"),
                "TLS needs a file with a key and its certificate",
            )
        })?;
        let trust_store = self.store(prefix, "trustStore")?;
        // Members are dialled too, and whoever is dialled shows a certificate.
        if trust_store.is_none() && (quorum || client_auth != ClientAuth::None) {
            let key = format!("{shown}trustStore.location");
            let allowed = "a file with the certificates of the authorities that certificates of the other side \
                           must come from (to ask clients for none set ssl.clientAuth=none)";
            return Err(self.missing(&key, allowed));
        }
        let names = |key: &str| {
            let listed = self.property(&name(key)).map(|s| s.value.as_str()).filter(|v| !v.is_empty());
            listed.map(|v| v.split(',').map(|n| n.trim().to_owned()).collect::<Vec<_>>())
        };
        let protocols = names("enabledProtocols").or_else(|| names("protocol"));
        let cipher_suites = names("ciphersuites");
        let strict =
            self.property("zookeeper.fips-mode").is_some_and(|s| s.value.eq_ignore_ascii_case("false"));
        let host_names = self.flag(&name("hostnameVerification"), true);
        let client_names = host_names && self.flag(&name("clientHostnameVerification"), quorum);
        if !strict {
            self.note_names(&[&name("clientHostnameVerification")]);
            if quorum {
                self.note_names(&[&name("hostnameVerification")]);
            }
        }
        Ok(TlsSide {
            prefix: shown,
            key_store,
            trust_store,
            client_auth,
            protocols,
            cipher_suites,
            crl: self.flag(&name("crl"), false),
            verify_dialled: strict && quorum && host_names,
            verify_accepted: strict && client_names,
            reload,
        })
    }

    /// Java's default of fips-mode turns the check of host names off. (ref: X509Util.createTrustManager)
    fn note_names(&mut self, properties: &[&str]) {
        for name in properties {
            let Some(setting) = self.property(name).filter(|s| s.value.eq_ignore_ascii_case("true")) else {
                continue;
            };
            let (origin, key) = (setting.origin.clone(), setting.key.clone());
            self.settings.warn(
                Some(origin),
                format!("{key} has no effect with fips-mode=true, the default, as in Java"),
            );
        }
    }

    fn store(&self, prefix: &str, which: &str) -> Result<Option<Store>, ConfigError> {
        let value = |key: &str| {
            self.property(&format!("{prefix}{which}.{key}")).filter(|setting| !setting.value.is_empty())
        };
        let Some(location) = value("location") else { return Ok(None) };
        let kind = match value("type") {
            Some(setting) => StoreKind::named(&setting.value),
            None => StoreKind::of_file(&location.value),
        };
        let allowed = "JKS, PEM or PKCS12 as type, or a file that ends with .jks, .pem or .p12";
        let kind = kind.ok_or_else(|| value("type").unwrap_or(location).invalid(allowed))?;
        Ok(Some(Store {
            key: location.key.clone(),
            location: PathBuf::from(&location.value),
            kind,
            password: value("password").map(|s| Secret::new(s.value.clone())),
            password_path: value("passwordPath").map(|s| PathBuf::from(&s.value)),
        }))
    }
}
