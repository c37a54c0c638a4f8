//! TLS of a context: what its clients and listeners are secured with, and what became of it.

use evws_proto::url::Url;
use rustls::pki_types::ServerName;

use crate::connect::CallError;
use crate::context::Context;
use crate::establish::client::Secure;
use crate::establish::desk::Awaited;
use crate::event::Id;
use crate::tls::client::ClientTls;
use crate::tls::info::TlsInfo;
use crate::tls::server::{ListenerTls, ServerTls};

impl Context {
    /// What a `wss://` URL is connected with.
    ///
    /// # Errors
    /// [`CallError::Invalid`] for a file, or a name, that cannot be used.
    pub(crate) fn secure(
        &mut self,
        url: &Url,
        options: &ClientTls,
        name: Option<String>,
    ) -> Result<Secure, CallError> {
        let refused = |why: String| CallError::Invalid(format!("connect: {why}"));
        let configuration = self.clients.configuration(options).map_err(refused)?;
        let name = name.unwrap_or_else(|| url.host.clone());
        let name = ServerName::try_from(name.clone()).map_err(|_| {
            refused(format!(
                "'{name}' is neither a host name nor an address that TLS can check"
            ))
        })?;
        Ok(Secure {
            configuration,
            name,
            verify: options.verify,
        })
    }

    /// Reads the files of listeners again. Handshakes that begin from now on use them; connections
    /// that stand keep what they have.
    ///
    /// # Errors
    /// [`CallError::Invalid`] if one of them has no TLS, or a file cannot be used; then all of them
    /// stay as they were.
    pub fn reload_tls(&mut self, listeners: &[Id]) -> Result<(), CallError> {
        let refused = |why: String| CallError::Invalid(format!("reload_tls: {why}"));
        let mut made = Vec::new();
        for &id in listeners {
            let tls = self
                .listener(id)
                .and_then(|listener| listener.policy.tls.as_ref())
                .ok_or_else(|| refused("there is no listener with TLS".into()))?;
            made.push((tls, tls.read().map_err(refused)?));
        }
        for (tls, configuration) in made {
            tls.replace(configuration);
        }
        Ok(())
    }

    /// What a connection's TLS has agreed on, also of one whose request waits for an answer; `None` if
    /// it has none, or is not connected.
    pub fn tls(&self, id: Id) -> Option<TlsInfo<'_>> {
        match self.awaited(id) {
            Some(Awaited::Handshake(..) | Awaited::Request(_)) => {
                let establishing = &self.slots.pending(id)?.establishing;
                establishing.info().map(|kept| kept.info())
            }
            _ => self.known(id)?.tls.as_ref().map(|tls| tls.info()),
        }
    }
}

/// What a new listener is secured with.
pub(crate) fn listener(files: ServerTls) -> Result<ListenerTls, CallError> {
    ListenerTls::new(files).map_err(|refusal| {
        // The first is what programs know from 0.10.
        let prefix = if refusal.of_certificate {
            "Failed to create vhost for listening"
        } else {
            "listen"
        };
        CallError::Invalid(format!("{prefix}: {}", refusal.why))
    })
}
