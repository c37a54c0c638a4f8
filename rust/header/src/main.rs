//! Writes `include/evws.h` from the sources of `rust/capi`:
//!
//! ```text
//! cargo run -p evws-header             writes the header
//! cargo run -p evws-header -- --check  fails when it is not what the sources say
//! ```
//!
//! A program of its own, so that whoever installs the module does not compile cbindgen.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("evws-header: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let only_checks = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => false,
        ["--check"] => true,
        _ => return Err(format!("--check is the only argument (got {arguments:?})").into()),
    };
    let rust = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let header = generate(&rust.join("capi"))?;
    let committed = rust.join("../include/evws.h");
    // A header that is written only when it differs keeps its time, and make compiles nothing.
    if fs::read(&committed).is_ok_and(|text| text == header.as_bytes()) {
        return Ok(());
    }
    if only_checks {
        return Err("include/evws.h is not what rust/capi says: cargo run -p evws-header".into());
    }
    fs::write(&committed, header)?;
    println!("include/evws.h has been written");
    Ok(())
}

/// The header as text. cbindgen is shown the crate's root and follows its modules, which spares
/// its run of `cargo metadata` (it would ask for every dependency of every platform, and the
/// network with it).
fn generate(capi: &Path) -> Result<String, Box<dyn Error>> {
    let own: PathBuf = env!("CARGO_MANIFEST_DIR").into();
    let mut header = Vec::new();
    cbindgen::Builder::new()
        .with_config(cbindgen::Config::from_file(own.join("cbindgen.toml"))?)
        .with_src(capi.join("src/lib.rs"))
        .generate()?
        .write(&mut header);
    // "# Safety" is a heading to rustdoc alone.
    Ok(String::from_utf8(header)?.replace(" * # Safety\n", " * Safety:\n"))
}
