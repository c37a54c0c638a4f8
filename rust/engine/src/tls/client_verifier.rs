//! Which clients a listener accepts, by their certificates.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::WebPkiClientVerifier;
use rustls::{DistinguishedName, Error};

use super::{error_text, pem, provider};
use crate::error::{PemFile, PemRole, TlsError};

/// Whether a listener asks its clients for certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyClient {
    /// Clients are not asked for a certificate.
    #[default]
    No,
    /// Clients are asked, and those that have no certificate are accepted.
    Optional,
    /// A client without a certificate is refused.
    Required,
}

/// A verifier for certificates that lead to a root in the file `roots`; `None`: clients are not asked.
///
/// # Errors
/// The file is missing, or cannot be read or used.
pub fn verifier(
    verify: VerifyClient,
    roots: Option<&Path>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    if verify == VerifyClient::No {
        return Ok(None);
    }
    let Some(path) = roots else {
        return Err(TlsError::NoClientCa);
    };
    let file = PemFile::new(PemRole::ClientCa, path);
    let (roots, named) = pem::roots(&file)?;
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    if verify == VerifyClient::Optional {
        builder = builder.allow_unauthenticated();
    }
    let chain = builder
        .build()
        .map_err(|error| TlsError::Unusable(file, error.to_string()))?;
    Ok(Some(Arc::new(RootsVerifier { chain, named })))
}

/// Accepts certificates whose chains lead to the roots, and the certificates in the file of roots
/// themselves, as [`super::client`] explains.
#[derive(Debug)]
struct RootsVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl ClientCertVerifier for RootsVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.chain.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let result = self
            .chain
            .verify_client_cert(end_entity, intermediates, now);
        match result {
            // rustls has checked the certificate's dates before it noticed that it is a CA's.
            Err(error)
                if error_text::is_ca_as_end_entity(&error)
                    && self.named.iter().any(|named| named == end_entity) =>
            {
                Ok(ClientCertVerified::assertion())
            }
            result => result,
        }
    }

    signatures_by_chain!();
}
