//! A server's way to an established connection: read a request, ask the program, answer.

use std::future::poll_fn;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use evws_proto::handshake::{self, Headers, Host, Negotiated, Rejection, UpgradeRequest};
use evws_proto::http::{self, HttpResponse, Incoming, Terms};
use rustls::ServerConfig;
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

use super::door::Door;
use super::mailbox::{Decision, Elapsed, Mailbox, Phase, Question};
use super::policy::{Policy, ProxyHeads};
use super::rejected::{unavailable, Rejected};
use super::stream::Stream;
use super::tls_stream::TlsStream;
use super::transport::Transport;
use super::{poll_more, read_more, tls_stream, EstablishError, Established};
use crate::event::{Interest, RejectCause};
use crate::guest::Guest;
use crate::timeouts;
use crate::tls::handshake::HandshakeStep;
use crate::tls::server::ListenerTls;

/// Bytes that are kept of a client that goes on sending before it was answered.
const MAX_AHEAD: usize = 64 * 1024;
/// Bytes that are written in one turn of the loop.
const BYTES_PER_TURN: usize = 256 * 1024;

/// What the program has read of an adopted connection; nothing for one that was accepted.
#[derive(Default)]
pub struct AlreadyRead {
    /// The request.
    pub request: Option<Box<UpgradeRequest>>,
    /// Bytes behind the request, or the beginning of one.
    pub input: Vec<u8>,
    /// What is known of the client, at a listener.
    pub door: Door,
}

/// A connection before its upgrade.
pub(super) struct Server {
    pub transport: Transport,
    /// The socket below the transport.
    pub socket: Stream,
    pub mailbox: Rc<Mailbox>,
    pub policy: Rc<Policy>,
    /// Bytes that were read and not used yet.
    pub input: Vec<u8>,
    /// The headers of the request, for a program that hears of rejected clients.
    pub headers: Headers,
    /// What is known of the client.
    pub door: Door,
}

/// What hardly any connection comes to: a future of its own, so that every connection's has no room for it.
pub(super) type Seldom<'a, T> = Pin<Box<dyn Future<Output = Result<T, EstablishError>> + 'a>>;

/// Establishes a connection (RFC 6455 section 4.2), after any number of other requests. The deadline of its first one
/// runs already.
pub fn establish(
    stream: Stream,
    mailbox: Rc<Mailbox>,
    policy: Rc<Policy>,
    received: AlreadyRead,
) -> impl Future<Output = Result<Established, EstablishError>> {
    let AlreadyRead {
        request,
        input,
        door,
    } = received;
    let mut server = Server {
        transport: Transport::Plain(stream.clone()),
        socket: stream,
        mailbox,
        policy,
        input,
        headers: Headers::new(),
        door,
    };
    async move {
        if server.policy.proxy_heads != ProxyHeads::Unknown {
            Box::pin(server.read_proxy_head()).await?;
        }
        if let Some(configuration) = server.policy.tls.as_ref().map(ListenerTls::current) {
            Box::pin(server.begin_tls(configuration)).await?;
        }
        let request = match request {
            Some(request) => *request,
            None => loop {
                match server.read_head().await? {
                    Incoming::Upgrade(request) => break request,
                    Incoming::Plain(request, body) => Box::pin(server.serve(request, body)).await?,
                }
            },
        };
        let (protocol, deflate) = server.upgrade(&request).await?;
        Ok(server.established(request.headers, protocol, deflate))
    }
}

/// The server's end of a TLS handshake. A client that speaks plain HTTP gets an answer in it.
async fn secure(
    mut stream: Stream,
    mailbox: &Mailbox,
    configuration: Arc<ServerConfig>,
    mut hello: Vec<u8>,
) -> Result<Box<TlsStream>, EstablishError> {
    let read = match hello.len() {
        0 => read_more(&mut stream, &mut hello).await,
        length => Ok(length),
    };
    match read {
        // No record of TLS begins with a letter, and every HTTP method does.
        Ok(1..) if hello[0].is_ascii_alphabetic() => {
            let rejection = Rejection::new(400);
            let response = rejection.encode();
            mailbox.log_head("sent", &response);
            let _ = stream.write_all(&response).await;
            let plain = Rejected::tls(io::Error::other("the client speaks plain HTTP"));
            let text = Rejected::by_rule(&rejection).text;
            return Err(Rejected { text, ..plain }.into());
        }
        Ok(1..) => {}
        Ok(0) => return Err(Rejected::gone(None).into()),
        Err(error) => return Err(Rejected::gone(Some(error)).into()),
    }
    let step = HandshakeStep::Server(configuration, hello);
    let secured = tls_stream::handshake(stream, mailbox, step).await;
    // If it has failed, the alert is sent.
    secured.map_err(|error| Rejected::tls(error).into())
}

impl Server {
    async fn begin_tls(&mut self, configuration: Arc<ServerConfig>) -> Result<(), EstablishError> {
        let hello = std::mem::take(&mut self.input);
        let secured = secure(self.socket.clone(), &self.mailbox, configuration, hello);
        let secured = self.mailbox.in_time(secured).await;
        let secured =
            secured.unwrap_or_else(|Elapsed| Err(Rejected::late(&self.mailbox).into()))?;
        if self.policy.ask || self.policy.serve {
            self.mailbox.keep_info(secured.tls.info().into());
        }
        self.transport = Transport::Tls(secured);
        Ok(())
    }

    async fn read_head(&mut self) -> Result<Incoming, EstablishError> {
        loop {
            let rejection = match self.take_head() {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => None,
                Err(rejection) => Some(rejection),
            };
            match rejection {
                Some(rejection) => return self.refuse(rejection).await,
                None => self.read_more().await?,
            }
        }
    }

    /// Takes the head of a request from what was read, once it is there.
    fn take_head(&mut self) -> Result<Option<Incoming>, Rejection> {
        if self.input.is_empty() {
            return Ok(None);
        }
        let (input, limits) = (&self.input, self.policy.head);
        let parsed = if self.policy.serve {
            http::parse(input, limits)
        } else {
            let upgrade = handshake::parse_request(input, limits);
            upgrade.map(|found| found.map(|(length, request)| (length, Incoming::Upgrade(request))))
        };
        if !matches!(parsed, Ok(None)) {
            self.mailbox.log_head("received", input);
        }
        let Some((length, found)) = parsed? else {
            return Ok(None);
        };
        self.input.drain(..length);
        self.input.shrink_to_fit();
        Ok(Some(found))
    }

    /// Reads once. A client that takes too long is answered with 408.
    pub(super) async fn read_more(&mut self) -> Result<(), EstablishError> {
        let idle = self.mailbox.phase.get() == Phase::Idle;
        let read = read_more(&mut self.transport, &mut self.input);
        match self.mailbox.in_time(read).await {
            Ok(Ok(count)) if count > 0 => {
                if idle {
                    self.mailbox.phase.set(Phase::Asking);
                    self.mailbox.set_deadline(self.policy.timeout);
                }
                Ok(())
            }
            Err(Elapsed) if !idle && self.mailbox.is_shutting_down() => self.turn_away().await,
            Err(Elapsed) if !idle => self.refuse(Rejection::new(408)).await,
            Ok(Err(_)) | Ok(Ok(_)) | Err(Elapsed) if idle => self.end(Rejected::served()).await,
            Ok(Err(error)) => self.end(Rejected::gone(Some(error))).await,
            Ok(Ok(_)) | Err(Elapsed) => self.end(Rejected::gone(None)).await,
        }
    }

    /// Goes through with an upgrade: the subprotocol and the parameters of permessage-deflate, if they were agreed on.
    async fn upgrade(
        &mut self,
        request: &UpgradeRequest,
    ) -> Result<(Option<String>, Option<Negotiated>), EstablishError> {
        self.note_headers(&request.headers);
        self.check_client(&request.headers).await?;
        self.check_host(Some(&request.host)).await?;
        let foreign = self.is_foreign(request);
        if foreign && !self.policy.ask_origin {
            return self.refuse(Rejection::new(403)).await;
        }
        let deflate = match &self.policy.deflate {
            Some(options) => match handshake::accept_offer(&request.extensions, options) {
                Ok(negotiated) => negotiated,
                Err(error) => return self.refuse(Rejection::from(error)).await,
            },
            None => None,
        };
        let mut extra = self.policy.headers.clone();
        let mut chosen = None;
        if self.policy.ask || foreign {
            match Box::pin(self.ask_decision(request, foreign)).await? {
                Decision::Accept { headers, protocol } => {
                    extra.extend(headers);
                    chosen = protocol;
                }
                Decision::Reject(response) => {
                    return Box::pin(self.reject(RejectCause::Program, &response)).await
                }
                Decision::Unavailable => return self.turn_away().await,
            }
        }
        let allowed = &self.policy.protocols;
        let protocol =
            chosen.or_else(|| handshake::choose_subprotocol(&request.protocols, allowed));
        let extensions = deflate.as_ref().map(|negotiated| &negotiated.text[..]);
        let response = handshake::encode_response(request, protocol.as_deref(), extensions, &extra);
        self.mailbox.log_head("sent", &response);
        self.write(&response).await?;
        Ok((protocol, deflate))
    }

    /// What a connection goes on with whose upgrade is done.
    fn established(
        self,
        headers: Headers,
        protocol: Option<String>,
        deflate: Option<Negotiated>,
    ) -> Established {
        let mut leftover = self.input;
        Established {
            headers,
            protocol,
            deflate,
            tls: self.transport.into_session(&mut leftover),
            leftover,
            guest: Guest {
                claimed: self.mailbox.claimed.get(),
                ..self.door.guest
            },
        }
    }

    /// Refuses a request for a host that is not served here.
    pub(super) async fn check_host(&mut self, host: Option<&Host>) -> Result<(), EstablishError> {
        match &self.policy.hosts {
            Some(hosts) if !hosts.allow(host) => self.refuse(Rejection::new(421)).await,
            _ => Ok(()),
        }
    }

    /// Whether the request comes from a page that is not among the allowed ones. A client that is no browser has no
    /// page.
    fn is_foreign(&self, request: &UpgradeRequest) -> bool {
        let origin = request.headers.iter().find(|(name, _)| name == "Origin");
        match (&self.policy.origins, origin) {
            (Some(origins), Some((_, origin))) => !origins.allow(origin, &request.host),
            _ => false,
        }
    }

    /// Asks for the program's decision, which may come later. A client that has gone meanwhile gets no answer.
    async fn ask_decision(
        &mut self,
        request: &UpgradeRequest,
        foreign: bool,
    ) -> Result<Decision, EstablishError> {
        let (answer, mut decided) = oneshot::channel();
        self.mailbox.ask(Question::Handshake {
            headers: request.headers.clone(),
            protocols: request.protocols.clone(),
            foreign,
            answer,
        });
        // The time of the request goes on: what it takes in all has one limit.
        let Server {
            transport,
            socket,
            input,
            ..
        } = self;
        let mut asked = false;
        let wait = poll_fn(|context| {
            if let Poll::Ready(decision) = Pin::new(&mut decided).poll(context) {
                return Poll::Ready(decision.ok());
            }
            // A client that has ended its side can still be told what is decided at once.
            if !std::mem::replace(&mut asked, true) {
                socket.0.want(Interest::READ);
                return Poll::Pending;
            }
            while input.len() < MAX_AHEAD {
                match poll_more(transport, context, input) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(count)) if count > 0 => {}
                    Poll::Ready(_) => return Poll::Ready(None),
                }
            }
            Poll::Pending
        });
        match self.mailbox.in_time(wait).await {
            Ok(Some(decision)) => Ok(decision),
            Ok(None) => self.end(Rejected::gone(None)).await,
            Err(Elapsed) if self.mailbox.is_shutting_down() => self.turn_away().await,
            Err(Elapsed) => self.refuse(Rejection::new(503)).await,
        }
    }

    /// Answers, and ends the connection: a shutdown has begun.
    fn turn_away<T>(&mut self) -> Seldom<'_, T> {
        Box::pin(async { self.reject(RejectCause::Shutdown, &unavailable()).await })
    }

    /// Answers with a response of the program, or in its place, and ends the connection.
    async fn reject<T>(
        &mut self,
        cause: RejectCause,
        response: &HttpResponse,
    ) -> Result<T, EstablishError> {
        self.answer(response, Terms::LAST).await?;
        let rejected = Rejected::refused(cause, &response.status_text());
        self.end(rejected).await
    }

    /// Says what is wrong, and ends the connection.
    pub(super) fn refuse<T>(&mut self, rejection: Rejection) -> Seldom<'_, T> {
        self.end_with(rejection.encode(), Rejected::by_rule(&rejection))
    }

    /// Sends a last response, and ends the connection.
    pub(super) fn end_with<T>(&mut self, response: Vec<u8>, why: Rejected) -> Seldom<'_, T> {
        Box::pin(async move {
            self.mailbox.log_head("sent", &response);
            self.write(&response).await?;
            self.end(why).await
        })
    }

    /// Notes the headers of a request, if the program may want to know whose it was.
    pub(super) fn note_headers(&mut self, headers: &Headers) {
        if self.policy.report_rejects {
            self.headers = headers.clone();
        }
    }

    /// The headers of the request that is rejected; of one that is no request, as far as they can be read.
    fn taken_headers(&mut self) -> Headers {
        if self.policy.report_rejects && self.headers.is_empty() {
            return handshake::readable_headers(&self.input, self.policy.head);
        }
        std::mem::take(&mut self.headers)
    }

    fn ended(&mut self, rejected: Rejected) -> EstablishError {
        let headers = self.taken_headers();
        Rejected {
            headers,
            ..rejected
        }
        .into()
    }

    /// Ends our side of the stream; the engine then shuts the connection down.
    pub(super) fn end<T>(&mut self, rejected: Rejected) -> Seldom<'_, T> {
        Box::pin(async move {
            self.mailbox.set_deadline(Some(timeouts::LINGER));
            // The connection ends, whether the peer takes these bytes or not.
            let _ = self.mailbox.in_time(self.transport.shutdown()).await;
            Err(self.ended(rejected))
        })
    }

    /// Writes, as long as there is progress.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), EstablishError> {
        let mut left = bytes;
        while !left.is_empty() {
            let turn = left.len().min(BYTES_PER_TURN);
            self.write_turn(&left[..turn]).await?;
            left = &left[turn..];
            if !left.is_empty() {
                self.wait(Interest::WRITE).await?;
            }
        }
        Ok(())
    }

    async fn write_turn(&mut self, bytes: &[u8]) -> Result<(), EstablishError> {
        let mut left = bytes;
        while !left.is_empty() {
            self.mailbox.set_deadline(self.policy.timeout);
            let written = self.mailbox.in_time(self.transport.write(left)).await;
            match written {
                // At least one: there are some, and the socket had room.
                Ok(Ok(count)) => left = &left[count..],
                Ok(Err(error)) => return Err(self.ended(Rejected::gone(Some(error)))),
                Err(Elapsed) => return Err(self.ended(Rejected::late(&self.mailbox))),
            }
        }
        match self.mailbox.in_time(self.transport.flush()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(self.ended(Rejected::gone(Some(error)))),
            Err(Elapsed) => Err(self.ended(Rejected::late(&self.mailbox))),
        }
    }

    /// Leaves the loop to others until the socket is ready.
    pub(super) async fn wait(&mut self, interest: Interest) -> Result<(), EstablishError> {
        match self.mailbox.in_time(self.socket.ready(interest)).await {
            Ok(()) => Ok(()),
            Err(Elapsed) => self.end(Rejected::late(&self.mailbox)).await,
        }
    }
}
