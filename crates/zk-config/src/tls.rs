//! The `ssl.*` and `ssl.quorum.*` properties. Names of protocols and cipher suites stay text:
//! which of them can be had is known where TLS is.

use std::path::PathBuf;

use crate::{
    config::{AdminTls, ClientAuth, Store, StoreKind, Tls, TlsClient, TlsSide},
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
        let unified = self.flag("zookeeper.client.portUnification", false);
        let client = if self.clients_use_tls() {
            self.check_client_classes()?;
            let reload = self.flag("zookeeper.client.certReload", false);
            let client_auth = self.client_auth(CLIENT)?;
            // Nobody is dialled from there.
            let needs_trust = client_auth != ClientAuth::None;
            let mut side = self.tls_side(CLIENT, "ssl.", client_auth, needs_trust, reload)?;
            self.host_names(&mut side, CLIENT, false);
            Some(side)
        } else {
            None
        };
        let between = if has_members && (quorum || quorum_unified) {
            let client_auth = self.client_auth(QUORUM)?;
            let mut side = self.quorum_side(client_auth)?;
            self.host_names(&mut side, QUORUM, true);
            Some(side)
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

    /// The admin port has the files of the members' side. Not all of it counts: Java's admin server asks for
    /// certificates by a setting of its own, and never looks at host names, for they are the callers'.
    ///
    /// differs: protocols, cipher suites and `crl` of that side count here too, and files that change are read
    /// again with `sslQuorumReloadCertFiles`; Java leaves that to Jetty, which does none of it.
    /// (ref: JettyAdminServer.<init>)
    pub(crate) fn admin_tls(&self) -> Result<Option<AdminTls>, ConfigError> {
        let forced = self.flag("zookeeper.admin.forceHttps", false);
        if !forced && !self.flag("zookeeper.admin.portUnification", false) {
            return Ok(None);
        }
        let client_auth = match self.flag("zookeeper.admin.needClientAuth", false) {
            true => ClientAuth::Need,
            false => ClientAuth::None,
        };
        Ok(Some(AdminTls { side: self.quorum_side(client_auth)?, forced }))
    }

    fn quorum_side(&self, client_auth: ClientAuth) -> Result<TlsSide, ConfigError> {
        let reload = self.switch("sslQuorumReloadCertFiles", false)?;
        self.tls_side(QUORUM, "ssl.quorum.", client_auth, true, reload)
    }

    fn client_auth(&self, prefix: &str) -> Result<ClientAuth, ConfigError> {
        let Some(s) = self.property(&format!("{prefix}clientAuth")) else { return Ok(ClientAuth::Need) };
        match s.value.to_ascii_lowercase().as_str() {
            "" | "need" => Ok(ClientAuth::Need),
            "want" => Ok(ClientAuth::Want),
            "none" => Ok(ClientAuth::None),
            _ => Err(s.invalid("need, want or none")),
        }
    }

    /// (ref: X509Util, SSLContextAndOptions)
    fn tls_side(
        &self,
        prefix: &str,
        shown: &'static str,
        client_auth: ClientAuth,
        needs_trust: bool,
        reload: bool,
    ) -> Result<TlsSide, ConfigError> {
        let key_store = self.store(prefix, "keyStore")?.ok_or_else(|| {
            self.missing(
                &format!("{shown}keyStore.location"),
                "TLS needs a file with a key and its certificate",
            )
        })?;
        let trust_store = self.store(prefix, "trustStore")?;
        if trust_store.is_none() && needs_trust {
            let key = format!("{shown}trustStore.location");
            let allowed = "a file with the certificates of the authorities that certificates of the other side \
                           must come from (to ask clients for none set ssl.clientAuth=none)";
            return Err(self.missing(&key, allowed));
        }
        Ok(TlsSide {
            prefix: shown,
            key_store,
            trust_store,
            client_auth,
            protocols: self.protocols(prefix),
            cipher_suites: self.names(&format!("{prefix}ciphersuites")),
            crl: self.flag(&format!("{prefix}crl"), false),
            verify_dialled: false,
            verify_accepted: false,
            reload,
        })
    }

    fn names(&self, property: &str) -> Option<Vec<String>> {
        let listed = self.property(property).map(|s| s.value.as_str()).filter(|v| !v.is_empty());
        listed.map(|v| v.split(',').map(|n| n.trim().to_owned()).collect())
    }

    fn protocols(&self, prefix: &str) -> Option<Vec<String>> {
        let names = |key: &str| self.names(&format!("{prefix}{key}"));
        names("enabledProtocols").or_else(|| names("protocol"))
    }

    /// Whose names are compared with certificates. Between members Java's default of fips-mode turns that off.
    /// (ref: X509Util.createTrustManager)
    ///
    /// differs: with fips-mode Java's port for clients compares with a host that it does not know, so that no
    /// certificate is right. (ref: ClientX509Util.createNettySslContextForServer)
    fn host_names(&mut self, side: &mut TlsSide, prefix: &str, quorum: bool) {
        let name = |key: &str| format!("{prefix}{key}");
        let strict =
            self.property("zookeeper.fips-mode").is_some_and(|s| s.value.eq_ignore_ascii_case("false"));
        let host_names = self.flag(&name("hostnameVerification"), true);
        let client_names = host_names && self.flag(&name("clientHostnameVerification"), quorum);
        if quorum && !strict {
            self.note_names(&[&name("clientHostnameVerification"), &name("hostnameVerification")]);
        }
        side.verify_dialled = strict && quorum && host_names;
        side.verify_accepted = (strict || !quorum) && client_names;
    }

    /// What a client dials with: the same keys as a server's `ssl.*`.
    ///
    /// differs: without a trust store Java trusts all public authorities; that is refused here.
    /// (ref: ClientX509Util.createNettySslContextForClient)
    pub(crate) fn tls_of_client(&self) -> Result<Option<TlsClient>, ConfigError> {
        if !self.flag("zookeeper.client.secure", false) {
            return Ok(None);
        }
        let property = |key: &str| self.property(&format!("{CLIENT}{key}"));
        if let Some(s) = property("ocsp").filter(|s| s.value.eq_ignore_ascii_case("true")) {
            return Err(s.refused("certificates are not checked by OCSP, remove it or use zookeeper.ssl.crl"));
        }
        if let Some(s) = property("context.supplier.class").filter(|s| !s.value.is_empty()) {
            return Err(s.refused("there are no plug-in classes, use zookeeper.ssl.keyStore.location"));
        }
        let trust_store = self.store(CLIENT, "trustStore")?.ok_or_else(|| {
            let allowed =
                "a file with the certificates of the authorities that servers' certificates come from";
            self.missing("zookeeper.ssl.trustStore.location", allowed)
        })?;
        Ok(Some(TlsClient {
            key_store: self.store(CLIENT, "keyStore")?,
            trust_store,
            protocols: self.protocols(CLIENT),
            cipher_suites: self.names(&format!("{CLIENT}ciphersuites")),
            crl: self.flag(&format!("{CLIENT}crl"), false),
            host_names: self.flag(&format!("{CLIENT}hostnameVerification"), true),
        }))
    }

    /// Warns of each that is set.
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
