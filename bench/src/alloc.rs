//! An allocator that counts: proof that the frame path allocates nothing once streaming. The
//! executable installs it; each thread reads its own count.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

thread_local! {
    // Const and without drop, so that touching it allocates nothing and works at any time of a
    // thread's life.
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator, with a count of allocations for each thread. Install it with
/// `#[global_allocator]`.
#[derive(Clone, Copy, Debug, Default)]
pub struct CountingAllocator;

/// Allocations and reallocations of this thread since it began; zero unless
/// [`CountingAllocator`] is installed.
#[must_use]
pub fn thread_allocations() -> u64 {
    ALLOCATIONS.get()
}

fn count() {
    ALLOCATIONS.set(ALLOCATIONS.get().wrapping_add(1));
}

// SAFETY: every method hands its arguments to `System` unchanged and returns what that returns;
// counting touches a thread-local number and neither allocates nor unwinds.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count();
        // SAFETY: `block` came from `System` through this allocator, with this layout.
        unsafe { System.realloc(block, layout, new_size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: `block` came from `System` through this allocator, with this layout.
        unsafe { System.dealloc(block, layout) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[global_allocator]
    static COUNTING: CountingAllocator = CountingAllocator;

    #[test]
    fn only_this_threads_allocations_count() {
        let before = thread_allocations();
        let elsewhere = std::thread::scope(|scope| {
            let before = thread_allocations();
            let thread = scope.spawn(|| {
                let boxes: Vec<Box<u64>> = (0..100).map(Box::new).collect();
                (boxes.len(), thread_allocations())
            });
            (
                thread.join().expect("does not panic"),
                thread_allocations() - before,
            )
        });
        let ((boxes, counted), here) = elsewhere;
        assert!(boxes == 100 && counted >= 101, "{counted}");
        assert!(here < 100, "starting a thread allocates a little: {here}");

        let start = thread_allocations();
        assert!(start >= before);
        let mut sum = 0_u64;
        for value in 0..1000 {
            sum = std::hint::black_box(sum + value);
        }
        assert_eq!((sum, thread_allocations()), (499_500, start));
    }
}
