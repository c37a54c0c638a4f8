//! The committed header is the one that the sources generate, and C and C++
//! compilers accept it.

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
