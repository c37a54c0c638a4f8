//! Mask keys and other random numbers, from a strong generator seeded by the system (RFC 6455 section 10.3).

use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng};

use crate::sys;

/// The generator of a context.
#[derive(Default)]
pub struct Masks {
    generator: Option<(u32, StdRng)>,
}

impl Masks {
    /// Before a client connects: a forked child must not repeat its parent's keys.
    pub fn prepare(&mut self) {
        let process = sys::process_id();
        if self.generator.as_ref().map(|seeded| seeded.0) != Some(process) {
            // Not `rand::make_rng`, whose generator a forked child shares with its parent. A system without
            // random numbers has no TLS either.
            let generator = StdRng::try_from_rng(&mut SysRng).expect("the system's random numbers");
            self.generator = Some((process, generator));
        }
    }

    /// A random number that a forked child does not share with its parent.
    pub fn number(&mut self) -> u64 {
        self.prepare();
        self.generator
            .as_mut()
            .map_or(0, |(_, generator)| generator.next_u64())
    }

    /// The next key.
    #[inline]
    pub fn next(&mut self) -> [u8; 4] {
        // A server sends unmasked: it never prepares, and this is not used.
        self.generator
            .as_mut()
            .map_or([0; 4], |(_, generator)| generator.next_u32().to_ne_bytes())
    }
}
