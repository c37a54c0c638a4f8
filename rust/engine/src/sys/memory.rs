//! What malloc(3) does with what was given back.

/// Returns unused memory to the system, where malloc(3) can be told to. Takes time in proportion to all that is in use.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes an integer only, and touches no memory in use.
    unsafe {
        libc::malloc_trim(0)
    };
}
