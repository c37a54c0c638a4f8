//! Receiving: from bytes to events, in any portions.
//!
//! A message that lies whole in the input is delivered from there and costs no allocation. Everything
//! else goes through [`Partial`]. What the caller reads straight into a message is in `direct`. Positions (`PayloadPlace`) are worked with inside, and turned into borrows at the end.

use super::partial::{take_whole, Frame, Message, Partial};
use super::{Connection, Failure, Received};
use crate::close;
use crate::frame::{parse_header, Header, Opcode, RSV1};
use crate::Role;
use std::ops::Range;

/// Where a payload lies.
pub(super) enum PayloadPlace {
    Input(Range<usize>),
    Message,
    Control,
}

/// A message that lies whole in the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WholeMessage {
    /// Whether it is binary.
    pub binary: bool,
    /// Where its payload is.
    pub payload: Range<usize>,
}

/// An event, without its borrow.
pub(super) enum Outcome {
    NeedMore,
    Message { binary: bool, place: PayloadPlace },
    Control { opcode: Opcode, place: PayloadPlace },
}

impl Connection {
    /// Takes at most one event from the front of `input`, unmasking it in place: how many bytes were consumed,
    /// and the event. What it borrows lies in `input` or, if it came in several portions, in the connection.
    /// All bytes up to the count are done with; the caller passes the rest next time.
    ///
    /// After our own Close, messages are consumed unseen; Pings, Pongs and the peer's Close are still delivered.
    /// After the peer's Close or a failure everything is consumed unseen.
    #[inline]
    pub fn receive<'a>(&'a mut self, input: &'a mut [u8]) -> (usize, Received<'a>) {
        match self.receive_whole(input) {
            Some((used, Ok(WholeMessage { binary, payload }))) => {
                let payload = &input[payload];
                (used, Received::Message { binary, payload })
            }
            Some((used, Err(failure))) => (used, Received::Failed(failure)),
            None => self.receive_other(input),
        }
    }

    /// What nearly always is there: a message that lies whole at the front of `input`, in one frame. It is unmasked in place.
    /// Returns how many bytes were consumed, and where the payload is. `None`: nothing was consumed, and
    /// [`receive_other`](Self::receive_other) says what is there.
    #[inline]
    pub fn receive_whole(
        &mut self,
        input: &mut [u8],
    ) -> Option<(usize, Result<WholeMessage, Failure>)> {
        if self.partial.is_some() || self.close_sent || self.ended || self.receiving_fragments {
            return None;
        }
        let (header, payload) = self.whole_message(input)?;
        self.frames_received += 1;
        let binary = header.opcode == Opcode::Binary;
        let used = payload.end;
        let bytes = &mut input[payload.clone()];
        let result = match take_whole(header.mask, !binary && self.validate_utf8, bytes) {
            Ok(()) => Ok(WholeMessage { binary, payload }),
            Err(failure) => {
                self.fail(failure);
                Err(failure)
            }
        };
        Some((used, result))
    }

    /// Receives as [`receive`](Self::receive) does, where [`receive_whole`](Self::receive_whole) has found nothing.
    pub fn receive_other<'a>(&'a mut self, input: &'a mut [u8]) -> (usize, Received<'a>) {
        self.receive_any(input, None)
    }

    /// The assembled message that [`receive`](Self::receive) or [`payload_received`](Self::payload_received)
    /// delivered last, without a copy and with room for at least one byte more. `None` if its payload lay in the input.
    pub fn take_message(&mut self) -> Option<Vec<u8>> {
        let message = self
            .partial
            .as_mut()?
            .message
            .take_if(|message| message.complete)?;
        self.release();
        Some(message.payload)
    }

    /// Frees what the last event borrowed. The next `receive` does it, too: this is for a connection that may
    /// stay idle from now on.
    #[inline]
    pub fn release(&mut self) {
        if self
            .partial
            .as_ref()
            .is_some_and(|partial| partial.is_done())
        {
            self.partial = None;
        }
    }

    /// The data message at the front of `input`, if it lies there whole and in one frame: its header and where
    /// its payload is. `None` also for all that is wrong with it, which is then found on the long way.
    #[inline]
    fn whole_message(&self, input: &[u8]) -> Option<(Header, Range<usize>)> {
        let (header, start) = parse_header(input).ok()??;
        let is_data = matches!(header.opcode, Opcode::Text | Opcode::Binary);
        if !is_data
            || !header.fin
            || header.rsv != 0
            || header.mask.is_some() != (self.role == Role::Server)
        {
            return None;
        }
        if header.payload_len > self.max_message_size
            || header.payload_len > (input.len() - start) as u64
        {
            return None;
        }
        Some((header, start..start + header.payload_len as usize))
    }

    pub(super) fn receive_any<'a>(
        &'a mut self,
        input: &'a mut [u8],
        seen: Option<&mut Vec<Header>>,
    ) -> (usize, Received<'a>) {
        self.release();
        if self.ended {
            return (input.len(), Received::NeedMore);
        }
        let mut used = 0;
        match self.advance(input, &mut used, seen) {
            Ok(outcome) => (used, self.deliver(outcome, input)),
            Err(failure) => (used, self.fail(failure)),
        }
    }

    /// Consumes `input` from `used` on, up to an event or its end.
    fn advance(
        &mut self,
        input: &mut [u8],
        used: &mut usize,
        mut seen: Option<&mut Vec<Header>>,
    ) -> Result<Outcome, Failure> {
        loop {
            let unfinished = self
                .partial
                .as_mut()
                .and_then(|partial| partial.frame.take());
            let is_new = unfinished.is_none();
            let frame = match unfinished {
                Some(frame) => frame,
                None => match self.next_header(input, used)? {
                    Some(header) => {
                        self.frames_received += 1;
                        if let Some(seen) = &mut seen {
                            seen.push(header);
                        }
                        self.begin(&header)?
                    }
                    None => return Ok(Outcome::NeedMore),
                },
            };
            let available = frame.remaining.min((input.len() - *used) as u64) as usize;
            let range = *used..*used + available;
            *used = range.end;
            let outcome = if frame.opcode.is_control() {
                self.control_payload(frame, is_new, input, range)?
            } else {
                self.data_payload(frame, is_new, input, range)?
            };
            if let Some(outcome) = outcome {
                return Ok(outcome);
            }
        }
    }

    /// Reads a header, perhaps begun in an earlier portion. `None`: the input ended first and is kept.
    fn next_header(&mut self, input: &[u8], used: &mut usize) -> Result<Option<Header>, Failure> {
        let rest = &input[*used..];
        if rest.is_empty() {
            return Ok(None);
        }
        let kept = self
            .partial
            .as_ref()
            .map_or(0, |partial| partial.head().len());
        if kept == 0 {
            if let Some((header, length)) = self.checked_header(rest)? {
                *used += length;
                return Ok(Some(header));
            }
        }
        let added = self.partial().extend_head(rest);
        let head = self
            .partial
            .as_ref()
            .map_or(&[][..], |partial| partial.head());
        match self.checked_header(head)? {
            Some((header, length)) => {
                self.partial().clear_head();
                *used += length - kept;
                Ok(Some(header))
            }
            None => {
                *used += added;
                Ok(None)
            }
        }
    }

    /// A header that this end of the connection may receive, or `None` while it is incomplete. What is wrong with it is
    /// looked for in the order of the wire (the first byte, whether it is masked, the length): a header that is wrong in
    /// two ways has one error, however it is cut.
    fn checked_header(&self, bytes: &[u8]) -> Result<Option<(Header, usize)>, Failure> {
        if let Some(&first) = bytes.first().filter(|first| *first & 0x70 != 0) {
            self.check_reserved_bits(first)?;
        }
        let parsed = parse_header(bytes);
        let masked = bytes.get(1).map(|second| second & 0x80 != 0);
        let wrongly_masked = masked.is_some_and(|masked| masked != (self.role == Role::Server));
        match parsed {
            Err(error) if !(wrongly_masked && error.is_about_length()) => {
                Err(Failure::protocol(error.text()))
            }
            Ok(header) if !wrongly_masked => Ok(header),
            _ => Err(Failure::protocol(match self.role {
                Role::Server => "client sent an unmasked frame (RFC 6455 section 5.1)",
                Role::Client => "server sent a masked frame (RFC 6455 section 5.1)",
            })),
        }
    }

    /// A header's first byte has reserved bits. RSV1 is permessage-deflate's.
    #[cold]
    fn check_reserved_bits(&self, first: u8) -> Result<(), Failure> {
        if first & 0x70 != RSV1 << 4 || self.deflate.is_none() {
            return Err(Failure::protocol(
                "peer sent a frame with reserved bits set (RFC 6455 section 5.2)",
            ));
        }
        match Opcode::from_bits(first & 0x0F) {
            Some(Opcode::Text | Opcode::Binary) | None => Ok(()),
            Some(_) => Err(Failure::protocol(
                "peer set RSV1 on a frame that begins no message (RFC 7692 section 6.1)",
            )),
        }
    }

    /// A frame begins: checks that it may stand here, and the size of its message.
    fn begin(&mut self, header: &Header) -> Result<Frame, Failure> {
        if header.opcode.is_control() {
            return Ok(Frame::new(header, false));
        }
        match (
            self.receiving_fragments,
            header.opcode == Opcode::Continuation,
        ) {
            (true, false) => {
                return Err(Failure::protocol(
                    "peer began a message inside a fragmented one (RFC 6455 section 5.4)",
                ))
            }
            (false, true) => {
                return Err(Failure::protocol(
                    "peer sent a continuation frame without a message (RFC 6455 section 5.4)",
                ))
            }
            _ => self.receiving_fragments = !header.fin,
        }
        if !self.close_sent {
            self.count_fragment(header.fin)?;
            let message = self
                .partial
                .as_ref()
                .and_then(|partial| partial.message.as_ref());
            let so_far = message.map_or(0, |message| message.payload.len() as u64);
            let compressed = message.map_or(header.rsv & RSV1 != 0, |message| message.compressed);
            // What a compressed message comes to is seen as it is inflated.
            if !compressed && header.payload_len > self.max_message_size - so_far {
                return Err(Failure::too_big("message exceeds max_message_size"));
            }
        }
        Ok(Frame::new(header, self.close_sent))
    }

    /// A frame of a message begins. Those without payload cost memory nowhere, but time: a message may not have
    /// any number of them.
    fn count_fragment(&mut self, is_last: bool) -> Result<(), Failure> {
        self.fragments = self.fragments.saturating_add(1);
        if self.fragments > self.max_fragments {
            return Err(Failure::too_big("message exceeds max_fragments"));
        }
        if is_last {
            self.fragments = 0;
        }
        Ok(())
    }

    /// `range` of the input is payload of a control frame.
    fn control_payload(
        &mut self,
        mut frame: Frame,
        is_new: bool,
        input: &mut [u8],
        range: Range<usize>,
    ) -> Result<Option<Outcome>, Failure> {
        let data = &mut input[range.clone()];
        frame.take(data);
        if is_new && frame.remaining == 0 {
            self.check_control(frame.opcode, data)?;
            return Ok(Some(Outcome::Control {
                opcode: frame.opcode,
                place: PayloadPlace::Input(range),
            }));
        }
        let partial = self.partial();
        if is_new {
            partial.control.clear();
        }
        partial.control.extend_from_slice(data);
        if frame.remaining > 0 {
            partial.frame = Some(frame);
            return Ok(Some(Outcome::NeedMore));
        }
        let payload = std::mem::take(&mut partial.control);
        self.check_control(frame.opcode, &payload)?;
        self.partial().control = payload;
        Ok(Some(Outcome::Control {
            opcode: frame.opcode,
            place: PayloadPlace::Control,
        }))
    }

    fn check_control(&mut self, opcode: Opcode, payload: &[u8]) -> Result<(), Failure> {
        if opcode == Opcode::Close {
            close::check_payload(payload, self.validate_utf8)?;
            self.ended = true;
            self.drop_message();
        }
        Ok(())
    }

    /// `range` of the input is payload of a data frame. `None`: the frame is finished, its message is not.
    fn data_payload(
        &mut self,
        mut frame: Frame,
        is_new: bool,
        input: &mut [u8],
        range: Range<usize>,
    ) -> Result<Option<Outcome>, Failure> {
        let data = &mut input[range.clone()];
        let text = frame.opcode == Opcode::Text;
        if frame.discard {
            frame.remaining -= data.len() as u64;
            return Ok(self.keep_unfinished(frame));
        }
        if is_new
            && frame.fin
            && frame.opcode != Opcode::Continuation
            && frame.remaining == data.len() as u64
            && !frame.compressed
        {
            take_whole(frame.key(), text && self.validate_utf8, data)?;
            return Ok(Some(Outcome::Message {
                binary: !text,
                place: PayloadPlace::Input(range),
            }));
        }
        let validate_utf8 = self.validate_utf8;
        let partial = self.partial.get_or_insert_with(Box::default);
        partial.has_progress |= is_new || !data.is_empty();
        let message = partial
            .message
            .get_or_insert_with(|| Message::new(!text, frame.compressed, validate_utf8));
        match &mut self.deflate {
            Some(deflate) if message.compressed => {
                message.inflate(&mut frame, data, deflate, self.max_message_size)?;
            }
            _ => message.append(&mut frame, data)?,
        }
        self.finish_data(frame)
    }

    /// Delivers the message if `frame`'s payload was its last.
    pub(super) fn finish_data(&mut self, frame: Frame) -> Result<Option<Outcome>, Failure> {
        if frame.remaining > 0 || !frame.fin {
            return Ok(self.keep_unfinished(frame));
        }
        let partial = self.partial.get_or_insert_with(Box::default);
        let Some(message) = partial.message.as_mut() else {
            return Ok(None);
        };
        if let Some(deflate) = self.deflate.as_mut().filter(|_| message.compressed) {
            message.finish_inflating(deflate, self.max_message_size)?;
        }
        message.finish()?;
        Ok(Some(Outcome::Message {
            binary: message.binary,
            place: PayloadPlace::Message,
        }))
    }

    pub(super) fn keep_unfinished(&mut self, frame: Frame) -> Option<Outcome> {
        if frame.remaining == 0 {
            return None;
        }
        self.partial().frame = Some(frame);
        Some(Outcome::NeedMore)
    }

    /// A Close was sent or received: what is being assembled is no longer wanted.
    pub(super) fn drop_message(&mut self) {
        if let Some(partial) = &mut self.partial {
            let dropped = partial.message.take_if(|message| !message.complete);
            if let Some(deflate) = self.deflate.as_mut().filter(|_| dropped.is_some()) {
                deflate.stop_receiving();
            }
            if let Some(frame) = partial
                .frame
                .as_mut()
                .filter(|frame| !frame.opcode.is_control())
            {
                frame.discard = true;
            }
        }
        self.release();
    }

    pub(super) fn partial(&mut self) -> &mut Partial {
        self.partial.get_or_insert_with(Box::default)
    }

    #[cold]
    pub(super) fn fail(&mut self, failure: Failure) -> Received<'static> {
        self.partial = None;
        self.ended = true;
        if let Some(deflate) = &mut self.deflate {
            deflate.stop_receiving();
        }
        Received::Failed(failure)
    }

    pub(super) fn deliver<'a>(&'a self, outcome: Outcome, input: &'a [u8]) -> Received<'a> {
        match outcome {
            Outcome::NeedMore => Received::NeedMore,
            Outcome::Message { binary, place } => Received::Message {
                binary,
                payload: self.payload_at(place, input),
            },
            Outcome::Control { opcode, place } => {
                let payload = self.payload_at(place, input);
                match opcode {
                    Opcode::Ping => Received::Ping(payload),
                    Opcode::Close => {
                        let (code, reason) = close::split_payload(payload);
                        Received::Close { code, reason }
                    }
                    _ => Received::Pong(payload),
                }
            }
        }
    }

    fn payload_at<'a>(&'a self, place: PayloadPlace, input: &'a [u8]) -> &'a [u8] {
        let partial = self.partial.as_deref();
        match place {
            PayloadPlace::Input(range) => &input[range],
            PayloadPlace::Message => partial
                .and_then(|partial| partial.message.as_ref())
                .map_or(&[], |message| &message.payload),
            PayloadPlace::Control => partial.map_or(&[], |partial| &partial.control),
        }
    }
}
