//! The two parts of a context that all other parts work with.

use crate::outbox::Outbox;
use crate::reactor::Reactor;

/// The reactor and the outbox of a context, borrowed for a call.
pub struct Shared<'a> {
    /// Timers, interests and descriptors.
    pub reactor: &'a mut Reactor,
    /// Where events go.
    pub outbox: &'a mut Outbox,
}
