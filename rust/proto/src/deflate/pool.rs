//! Codecs that no connection holds: what a context's connections share.

use super::inflater::{Inflater, OUTPUT};
use super::receive::NO_MEMORY;
use super::{compressor_size, INFLATER};
use crate::connection::Failure;
use flate2::{Compress, Compression};
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// How many unused compressors are kept. One is in use at a time, unless fragmented messages are being sent.
const COMPRESSORS: usize = 2;

/// How many unused inflaters are kept: as many peers' messages as are seldom in progress at the same time.
const INFLATERS: usize = 4;

/// The codecs of a context, made when they are needed. Clones are handles of the same ones.
#[derive(Clone, Debug, Default)]
pub struct Codecs(Rc<RefCell<Pool>>);

#[derive(Debug, Default)]
struct Pool {
    compressors: Vec<(Setting, Box<Compress>)>,
    #[allow(
        clippy::vec_box,
        reason = "connections hold them boxed, and they go to and fro"
    )]
    inflaters: Vec<Box<Inflater>>,
    /// The buffer for what is inflated in one step.
    output: Option<Box<[u8]>>,
}

/// Borrowed room for what is inflated in one step, [`OUTPUT`] bytes.
pub(super) struct OutputBuffer {
    codecs: Codecs,
    room: Box<[u8]>,
}

impl Deref for OutputBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.room
    }
}

impl DerefMut for OutputBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.room
    }
}

impl Drop for OutputBuffer {
    fn drop(&mut self) {
        self.codecs.0.borrow_mut().output = Some(std::mem::take(&mut self.room));
    }
}

/// The parameters that a compressor was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    pub window_bits: u8,
    pub level: u8,
}

impl Codecs {
    /// Frees the codecs that are not in use.
    pub fn shrink(&self) {
        *self.0.borrow_mut() = Pool::default();
    }

    /// A compressor at the start of a stream; `None` if there is no memory for one.
    pub(super) fn compressor(&self, setting: Setting) -> Option<Box<Compress>> {
        let compressors = &mut self.0.borrow_mut().compressors;
        let found = compressors.iter().position(|(made, _)| *made == setting);
        match found {
            Some(index) => {
                let (_, mut compressor) = compressors.swap_remove(index);
                compressor.reset();
                Some(compressor)
            }
            None => is_there_room(compressor_size(setting.window_bits)).then(|| {
                let level = Compression::new(u32::from(setting.level));
                Box::new(Compress::new_with_window_bits(
                    level,
                    false,
                    setting.window_bits,
                ))
            }),
        }
    }

    pub(super) fn keep_compressor(&self, setting: Setting, compressor: Box<Compress>) {
        let compressors = &mut self.0.borrow_mut().compressors;
        if compressors.len() == COMPRESSORS {
            compressors.remove(0);
        }
        compressors.push((setting, compressor));
    }

    /// An inflater at the start of a stream.
    pub(super) fn inflater(&self) -> Result<Box<Inflater>, Failure> {
        match self.0.borrow_mut().inflaters.pop() {
            Some(mut inflater) => {
                inflater.reset();
                Ok(inflater)
            }
            None if is_there_room(INFLATER) => Ok(Box::new(Inflater::new())),
            None => Err(Failure::too_big(NO_MEMORY)),
        }
    }

    pub(super) fn keep_inflater(&self, inflater: Box<Inflater>) {
        let inflaters = &mut self.0.borrow_mut().inflaters;
        if inflaters.len() < INFLATERS {
            inflaters.push(inflater);
        }
    }

    /// Room for what is inflated next.
    pub(super) fn output(&self) -> Result<OutputBuffer, Failure> {
        let kept = self.0.borrow_mut().output.take();
        let room = match kept {
            Some(room) => room,
            None if is_there_room(OUTPUT as u64) => vec![0; OUTPUT].into_boxed_slice(),
            None => return Err(Failure::too_big(NO_MEMORY)),
        };
        Ok(OutputBuffer {
            codecs: self.clone(),
            room,
        })
    }
}

/// Whether so many bytes can be allocated. Codecs allocate what they need at once and panic if it is not there, so that
/// it is tried before.
fn is_there_room(bytes: u64) -> bool {
    let slack = bytes / 8;
    usize::try_from(bytes + slack)
        .is_ok_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Setting = Setting {
        window_bits: 9,
        level: 1,
    };
    const LARGE: Setting = Setting {
        window_bits: 15,
        level: 6,
    };

    fn compressors(codecs: &Codecs) -> Vec<Setting> {
        let pool = codecs.0.borrow();
        pool.compressors.iter().map(|(made, _)| *made).collect()
    }

    #[test]
    fn a_compressor_is_kept_for_those_who_compress_alike() {
        let codecs = Codecs::default();
        let large = codecs.compressor(LARGE).unwrap();
        codecs.keep_compressor(LARGE, large);
        let small = codecs.compressor(SMALL).unwrap();
        assert_eq!(compressors(&codecs), [LARGE]);
        codecs.keep_compressor(SMALL, small);
        let large = codecs.compressor(LARGE).unwrap();
        assert_eq!(compressors(&codecs), [SMALL]);
        // The one that was given back first makes room.
        codecs.keep_compressor(LARGE, large);
        let another = codecs.compressor(LARGE).unwrap();
        codecs.keep_compressor(LARGE, another);
        codecs.keep_compressor(LARGE, Box::new(Compress::new(Compression::fast(), false)));
        assert_eq!(compressors(&codecs), [LARGE, LARGE]);
    }

    #[test]
    fn as_many_inflaters_are_kept_as_are_seldom_in_use() {
        let codecs = Codecs::default();
        let taken: Vec<_> = (0..=INFLATERS)
            .map(|_| codecs.inflater().unwrap())
            .collect();
        for (index, inflater) in taken.into_iter().enumerate() {
            codecs.keep_inflater(inflater);
            let kept = codecs.0.borrow().inflaters.len();
            assert_eq!(kept, (index + 1).min(INFLATERS));
        }
        drop(codecs.inflater().unwrap());
        assert_eq!(codecs.0.borrow().inflaters.len(), INFLATERS - 1);
    }

    #[test]
    fn what_is_inflated_goes_to_one_buffer() {
        let codecs = Codecs::default();
        let mut output = codecs.output().unwrap();
        output[0] = 7;
        drop(output);
        assert_eq!(codecs.output().unwrap()[0], 7);
    }

    #[test]
    fn nothing_is_left_when_unused_codecs_are_freed() {
        let codecs = Codecs::default();
        let compressor = codecs.compressor(SMALL).unwrap();
        codecs.keep_compressor(SMALL, compressor);
        let inflater = codecs.inflater().unwrap();
        codecs.keep_inflater(inflater);
        drop(codecs.output().unwrap());
        codecs.shrink();
        let pool = codecs.0.borrow();
        assert!(pool.compressors.is_empty() && pool.inflaters.is_empty() && pool.output.is_none());
    }
}
