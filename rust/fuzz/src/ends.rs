//! Every way in which bytes reach the end of a connection.

use crate::feeding::{feed, feed_cut, feed_direct, feed_observed, Event};
use crate::plan::ways;
use evws_proto::Connection;

/// The events of `wire`, which are the same ones however it comes to a connection that `make` makes.
pub fn one_sequence(seed: u8, wire: &[u8], make: impl Fn() -> Connection) -> Vec<Event> {
    let whole = feed(&mut make(), wire);
    let before = &whole[..whole.len().saturating_sub(1)];
    assert!(
        !before.iter().any(Event::is_last),
        "an event behind the last"
    );
    for cuts in ways(seed, wire.len()) {
        assert_eq!(feed_cut(make(), wire, &cuts), whole, "cut at {cuts:?}");
    }
    let least = wire.len() / 500 + 1;
    for read in [least + usize::from(seed), 1 << 20] {
        let direct = feed_direct(make(), wire, read);
        assert_eq!(direct, whole, "direct reads of {read}");
    }
    let (observed, headers) = feed_observed(make(), wire, wire.len());
    assert_eq!(observed, whole, "observed");
    let cut = feed_observed(make(), wire, least + usize::from(seed >> 4));
    assert_eq!(cut, (observed, headers), "observed in portions");
    whole
}
