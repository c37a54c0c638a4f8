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

#[cfg(test)]
mod tests {
    use super::*;

    /// A child made by fork has its parent's generator, which says whose it is. One that went on with it sent its
    /// parent's masks a second time.
    #[test]
    fn a_generator_of_another_process_is_not_used() {
        let seeded = || StdRng::seed_from_u64(1);
        let of = |process| Masks {
            generator: Some((process, seeded())),
        };
        let ours = sys::process_id();
        let mut kept = of(ours);
        kept.prepare();
        assert_eq!(kept.next(), seeded().next_u32().to_ne_bytes());
        let mut inherited = of(ours + 1);
        inherited.prepare();
        assert_ne!(inherited.next(), seeded().next_u32().to_ne_bytes());
        assert_ne!(of(ours + 1).number(), seeded().next_u64());
    }
}
