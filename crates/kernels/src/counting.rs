//! An allocator that counts, for tests of what promises to allocate nothing.
//!
//! ```
//! use stakeout_kernels::counting::{self, Counting};
//!
//! #[global_allocator]
//! static ALLOCATOR: Counting = Counting;
//!
//! let before = counting::allocations();
//! let numbers = vec![1.0f32; 8];
//! assert_eq!(counting::allocations() - before, 1);
//! # drop(numbers);
//! ```

#![allow(unsafe_code)] // an allocator is an unsafe trait

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, and a count of how often each thread asked it for memory.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counting;

/// How often this thread asked for memory so far, to begin or to grow with; 0 where [`Counting`] is not the allocator.
pub fn allocations() -> u64 {
    ALLOCATIONS.get()
}

fn count() {
    // The counter needs neither memory nor a destructor: it is there for as long as its thread is.
    ALLOCATIONS.set(ALLOCATIONS.get() + 1);
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's, and what is given back came from the system's allocator.
        unsafe { System.dealloc(pointer, layout) }
    }
}
