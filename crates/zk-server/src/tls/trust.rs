//! Whether a certificate of the other side is trusted.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use webpki::{CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationOptionsBuilder};

/// Which side showed the certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// The one that connected.
    ByClient,
    /// The one that was dialled.
    ByServer,
}

/// The content of a trust store.
#[derive(Debug)]
pub struct Trust {
    anchors: Vec<TrustAnchor<'static>>,
    certificates: Vec<CertificateDer<'static>>,
    subjects: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Trust {
    /// Takes certificates; an error says what is wrong with one.
    pub fn new(
        certificates: Vec<CertificateDer<'static>>,
        provider: &CryptoProvider,
    ) -> Result<Self, String> {
        let mut anchors = Vec::new();
        for certificate in &certificates {
            let anchor = webpki::anchor_from_trusted_cert(certificate);
            anchors
                .push(anchor.map_err(|e| format!("one of its certificates cannot be used: {e}"))?.to_owned());
        }
        let subjects = anchors.iter().map(|a| DistinguishedName::in_sequence(a.subject.as_ref())).collect();
        Ok(Self { anchors, certificates, subjects, algorithms: provider.signature_verification_algorithms })
    }

    /// Checks a chain; with `lists` also that nothing in it was revoked, and then each certificate
    /// needs a list that is not out of date.
    ///
    /// A certificate that is itself in the trust store is trusted as it is, as in Java.
    /// (ref: sun.security.validator.PKIXValidator.engineValidate)
    ///
    /// Returns what stands between it and the store: of all certificates that were shown only
    /// these come from somebody who is trusted.
    pub fn verify(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        shown: Shown,
        now: UnixTime,
        lists: Option<&[&CertRevocationList<'_>]>,
    ) -> Result<Vec<CertificateDer<'static>>, Error> {
        if self.certificates.iter().any(|known| known == certificate) {
            return Ok(Vec::new());
        }
        let end = EndEntityCert::try_from(certificate).map_err(error)?;
        let usage = match shown {
            Shown::ByClient => KeyUsage::client_auth(),
            Shown::ByServer => KeyUsage::server_auth(),
        };
        let revocation = match lists {
            None => None,
            Some(lists) => {
                let options = RevocationOptionsBuilder::new(lists)
                    .map_err(|_| Error::InvalidCertificate(CertificateError::UnknownRevocationStatus))?;
                Some(options.with_expiration_policy(ExpirationPolicy::Enforce).build())
            }
        };
        let path = end
            .verify_for_usage(self.algorithms.all, &self.anchors, others, now, usage, revocation, None)
            .map_err(error)?;
        let between = path.intermediate_certificates().map(|c| c.der().into_owned());
        Ok([certificate.clone().into_owned()].into_iter().chain(between).collect())
    }
}

/// The usual cases get the alert of their own.
fn error(e: webpki::Error) -> Error {
    Error::InvalidCertificate(match e {
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::CertRevoked => CertificateError::Revoked,
        webpki::Error::UnknownIssuer => CertificateError::UnknownIssuer,
        webpki::Error::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        webpki::Error::BadDer => CertificateError::BadEncoding,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    })
}

/// Judges certificates of clients, and of members that connect.
#[derive(Debug)]
pub struct OfClients {
    /// Who is trusted.
    pub trust: Arc<Trust>,
    /// Whether there must be one.
    pub mandatory: bool,
}

impl ClientCertVerifier for OfClients {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.trust.subjects
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.trust.verify(certificate, others, Shown::ByClient, now, None)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.trust.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.trust.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.trust.algorithms.supported_schemes()
    }
}

/// Judges certificates of members that are dialled. Whether one is for the member that was meant
/// is seen behind the handshake, where its addresses are known.
#[derive(Debug)]
pub struct OfServers(pub Arc<Trust>);

impl ServerCertVerifier for OfServers {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.0.verify(certificate, others, Shown::ByServer, now, None)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.algorithms.supported_schemes()
    }
}
