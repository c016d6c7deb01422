//! Once a session streams, its four data-plane threads allocate nothing: a real host, real
//! encoders and sockets, and an allocator that counts.

use std::sync::Arc;

use bench::alloc::CountingAllocator;
use engine::metrics::CounterSnapshot;
use harness::facts::eventually;
use harness::loopback::{LoopbackClient, LoopbackHost, encoders, hello};
use net::client::Trust;

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Buffers have found their sizes by then.
const WARM_UP: u64 = 120;
const COUNTED: u64 = 200;

#[test]
fn streaming_allocates_nothing() {
    engine::metrics::set_allocation_probe(bench::alloc::thread_allocations);
    for encoder in encoders() {
        for fec in ["0", "20", "100"] {
            let (from, to) = stream(encoder, fec);
            let counted = to.since(&from);
            assert!(
                from.capture_allocations > 0,
                "{encoder}: the allocator counts"
            );
            let what = format!(
                "{encoder}, {fec} % parity, over {} pictures",
                counted.encoded
            );
            assert_eq!(counted.capture_allocations, 0, "capture: {what}");
            assert_eq!(counted.encode_allocations, 0, "encode: {what}");
            assert_eq!(counted.protect_allocations, 0, "protect: {what}");
            assert_eq!(counted.send_allocations, 0, "send: {what}");
        }
    }
}

/// The counters of a session after its warm-up, and so many pictures later.
fn stream(encoder: &'static str, fec: &'static str) -> (CounterSnapshot, CounterSnapshot) {
    let host = LoopbackHost::synthetic(&[("fec", fec), ("encoder", encoder)]);
    let mut client = LoopbackClient::with(host.address(), Trust::FirstUse, hello("320x240@240"))
        .expect("a session");
    eventually("the host lists the session", || !host.sessions().is_empty());
    let metrics = Arc::clone(&host.sessions()[0].metrics);
    let mut after = |pictures: u64| {
        eventually("so many pictures are encoded", || {
            while client.received().frames < metrics.counters.snapshot().encoded {
                client.watch(1, |_, _| {});
            }
            metrics.counters.snapshot().encoded >= pictures
        });
        metrics.counters.snapshot()
    };
    let from = after(WARM_UP);
    let to = after(from.encoded + COUNTED);
    (from, to)
}
