//! Which clients a listener lets in, by the certificates that they show.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::WebPkiClientVerifier;
use rustls::{DistinguishedName, Error};

use super::{pem, provider, words};

/// Whether clients show certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum VerifyClient {
    /// They are not asked for one.
    #[default]
    No,
    /// They are asked, and those who have none are let in.
    Optional,
    /// Nobody is let in without.
    Required,
}

/// Who is asked for a certificate that leads to a root in `roots`; `None`: nobody.
///
/// # Errors
/// The file is missing, or cannot be read or used; in words.
pub fn verifier(
    verify: VerifyClient,
    roots: Option<&Path>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, String> {
    if verify == VerifyClient::No {
        return Ok(None);
    }
    let Some(path) = roots else {
        return Err("ssl_verify_client needs ssl_client_ca".into());
    };
    let (roots, named) = pem::roots("ssl_client_ca", path)?;
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    if verify == VerifyClient::Optional {
        builder = builder.allow_unauthenticated();
    }
    let chain = builder
        .build()
        .map_err(|error| format!("{}: {error}", pem::named("ssl_client_ca", path)))?;
    Ok(Some(Arc::new(Admitting { chain, named })))
}

/// Chains to the roots; and certificates that were named among them themselves, see
/// [`super::client`].
#[derive(Debug)]
struct Admitting {
    chain: Arc<dyn ClientCertVerifier>,
    named: Vec<CertificateDer<'static>>,
}

impl ClientCertVerifier for Admitting {
    fn offer_client_auth(&self) -> bool {
        self.chain.offer_client_auth()
    }

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
            // Its dates were checked before that was noticed.
            Err(error)
                if words::is_ca_as_end_entity(&error)
                    && self.named.iter().any(|named| named == end_entity) =>
            {
                Ok(ClientCertVerified::assertion())
            }
            result => result,
        }
    }

    signatures_by_chain!();
}
