//! Rust's memory comes from malloc(3), so that a message which was put together from several
//! reads can be given away as it is: its new owner frees it with free(3).

use std::alloc::{GlobalAlloc, Layout};
use std::ptr;

use evws_engine::Context;

use crate::context::evws_context;
use crate::guard::drive;

/// The alignment that malloc(3) guarantees (C11 `max_align_t` on 64-bit systems).
const MALLOC_ALIGN: usize = 16;

struct Malloc;

#[global_allocator]
static ALLOCATOR: Malloc = Malloc;

// SAFETY: malloc, realloc, posix_memalign and free keep the promises of GlobalAlloc: blocks of the
// asked size and alignment, or null. None of them unwinds.
unsafe impl GlobalAlloc for Malloc {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: any size may be asked for; GlobalAlloc's is not zero.
            return unsafe { libc::malloc(layout.size()) }.cast();
        }
        let mut block = ptr::null_mut();
        // SAFETY: the alignment is a power of two, and more than that of a pointer.
        match unsafe { libc::posix_memalign(&raw mut block, layout.align(), layout.size()) } {
            0 => block.cast(),
            _ => ptr::null_mut(),
        }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        // SAFETY: it came from one of the functions here, says GlobalAlloc's caller.
        unsafe { libc::free(block.cast()) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: any size may be asked for.
            return unsafe { libc::calloc(layout.size(), 1) }.cast();
        }
        // SAFETY: the layout is the caller's; the block, if there is one, has its size.
        unsafe {
            let block = self.alloc(layout);
            if !block.is_null() {
                ptr::write_bytes(block, 0, layout.size());
            }
            block
        }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: the block came from malloc, and the new size is not zero.
            return unsafe { libc::realloc(block.cast(), size) }.cast();
        }
        // SAFETY: both layouts are valid, and the copy stays within the smaller block.
        unsafe {
            let new = self.alloc(Layout::from_size_align_unchecked(size, layout.align()));
            if !new.is_null() {
                ptr::copy_nonoverlapping(block, new, layout.size().min(size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

/// Gives the payload of the event that was polled last away, if it has memory of its own: a large
/// message that came in several reads. Returns the memory, which holds the payload and a NUL
/// behind it, and belongs to the caller, who frees it with free(3). Returns NULL if the payload is
/// only lent. What the event lent of the payload is invalid afterwards.
///
/// # Safety
/// `context` is live or null.
#[no_mangle]
pub unsafe extern "C" fn evws_take_payload(context: *mut evws_context) -> *mut u8 {
    let work = |engine: &mut Context| {
        let Some(mut payload) = engine.take_payload() else {
            return ptr::null_mut();
        };
        payload.push(0);
        // INVARIANT: the block came from malloc, since that is where all memory here comes from.
        payload.leak().as_mut_ptr()
    };
    // SAFETY: as promised above.
    unsafe { drive(context, ptr::null_mut(), work) }
}
