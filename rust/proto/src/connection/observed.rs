//! Receiving for a log, which sees every frame.

use super::{Connection, Received};
use crate::frame::Header;

impl Connection {
    /// Receives as [`receive`](Self::receive) does, for a caller that wants to see every frame: the headers that were read are added to
    /// `headers`, those of fragments too, and of frames that are consumed unseen.
    #[cold]
    pub fn receive_observed<'a>(
        &'a mut self,
        input: &'a mut [u8],
        headers: &mut Vec<Header>,
    ) -> (usize, Received<'a>) {
        self.receive_any(input, Some(headers))
    }
}
