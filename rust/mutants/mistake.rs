//! Which of the mistakes that were put into the sources this process makes: the one whose number
//! stands in EVWS_MISTAKE, or none. With EVWS_MISTAKES_REACHED it makes none either, and appends
//! the number of each that it could have made to that file: four octets, the lowest first.

use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const UNKNOWN: u32 = u32::MAX;
const TOLD: u32 = u32::MAX - 1;

static MADE: AtomicU32 = AtomicU32::new(UNKNOWN);
static REACHED: [AtomicBool; 1 << 14] = [const { AtomicBool::new(false) }; 1 << 14];

/// Whether the mistake of this number is to be made.
pub fn is_made(number: u32) -> bool {
    match MADE.load(Ordering::Relaxed) {
        0 => false,
        UNKNOWN => {
            let made = std::env::var("EVWS_MISTAKE").ok().and_then(|number| number.parse().ok());
            let told = std::env::var_os("EVWS_MISTAKES_REACHED").map(|_| TOLD);
            MADE.store(made.or(told).unwrap_or(0), Ordering::Relaxed);
            is_made(number)
        }
        TOLD => {
            if !REACHED[number as usize].swap(true, Ordering::Relaxed) {
                tell(number);
            }
            false
        }
        made => made == number,
    }
}

/// At once: a process that is ended by a signal has told, too.
fn tell(number: u32) {
    let Some(path) = std::env::var_os("EVWS_MISTAKES_REACHED") else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
    let _ = file.and_then(|mut file| file.write_all(&number.to_le_bytes()));
}
