//! C and C++ compilers accept the header, and the program of its documentation.

use std::io::ErrorKind;
use std::process::Command;

/// A header for C and C++ stands alone in both, and without a warning.
#[test]
fn compilers_accept_the_header() {
    let header = concat!(env!("CARGO_MANIFEST_DIR"), "/../../include/evws.h");
    for (compiler, language) in [("cc", "c"), ("c++", "c++")] {
        accepts(compiler, language, header);
    }
}

/// The program that the documentation begins with.
#[test]
fn a_compiler_accepts_the_program_in_the_documentation() {
    let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/c-abi.md"));
    let (_, rest) = text.split_once("```c\n").expect("a program");
    let (program, _) = rest.split_once("```").expect("its end");
    let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/documented.c");
    std::fs::write(file, program).unwrap();
    accepts("cc", "c", file);
}

/// Where there is no compiler there is nothing to ask; whoever builds the module has the one for C.
fn accepts(compiler: &str, language: &str, file: &str) {
    let include = concat!(env!("CARGO_MANIFEST_DIR"), "/../../include");
    let found = Command::new(compiler)
        .args(["-fsyntax-only", "-Wall", "-Wextra", "-Wpedantic", "-Werror"])
        .args(["-I", include])
        .args(["-x", language, file])
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
