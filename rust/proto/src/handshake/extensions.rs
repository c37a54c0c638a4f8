//! The negotiation of permessage-deflate (RFC 7692 sections 5 and 7.1) in `Sec-WebSocket-Extensions` (RFC 6455
//! section 9.1).

use super::headers::{is_token, lossy};
use super::Rejection;
use crate::deflate::{fit, Agreement, Direction, Options, MAX_WINDOW_BITS, MIN_WINDOW_BITS};

const NAME: &str = "permessage-deflate";
const SERVER_NO_CONTEXT_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_NO_CONTEXT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_MAX_WINDOW_BITS: &str = "server_max_window_bits";
const CLIENT_MAX_WINDOW_BITS: &str = "client_max_window_bits";

/// The parameters of permessage-deflate that both ends have agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The extension in the server's response.
    pub text: String,
    /// The parameters, as this side carries them out.
    pub agreement: Agreement,
}

/// Why a client does not accept a server's choice of extensions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtensionError {
    /// The header breaks the grammar of RFC 6455 section 9.1.
    #[error("server sent a malformed Sec-WebSocket-Extensions header: '{}'", .0.escape_debug())]
    Malformed(String),
    /// An extension that was not offered.
    #[error("server chose an extension that was not offered: '{}'", .0.escape_debug())]
    NotOffered(String),
    /// The same extension twice.
    #[error("server chose an extension twice: '{0}'")]
    Twice(&'static str),
    /// A parameter of permessage-deflate that does not exist, stands twice, or has an impossible value.
    #[error("server chose permessage-deflate with {0}")]
    Parameter(ParameterError),
    /// A larger window than the client allows.
    #[error(
        "server chose permessage-deflate with {name}={chosen}, but at most {asked} was asked for"
    )]
    Window {
        /// The parameter.
        name: &'static str,
        /// The parameter's value in the response.
        chosen: u8,
        /// The parameter's value in the offer.
        asked: u8,
    },
    /// The server does not agree to what the client requires.
    #[error(
        "server chose permessage-deflate without server_no_context_takeover, which was asked for"
    )]
    Takeover,
}

/// What is wrong with a parameter of permessage-deflate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParameterError {
    /// RFC 7692 section 7.1 knows four.
    #[error("an unknown parameter: '{}'", .0.escape_debug())]
    Unknown(String),
    /// The parameter is there twice.
    #[error("the parameter {0} twice")]
    Twice(&'static str),
    /// A value where none may be, none where one must be, or one that is not 8 to 15.
    #[error("an invalid value of the parameter {0}")]
    Value(&'static str),
}

/// One element of the header's list.
struct Extension {
    name: String,
    parameters: Vec<(String, Option<String>)>,
}

/// The parameters of permessage-deflate.
#[derive(Default)]
struct Parameters {
    server_no_context_takeover: bool,
    client_no_context_takeover: bool,
    server_max_window_bits: Option<u8>,
    /// Without a value, an offer only says that the client knows the parameter.
    client_max_window_bits: Option<Option<u8>>,
}

/// The value of a client's header.
pub(super) fn offer(options: &Options) -> String {
    let (client, server) = client_directions(options);
    let mut text = NAME.to_owned();
    if server.no_context_takeover {
        add(&mut text, SERVER_NO_CONTEXT_TAKEOVER, None);
    }
    if client.no_context_takeover {
        add(&mut text, CLIENT_NO_CONTEXT_TAKEOVER, None);
    }
    if server.window_bits < MAX_WINDOW_BITS {
        add(&mut text, SERVER_MAX_WINDOW_BITS, Some(server.window_bits));
    }
    let bits = Some(client.window_bits).filter(|bits| *bits < MAX_WINDOW_BITS);
    add(&mut text, CLIENT_MAX_WINDOW_BITS, bits);
    text
}

/// What a server with these options answers to a client's header: the first offer that it can accept, the client's
/// order being its preference.
///
/// # Errors
/// The header is malformed. RFC 6455 section 9.1 has the connection fail then.
pub fn accept_offer(header: &[u8], options: &Options) -> Result<Option<Negotiated>, Malformed> {
    let offers = parse(header)?;
    let mut offers = offers.iter().filter(|offer| offer.name == NAME);
    Ok(offers.find_map(|offer| accept(offer, options)))
}

/// The header does not follow RFC 6455 section 9.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl From<Malformed> for Rejection {
    fn from(_: Malformed) -> Self {
        Rejection::with_text(400, "The Sec-WebSocket-Extensions header is malformed.")
    }
}

/// The answer to one offer; `None` declines it.
fn accept(offer: &Extension, options: &Options) -> Option<Negotiated> {
    let offered = parameters(offer).ok()?;
    let least = |one: Option<u8>, other: Option<u8>| one.into_iter().chain(other).min();
    let mut server = Direction::new(
        options.server_no_context_takeover || offered.server_no_context_takeover,
        least(
            options.server_max_window_bits,
            offered.server_max_window_bits,
        ),
    );
    let clients_bits = match (
        offered.client_max_window_bits,
        options.client_max_window_bits,
    ) {
        (Some(offered), limit) => least(offered, limit),
        (None, None | Some(MAX_WINDOW_BITS)) => None,
        // A client that does not know the parameter cannot be held to it.
        (None, Some(_)) => return None,
    };
    // Nothing is compressed with a window that zlib cannot keep to.
    if server.window_bits < MIN_WINDOW_BITS {
        return None;
    }
    let mut client = Direction::new(
        options.client_no_context_takeover || offered.client_no_context_takeover,
        clients_bits,
    );
    fit(options.memory, &mut server, &mut client);
    let mut text = NAME.to_owned();
    if server.no_context_takeover {
        add(&mut text, SERVER_NO_CONTEXT_TAKEOVER, None);
    }
    if client.no_context_takeover {
        add(&mut text, CLIENT_NO_CONTEXT_TAKEOVER, None);
    }
    if server.window_bits < MAX_WINDOW_BITS || offered.server_max_window_bits.is_some() {
        add(&mut text, SERVER_MAX_WINDOW_BITS, Some(server.window_bits));
    }
    if clients_bits.is_some() && offered.client_max_window_bits.is_some() {
        add(&mut text, CLIENT_MAX_WINDOW_BITS, clients_bits);
    }
    Some(Negotiated {
        text,
        agreement: agreement(client, server, options),
    })
}

/// Checks a server's header against what [`offer`] said; `None` for options means that nothing was offered.
pub(super) fn check_choice(
    header: &[u8],
    options: Option<&Options>,
) -> Result<Option<Negotiated>, ExtensionError> {
    let chosen = parse(header).map_err(|Malformed| ExtensionError::Malformed(lossy(header)))?;
    let offered = options.filter(|_| chosen.iter().all(|extension| extension.name == NAME));
    let (Some(options), [first, others @ ..]) = (offered, &chosen[..]) else {
        let stranger = chosen
            .iter()
            .find(|extension| options.is_none() || extension.name != NAME);
        return stranger.map_or(Ok(None), |extension| {
            Err(ExtensionError::NotOffered(extension.name.clone()))
        });
    };
    if !others.is_empty() {
        return Err(ExtensionError::Twice(NAME));
    }
    let parameters = parameters(first).map_err(ExtensionError::Parameter)?;
    Ok(Some(Negotiated {
        text: lossy(header.trim_ascii()),
        agreement: check_parameters(&parameters, options)?,
    }))
}

fn check_parameters(chosen: &Parameters, options: &Options) -> Result<Agreement, ExtensionError> {
    let (mut client, mut server) = client_directions(options);
    if server.no_context_takeover && !chosen.server_no_context_takeover {
        return Err(ExtensionError::Takeover);
    }
    server.no_context_takeover = chosen.server_no_context_takeover;
    // A client may do without context takeover unasked (RFC 7692 section 7.1.1.2).
    client.no_context_takeover |= chosen.client_no_context_takeover;
    let clients_bits = match chosen.client_max_window_bits {
        Some(None) => {
            let error = ParameterError::Value(CLIENT_MAX_WINDOW_BITS);
            return Err(ExtensionError::Parameter(error));
        }
        Some(Some(bits)) => bits,
        None => client.window_bits,
    };
    let servers_bits = chosen.server_max_window_bits.unwrap_or(MAX_WINDOW_BITS);
    for (name, chosen, asked) in [
        (SERVER_MAX_WINDOW_BITS, servers_bits, server.window_bits),
        (CLIENT_MAX_WINDOW_BITS, clients_bits, client.window_bits),
    ] {
        if chosen > asked {
            return Err(ExtensionError::Window {
                name,
                chosen,
                asked,
            });
        }
    }
    (server.window_bits, client.window_bits) = (servers_bits, clients_bits);
    Ok(agreement(client, server, options))
}

/// What a client asks for: its own direction, and the server's.
fn client_directions(options: &Options) -> (Direction, Direction) {
    let mut client = Direction::new(
        options.client_no_context_takeover,
        options.client_max_window_bits,
    );
    let mut server = Direction::new(
        options.server_no_context_takeover,
        options.server_max_window_bits,
    );
    fit(options.memory, &mut client, &mut server);
    (client, server)
}

fn agreement(client: Direction, server: Direction, options: &Options) -> Agreement {
    Agreement {
        client,
        server,
        threshold: options.threshold,
        level: options.level,
    }
}

fn add(text: &mut String, name: &str, value: Option<u8>) {
    text.push_str("; ");
    text.push_str(name);
    if let Some(value) = value {
        text.push('=');
        text.push_str(&value.to_string());
    }
}

fn parameters(extension: &Extension) -> Result<Parameters, ParameterError> {
    let mut found = Parameters::default();
    for (name, value) in &extension.parameters {
        let value = value.as_deref();
        match name.as_str() {
            SERVER_NO_CONTEXT_TAKEOVER => set_flag(
                &mut found.server_no_context_takeover,
                SERVER_NO_CONTEXT_TAKEOVER,
                value,
            )?,
            CLIENT_NO_CONTEXT_TAKEOVER => set_flag(
                &mut found.client_no_context_takeover,
                CLIENT_NO_CONTEXT_TAKEOVER,
                value,
            )?,
            SERVER_MAX_WINDOW_BITS => {
                let bits = value.and_then(window_bits);
                let bits = bits.ok_or(ParameterError::Value(SERVER_MAX_WINDOW_BITS))?;
                set(
                    &mut found.server_max_window_bits,
                    SERVER_MAX_WINDOW_BITS,
                    bits,
                )?;
            }
            CLIENT_MAX_WINDOW_BITS => {
                let bits = value.map(|value| {
                    window_bits(value).ok_or(ParameterError::Value(CLIENT_MAX_WINDOW_BITS))
                });
                set(
                    &mut found.client_max_window_bits,
                    CLIENT_MAX_WINDOW_BITS,
                    bits.transpose()?,
                )?;
            }
            _ => return Err(ParameterError::Unknown(name.clone())),
        }
    }
    Ok(found)
}

fn set_flag(
    flag: &mut bool,
    name: &'static str,
    value: Option<&str>,
) -> Result<(), ParameterError> {
    if value.is_some() {
        return Err(ParameterError::Value(name));
    }
    if std::mem::replace(flag, true) {
        return Err(ParameterError::Twice(name));
    }
    Ok(())
}

fn set<T>(place: &mut Option<T>, name: &'static str, value: T) -> Result<(), ParameterError> {
    if place.replace(value).is_some() {
        return Err(ParameterError::Twice(name));
    }
    Ok(())
}

/// 8 to 15 in decimal, without a leading zero (RFC 7692 section 7.1.2).
fn window_bits(value: &str) -> Option<u8> {
    let bits: u8 = value.parse().ok().filter(|bits| (8..=15).contains(bits))?;
    (bits.to_string() == value).then_some(bits)
}

/// The elements of a header's value. Empty ones, which RFC 9110 section 5.6.1 has recipients ignore, are left out.
fn parse(header: &[u8]) -> Result<Vec<Extension>, Malformed> {
    let mut rest = Text(header);
    let mut extensions = Vec::new();
    loop {
        while rest.eat(b',') {}
        if rest.is_at_end() {
            return Ok(extensions);
        }
        extensions.push(rest.extension()?);
        if !rest.is_at_end() && !rest.eat(b',') {
            return Err(Malformed);
        }
    }
}

/// The part of the header's value that is not parsed yet.
struct Text<'a>(&'a [u8]);

impl Text<'_> {
    fn extension(&mut self) -> Result<Extension, Malformed> {
        let name = self.token()?;
        let mut parameters = Vec::new();
        while self.eat(b';') {
            let name = self.token()?;
            let value = if self.eat(b'=') {
                Some(self.value()?)
            } else {
                None
            };
            parameters.push((name, value));
        }
        Ok(Extension { name, parameters })
    }

    fn skip_space(&mut self) {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
        while self.0.first().is_some_and(is_space) {
            self.0 = &self.0[1..];
        }
    }

    fn is_at_end(&mut self) -> bool {
        self.skip_space();
        self.0.is_empty()
    }

    fn eat(&mut self, byte: u8) -> bool {
        self.skip_space();
        match self.0.strip_prefix(&[byte]) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    fn token(&mut self) -> Result<String, Malformed> {
        self.skip_space();
        let length = self.0.iter().take_while(|byte| is_token(&[**byte])).count();
        let (token, rest) = self.0.split_at(length);
        self.0 = rest;
        if token.is_empty() {
            return Err(Malformed);
        }
        Ok(lossy(token))
    }

    /// A token, which may be quoted.
    fn value(&mut self) -> Result<String, Malformed> {
        if !self.eat(b'"') {
            return self.token();
        }
        let mut value = Vec::new();
        loop {
            match *self.0 {
                [b'"', ref rest @ ..] => {
                    self.0 = rest;
                    break;
                }
                [b'\\', byte, ref rest @ ..] | [byte, ref rest @ ..] => {
                    value.push(byte);
                    self.0 = rest;
                }
                [] => return Err(Malformed),
            }
        }
        if !is_token(&value) {
            return Err(Malformed);
        }
        Ok(lossy(&value))
    }
}
