//! Encoding allocates nothing in Rust once a session is warm, on whichever thread. The only test
//! here, because while it encodes it counts what all threads allocate.
#![allow(unsafe_code, reason = "a global allocator is unsafe by its nature")]

mod content;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use content::Film;
use gpu::encode::{EncoderConfig, PictureKind, SliceInfo, SliceSink, candidates};
use gpu::frame::Size;
use net::units::{BitsPerSecond, FrameId, Mode, SliceCount};

struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static COUNT: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is handed to the system's allocator; the counter is a number and does not
// allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if COUNTS.load(Ordering::SeqCst) {
            COUNT.fetch_add(1, Ordering::SeqCst);
        }
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Writes every slice into the same memory.
struct Pool(Vec<u8>);

impl SliceSink for Pool {
    fn reserve(&mut self, _: usize, bytes: usize) -> Option<&mut [u8]> {
        self.0.get_mut(..bytes)
    }

    fn finish(&mut self, _: usize, _: SliceInfo) {}
}

#[test]
fn encoding_allocates_nothing_after_warm_up() {
    let size = Size {
        width: 640,
        height: 368,
    };
    for (kind, threads) in candidates().iter().flat_map(|kind| [(kind, 1), (kind, 2)]) {
        let config = EncoderConfig {
            mode: Mode::new(size.width.into(), size.height.into(), 60_000).expect("valid"),
            bitrate: BitsPerSecond::from_kbps(8_000),
            slices: SliceCount::new(8).expect("valid"),
            threads,
        };
        let mut encoder = (kind.open)(&config).expect("opens");
        let mut film = Film::new(size, 20, 1);
        let mut pool = Pool(vec![0; 1 << 20]);
        for id in 0..60 {
            let (frame, _) = film.next();
            let picture = if id == 50 {
                PictureKind::Idr
            } else {
                PictureKind::Delta
            };
            COUNTS.store(id >= 5, Ordering::SeqCst);
            let result = encoder.encode(&frame, FrameId(id), picture, &mut pool);
            COUNTS.store(false, Ordering::SeqCst);
            let count = COUNT.swap(0, Ordering::SeqCst);
            result.expect("encodes");
            assert_eq!(count, 0, "{} with {threads} on {id}", kind.name);
        }
    }
}
