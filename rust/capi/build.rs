//! Generates `include/evws.h` from this crate's sources, and names the shared
//! library so that what is linked against it finds it beside itself.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs};

fn main() {
    name_the_library();
    let crate_directory = PathBuf::from(variable("CARGO_MANIFEST_DIR"));
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=cbindgen.toml");
    println!("cargo:rerun-if-changed=src");
    // Sources that do not parse are rustc's to report: it does so better.
    match generate(&crate_directory) {
        Ok(header) => publish(&crate_directory, &header),
        Err(error) => println!("cargo:warning=include/evws.h not generated: {error}"),
    }
}

/// A cdylib gets no name of its own from rustc; without one, the path it was
/// linked by would be recorded in the Perl module that uses it.
fn name_the_library() {
    let argument = match variable("CARGO_CFG_TARGET_OS").as_str() {
        "macos" => "-Wl,-install_name,@rpath/libevws.dylib",
        _ => "-Wl,-soname,libevws.so",
    };
    println!("cargo:rustc-cdylib-link-arg={argument}");
}

/// The header as text. cbindgen is shown the crate's root and follows its modules, which spares
/// its run of `cargo metadata` (it would ask for every dependency of every platform, and the
/// network with it).
fn generate(crate_directory: &Path) -> Result<Vec<u8>, Box<dyn Error>> {
    let config = cbindgen::Config::from_file(crate_directory.join("cbindgen.toml"))?;
    let mut header = Vec::new();
    cbindgen::Builder::new()
        .with_config(config)
        .with_src(crate_directory.join("src/lib.rs"))
        .generate()?
        .write(&mut header);
    // "# Safety" is a heading to rustdoc alone.
    Ok(String::from_utf8(header)?
        .replace(" * # Safety\n", " * Safety:\n")
        .into_bytes())
}

/// Leaves the header in OUT_DIR for tests/header.rs, and brings the one in the
/// source tree up to date. That one is written only when it differs, so that
/// its time tells make the truth, and not at all where it cannot be: the
/// sources of an installed crate may be read-only.
fn publish(crate_directory: &Path, header: &[u8]) {
    let generated = PathBuf::from(variable("OUT_DIR")).join("evws.h");
    fs::write(&generated, header).expect("OUT_DIR is writable");

    let committed = crate_directory.join("../../include/evws.h");
    println!("cargo:rerun-if-changed={}", committed.display());
    let stale = fs::read(&committed).map_or(true, |text| text != header);
    println!("cargo:rustc-env=EVWS_HEADER_WAS_STALE={}", u8::from(stale));
    if stale {
        if let Err(error) = write_whole(&committed, header) {
            println!("cargo:warning={} is stale: {error}", committed.display());
        }
    }
}

/// Writes through a neighbouring file and a rename: a C compiler that reads the
/// header at this moment sees the old one or the new one, never half of it.
fn write_whole(path: &Path, contents: &[u8]) -> std::io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    let temporary = path.with_extension(format!("h.{}", std::process::id()));
    fs::write(&temporary, contents)?;
    fs::rename(&temporary, path)
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for build scripts"))
}
