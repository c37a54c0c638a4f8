//! What the program answers: to requests for an upgrade, and to others.

use evws_proto::handshake::{self, Headers, Rejection};
use evws_proto::http::Response;

use crate::connect::CallError;
use crate::context::Context;
use crate::establish::desk::{Awaited, Decision};
use crate::event::Id;

impl Context {
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
        handshake::check_response_headers(&headers)
            .map_err(|error| CallError::Invalid(error.to_string()))?;
        if let Some(protocol) = &protocol {
            if self.awaits_decision(id) && !self.asked_protocols(id).contains(protocol) {
                return Err(CallError::Invalid(format!(
                    "the client did not ask for the subprotocol '{}'",
                    protocol.escape_debug()
                )));
            }
        }
        Ok(self.decide(id, Decision::Accept { headers, protocol }))
    }

    /// Rejects an upgrade with a response. Returns false if the client does not wait for it any
    /// more.
    ///
    /// # Errors
    /// A response that cannot be sent. Nothing is decided then.
    pub fn reject_handshake(&mut self, id: Id, response: Response) -> Result<bool, CallError> {
        check(&response)?;
        Ok(self.decide(id, Decision::Reject(response)))
    }

    /// Whether the client of a handshake event waits for the decision.
    pub fn awaits_decision(&self, id: Id) -> bool {
        match self.awaited(id) {
            Some(Awaited::Handshake(answer, _)) => !answer.is_closed(),
            _ => false,
        }
    }

    /// The subprotocols that the client of a handshake event asks for, while it waits.
    pub fn asked_protocols(&self, id: Id) -> &[String] {
        match self.awaited(id) {
            Some(Awaited::Handshake(_, protocols)) => protocols,
            _ => &[],
        }
    }

    /// Answers a request event. Returns false if nobody waits for the answer.
    ///
    /// # Errors
    /// A response that cannot be sent. Nothing is answered then.
    pub fn answer_request(&mut self, id: Id, response: Response) -> Result<bool, CallError> {
        check(&response)?;
        Ok(self.respond(id, response))
    }

    /// What a connection that is being established waits for.
    pub(crate) fn awaited(&self, id: Id) -> Option<&Awaited> {
        self.slots.pending(id)?.establishing.awaited.as_ref()
    }
}

/// A response with this status whose body is a sentence about it.
pub fn usual_response(status: u16) -> Response {
    Rejection::new(status).into()
}

fn check(response: &Response) -> Result<(), CallError> {
    response
        .check()
        .map_err(|error| CallError::Invalid(error.to_string()))
}
