//! Codecs that no connection holds: what a context's connections share.

use flate2::{Compress, Compression, Decompress};
use std::cell::RefCell;
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
    inflaters: Vec<Box<Decompress>>,
}

/// What a compressor was made with.
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

    /// A compressor at the start of a stream.
    pub(super) fn compressor(&self, setting: Setting) -> Box<Compress> {
        let compressors = &mut self.0.borrow_mut().compressors;
        let found = compressors.iter().position(|(made, _)| *made == setting);
        match found {
            Some(index) => {
                let (_, mut compressor) = compressors.swap_remove(index);
                compressor.reset();
                compressor
            }
            None => Box::new(Compress::new_with_window_bits(
                Compression::new(u32::from(setting.level)),
                false,
                setting.window_bits,
            )),
        }
    }

    pub(super) fn keep_compressor(&self, setting: Setting, compressor: Box<Compress>) {
        let compressors = &mut self.0.borrow_mut().compressors;
        if compressors.len() == COMPRESSORS {
            compressors.remove(0);
        }
        compressors.push((setting, compressor));
    }

    /// An inflater at the start of a stream. It has the largest window, which is right for every sender.
    pub(super) fn inflater(&self) -> Box<Decompress> {
        match self.0.borrow_mut().inflaters.pop() {
            Some(mut inflater) => {
                inflater.reset(false);
                inflater
            }
            None => Box::new(Decompress::new(false)),
        }
    }

    pub(super) fn keep_inflater(&self, inflater: Box<Decompress>) {
        let inflaters = &mut self.0.borrow_mut().inflaters;
        if inflaters.len() < INFLATERS {
            inflaters.push(inflater);
        }
    }
}
