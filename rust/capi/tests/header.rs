//! The committed header is the one that the sources generate, and C and C++
//! compilers accept it.

use std::io::ErrorKind;
use std::process::Command;

const GENERATED: &str = include_str!(concat!(env!("OUT_DIR"), "/evws.h"));
const COMMITTED: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../include/evws.h"));

/// The build script has already written the new header where it could, so the
/// comparison alone would not notice that a commit lacks it.
#[test]
fn committed_header_is_current() {
    assert!(
        env!("EVWS_HEADER_WAS_STALE") == "0" && GENERATED == COMMITTED,
        "include/evws.h was not what rust/capi generates: it has been written anew, commit it"
    );
}

/// A header for C and C++ stands alone in both, and without a warning. Where there is no compiler
/// there is nothing to ask; whoever builds the module has the one for C.
#[test]
fn compilers_accept_the_header() {
    let header = concat!(env!("CARGO_MANIFEST_DIR"), "/../../include/evws.h");
    for (compiler, language) in [("cc", "c"), ("c++", "c++")] {
        let found = Command::new(compiler)
            .args(["-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror"])
            .args(["-x", language, header])
            .output();
        match found {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => panic!("{compiler}: {error}"),
            Ok(output) => assert!(
                output.status.success(),
                "{compiler}: {}",
                String::from_utf8_lossy(&output.stderr)
            ),
        }
    }
}
