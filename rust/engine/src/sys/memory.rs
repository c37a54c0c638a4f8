//! The memory that malloc(3) keeps after it was freed.

/// Returns freed memory to the system, where malloc(3) can be told to. This takes time in proportion to the memory in
/// use.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: malloc_trim takes an integer only, and touches no memory in use.
    unsafe {
        libc::malloc_trim(0)
    };
}
