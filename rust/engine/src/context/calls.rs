//! What the program calls: connecting, listening, adopting, sending, answering; and what it asks.

use std::time::Duration;

use evws_proto::connection::FrameKind;
use evws_proto::forwarded::Peer;
use evws_proto::handshake::{self, Headers, Rejection};
use evws_proto::http::HttpResponse;
use evws_proto::proxy::rules::Rules;

use super::Context;
use crate::arrivals::adopt::AdoptOptions;
use crate::arrivals::bind::ListenerAddress;
use crate::arrivals::connect::{ConnectOptions, ListenOptions};
use crate::arrivals::Decision;
use crate::error::CallError;
use crate::event::{Id, RejectCause};
use crate::outbox::Subject;
use crate::tls::info::TlsInfo;
use crate::traffic::{ConnectionStatistics, Life, SendError, Totals};

/// Where a connection stands, as its program knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// Its upgrade is not done.
    Connecting,
    /// Open in both directions.
    Connected,
    /// A Close frame was sent.
    Closing,
    /// It has ended. The state of every stale id, too.
    Closed,
}

impl Context {
    // ---- new connections and listeners ----

    /// Sets the proxies of clients that connect from now on. Without this call there are none.
    pub fn set_proxies(&mut self, rules: Rules) {
        self.arrivals.set_proxies(rules);
    }

    /// Begins to connect a client. Its success or failure is an event.
    ///
    /// # Errors
    /// [`CallError`] for an URL, a subprotocol or a header that cannot be used.
    pub fn connect(&mut self, options: ConnectOptions) -> Result<Id, CallError> {
        self.reactor.clock().begin_turn();
        self.traffic.prepare_masks();
        self.arrivals(|arrivals, shared| arrivals.connect(options, shared))
    }

    /// Listens. Returns the listener, which is no token, and its port, 0 if it has none.
    ///
    /// # Errors
    /// [`CallError`] for a subprotocol, a header or an origin that cannot be used,
    /// or a certificate; [`CallError`] if the port cannot be bound.
    pub fn listen(&mut self, options: ListenOptions) -> Result<(Id, u16), CallError> {
        self.arrivals.listen(options, &mut self.reactor)
    }

    /// Takes over a connected socket by a duplicate of its descriptor. Its success or failure is an event.
    /// When the connection ends, its stream is shut down for all descriptors.
    ///
    /// # Errors
    /// The errors of [`AdoptOptions::check`], and [`CallError`] for a descriptor that is no
    /// connected stream socket. The socket has not changed then.
    pub fn adopt(&mut self, options: AdoptOptions) -> Result<Id, CallError> {
        self.reactor.clock().begin_turn();
        self.traffic.prepare_masks();
        self.arrivals(|arrivals, shared| arrivals.adopt(options, shared))
    }

    // ---- connections ----

    /// Queues a frame, which the next flush writes.
    ///
    /// # Errors
    /// The connection is not open, a fragmented message is in progress, the queue is full, or there is no
    /// memory for the frame.
    #[inline]
    pub fn send(&mut self, id: Id, kind: FrameKind, payload: &[u8]) -> Result<(), SendError> {
        self.traffic(|traffic, shared| traffic.send(id, kind, payload, shared))
    }

    /// Begins the closing handshake (RFC 6455 section 7.1.2). Does nothing unless the connection
    /// is open.
    pub fn close(&mut self, id: Id, code: u16, reason: &[u8]) {
        self.reactor.clock().begin_turn();
        self.traffic.close(id, code, reason, &mut self.reactor);
    }

    /// Stops delivering, until [`resume`](Self::resume). Does nothing unless connected.
    pub fn pause(&mut self, id: Id) {
        self.reactor.clock().begin_turn();
        self.traffic.pause(id, true, &mut self.reactor);
    }

    /// Goes on delivering. Does nothing unless connected.
    pub fn resume(&mut self, id: Id) {
        self.reactor.clock().begin_turn();
        self.traffic.pause(id, false, &mut self.reactor);
    }

    /// Where a connection stands.
    pub fn state(&self, id: Id) -> ConnectionState {
        match self.traffic.life(id) {
            Some(Life::Announced) => ConnectionState::Connecting,
            Some(Life::Open) => ConnectionState::Connected,
            Some(Life::Closing | Life::Ended) => ConnectionState::Closing,
            Some(Life::Lingering { .. }) => ConnectionState::Closed,
            None => match self.arrivals.is_ending(id) {
                Some(false) => ConnectionState::Connecting,
                Some(true) => ConnectionState::Closing,
                None => ConnectionState::Closed,
            },
        }
    }

    /// The negotiated subprotocol.
    pub fn protocol(&self, id: Id) -> Option<&str> {
        self.traffic.protocol(id)
    }

    /// The negotiated extension, as the server's response says it.
    pub fn extensions(&self, id: Id) -> Option<&str> {
        self.traffic.extensions(id)
    }

    /// What a connection's TLS has agreed on, also of one whose request waits for an answer; `None` if
    /// it has none, or is not connected.
    pub fn tls(&self, id: Id) -> Option<TlsInfo<'_>> {
        self.arrivals.tls(id).or_else(|| self.traffic.tls(id))
    }

    /// Who the peer is, also of one whose request waits for an answer, or that the event polled last has rejected: as a
    /// proxy that is trusted says it, or the socket.
    pub fn peer(&self, id: Id) -> Option<Peer> {
        match &self.outbox.data().subject {
            Subject::Client(rejected) if rejected.0 == id => Some(rejected.1),
            _ => self.arrivals.peer(id).or_else(|| self.traffic.peer(id)),
        }
    }

    /// Payload bytes that are queued and not yet given to the kernel; 0 for a closed connection.
    pub fn send_queue_size(&mut self, id: Id) -> u64 {
        self.traffic.settle(&self.reactor);
        self.traffic.send_queue_size(id)
    }

    /// Whether a program that goes by the marks of the send queue would send; never on a connection that
    /// is not open.
    pub fn is_writable(&mut self, id: Id) -> bool {
        self.traffic.settle(&self.reactor);
        self.traffic.is_writable(id)
    }

    /// How long the peer took last to answer a Ping of the engine's; `None`: it has answered none, or the connection is not
    /// open.
    pub fn latency(&self, id: Id) -> Option<Duration> {
        self.traffic.latency(id)
    }

    // ---- answers ----

    /// Accepts an upgrade, with further headers in the response, and a subprotocol in place of what
    /// the listener would choose. Returns false if the client does not wait for it any more.
    ///
    /// # Errors
    /// A header that cannot be sent, or a subprotocol that the client did not ask for. Nothing is
    /// decided then.
    pub fn accept_handshake(
        &mut self,
        id: Id,
        headers: Headers,
        protocol: Option<String>,
    ) -> Result<bool, CallError> {
        handshake::check_response_headers(&headers)?;
        if let Some(protocol) = &protocol {
            self.check_protocol(id, protocol)?;
        }
        Ok(self.decide(id, Decision::Accept { headers, protocol }))
    }

    /// Refuses a subprotocol that a client who waits for the decision does not ask for.
    ///
    /// # Errors
    /// [`CallError::NotAsked`]
    pub fn check_protocol(&self, id: Id, protocol: &str) -> Result<(), CallError> {
        let asked = self.asked_protocols(id);
        if !self.awaits_decision(id) || asked.iter().any(|one| one == protocol) {
            return Ok(());
        }
        Err(CallError::NotAsked {
            protocol: protocol.to_owned(),
            asked: asked.to_vec(),
        })
    }

    /// Rejects an upgrade with a response. Returns false if the client does not wait for it any
    /// more.
    ///
    /// # Errors
    /// A response that cannot be sent. Nothing is decided then.
    pub fn reject_handshake(&mut self, id: Id, response: HttpResponse) -> Result<bool, CallError> {
        check(&response)?;
        Ok(self.decide(id, Decision::Reject(response)))
    }

    fn decide(&mut self, id: Id, decision: Decision) -> bool {
        self.reactor.clock().begin_turn();
        self.arrivals(|arrivals, shared| arrivals.decide(id, decision, shared))
    }

    /// Whether the client of a handshake event waits for the decision.
    pub fn awaits_decision(&self, id: Id) -> bool {
        self.arrivals.awaits_decision(id)
    }

    /// The subprotocols that the client of a handshake event asks for, while it waits.
    pub fn asked_protocols(&self, id: Id) -> &[String] {
        self.arrivals.asked_protocols(id)
    }

    /// Answers a request event. Returns false if nobody waits for the answer.
    ///
    /// # Errors
    /// A response that cannot be sent. Nothing is answered then.
    pub fn answer_request(&mut self, id: Id, response: HttpResponse) -> Result<bool, CallError> {
        check(&response)?;
        self.reactor.clock().begin_turn();
        Ok(self.arrivals(|arrivals, shared| arrivals.respond(id, response, shared)))
    }

    // ---- listeners ----

    /// Closes the sockets of a listener. What the kernel has accepted for it is taken first, and goes
    /// on with the connections that are being established; those that stand are not touched.
    /// [`Event::ListenerEnded`](crate::Event::ListenerEnded) comes after the last event that names the
    /// listener. Returns whether it was listening.
    pub fn stop_listening(&mut self, id: Id) -> bool {
        self.arrivals(|arrivals, shared| arrivals.stop_listening(id, shared))
    }

    // ---- statistics ----

    /// What a connection that the program knows has counted; also the one whose end it was told of last.
    pub fn statistics(&mut self, id: Id) -> Option<ConnectionStatistics> {
        self.traffic.settle(&self.reactor);
        self.traffic.statistics(id)
    }

    /// The sums of the connections of some listeners, past and present; `None`: of all.
    pub fn totals(&mut self, listeners: Option<&[Id]>) -> Totals {
        self.traffic.settle(&self.reactor);
        self.traffic.totals(listeners)
    }

    /// How many connections were closed with which code, as [`Totals::closed`] has it.
    pub fn closed_by_code(&self, listeners: Option<&[Id]>) -> Vec<(u16, u64)> {
        self.traffic.closed_by_code(listeners)
    }

    /// How many clients of some listeners are on their way to a connection; `None`: how many connections of all kinds.
    pub fn handshakes(&self, listeners: Option<&[Id]>) -> usize {
        self.arrivals.handshakes(listeners)
    }

    /// How many clients of some listeners were rejected, by [`RejectCause::index`]; `None`: of all that there were.
    pub fn rejected(&self, listeners: Option<&[Id]>) -> [u64; RejectCause::ALL.len()] {
        self.arrivals.rejected(listeners)
    }

    /// How many events were polled since the context was made.
    pub fn events(&self) -> u64 {
        self.events
    }

    // ---- listeners ----

    /// Where a listener is reached; `None`: it was stopped.
    pub fn listener_address(&self, id: Id) -> Option<&ListenerAddress> {
        self.arrivals.listener_address(id)
    }

    /// Whether the connections of a listener are secured by TLS.
    pub fn listener_is_secure(&self, id: Id) -> bool {
        self.arrivals.listener_is_secure(id)
    }

    /// Whether it is the listener of a Unix socket at `path`, which may be relative.
    pub fn listener_is_at(&self, id: Id, place: &[u8]) -> bool {
        self.arrivals.listener_is_at(id, place)
    }

    /// Reads the files of listeners again. Handshakes that begin from now on use them; connections
    /// that stand keep what they have.
    ///
    /// # Errors
    /// [`CallError`] if a listener has no TLS, or a file cannot be used. No listener has changed
    /// then.
    pub fn reload_tls(&mut self, listeners: &[Id]) -> Result<(), CallError> {
        self.arrivals.reload_tls(listeners)
    }

    /// Removes the files of Unix sockets that this process has made, and touches nothing else: for
    /// a process that ends.
    pub fn remove_socket_files(&mut self) {
        self.arrivals.remove_socket_files();
    }
}

/// A response with this status whose body is a sentence about it.
pub fn usual_response(status: u16) -> HttpResponse {
    Rejection::new(status).into()
}

fn check(response: &HttpResponse) -> Result<(), CallError> {
    Ok(response.check()?)
}
