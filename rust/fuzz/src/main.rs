//! The fuzz targets, all in one program, so that there is one to link. `EVWS_FUZZ_TARGET` says which one runs;
//! `script/fuzz` builds and starts it.
#![no_main]

mod addresses;
mod compressed;
mod ends;
#[path = "../../proto/tests/common/feeding.rs"]
mod feeding;
mod frames;
mod handshakes;
mod heads;
mod model;
mod pair;
mod plan;
mod proxies;
#[path = "../../proto/tests/common/theirs.rs"]
mod their_events;
mod theirs;

use libfuzzer_sys::fuzz_target;
use std::sync::OnceLock;

type Check = fn(&[u8]);

/// `script/fuzz` reads the names from here.
const TARGETS: [(&str, Check); 13] = [
    ("frames", frames::cuts),
    ("frames_judged", frames::judged),
    ("deflate", compressed::cuts),
    ("pair", pair::faults),
    ("request", heads::request),
    ("response", heads::response),
    ("extensions", handshakes::extensions),
    ("http", heads::http),
    ("proxy_head", proxies::head),
    ("proxy_answers", proxies::answers),
    ("url", addresses::url),
    ("proxy_rules", addresses::proxy_rules),
    ("utf8", addresses::utf8),
];

fn chosen() -> Check {
    let name = std::env::var("EVWS_FUZZ_TARGET").unwrap_or_default();
    match TARGETS.iter().find(|(known, _)| *known == name) {
        Some((_, check)) => *check,
        None => {
            eprintln!("EVWS_FUZZ_TARGET is no target: '{name}'");
            std::process::exit(2);
        }
    }
}

static CHECK: OnceLock<Check> = OnceLock::new();

fuzz_target!(|data: &[u8]| CHECK.get_or_init(chosen)(data));
