//! Requests that are no upgrade: one after another, until the connection ends or becomes a WebSocket.

use std::time::SystemTime;

use evws_proto::handshake::{Headers, Rejection};
use evws_proto::http::{Body, HttpRequest, HttpResponse, Terms, CONTINUE};
use tokio::sync::oneshot;

use super::mailbox::{Phase, Question};
use super::rejected::Rejected;
use super::server::Server;
use super::transport::Transport;
use super::EstablishError;
use crate::event::Interest;

/// A body up to this size is sent together with its head.
const SMALL_BODY: usize = 16 * 1024;

impl Server {
    /// Answers a request. `Err` also if there will be no other.
    pub(super) async fn serve(
        &mut self,
        request: HttpRequest,
        mut body: Body,
    ) -> Result<(), EstablishError> {
        self.note_headers(&request.headers);
        self.check_client(&request.headers).await?;
        self.check_host(request.host.as_ref()).await?;
        if request.expects_continue && self.input.is_empty() {
            self.write(CONTINUE).await?;
            self.mailbox.set_deadline(self.policy.timeout);
        }
        loop {
            match body.take(&mut self.input) {
                Ok(true) => break,
                Ok(false) => self.read_more().await?,
                Err(rejection) => return self.refuse(rejection).await,
            }
        }
        self.input.shrink_to_fit();
        let mut terms = request.terms;
        let response = self.ask_answer(request, body).await;
        terms.keep_alive &= !self.policy.keeps_none();
        // Whatever happens to the answer, the program knows the request.
        let sent = self.answer(&response, terms).await;
        self.headers = Headers::new();
        sent.map_err(served)?;
        if response.is_last(terms) || self.policy.keeps_none() {
            return self.end(Rejected::served()).await;
        }
        drop(response);
        self.forget_client();
        self.await_next().await.map_err(served)
    }

    async fn ask_answer(&mut self, request: HttpRequest, body: Body) -> HttpResponse {
        let (answer, answered) = oneshot::channel();
        self.mailbox.ask(Question::Request {
            request: Box::new(request),
            body: body.into_bytes(),
            answer,
        });
        self.mailbox.set_deadline(None);
        answered
            .await
            .unwrap_or_else(|_| Rejection::new(500).into())
    }

    /// Sends a response of the program.
    pub(super) async fn answer(
        &mut self,
        response: &HttpResponse,
        terms: Terms,
    ) -> Result<(), EstablishError> {
        let date = httpdate::fmt_http_date(SystemTime::now());
        let mut head = response.encode_head(terms, Some(&date));
        self.mailbox.log_head("sent", &head);
        let mut body = response.sent_body(terms);
        if body.len() <= SMALL_BODY {
            head.extend_from_slice(body);
            body = &[];
        }
        self.mailbox.phase.set(Phase::Answering);
        self.write(&head).await?;
        self.write(body).await?;
        self.mailbox.phase.set(Phase::Asking);
        Ok(())
    }

    /// The next request waits for the next turn of the loop, so that a client with many of them does not have it for
    /// itself. What TLS holds back makes no socket readable.
    async fn await_next(&mut self) -> Result<(), EstablishError> {
        self.mailbox.set_deadline(self.policy.timeout);
        if self.input.is_empty() {
            self.mailbox.phase.set(Phase::Idle);
        }
        match (&self.transport, self.input.is_empty()) {
            (Transport::Plain(_), true) => self.wait(Interest::READ).await,
            _ => self.wait(Interest::WRITE).await,
        }
    }
}

/// A connection that has ended after the answer to its request.
fn served(failure: EstablishError) -> EstablishError {
    match failure {
        EstablishError::Server(rejected) => Rejected {
            cause: None,
            ..*rejected
        }
        .into(),
        client => client,
    }
}
