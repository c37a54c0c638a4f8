//! The two parts of a context that every other one works with.

use crate::outbox::Outbox;
use crate::reactor::Reactor;

/// See the module.
pub struct Shared<'a> {
    /// Timers, interests and descriptors.
    pub reactor: &'a mut Reactor,
    /// Where events go.
    pub outbox: &'a mut Outbox,
}
