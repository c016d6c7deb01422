//! A peer's input plane: packets to the session's input thread, controllers' output to the peer.

use std::sync::Arc;

use net::native::HostSession;
use net::native::input::{InputReceiver, OutputSender};
use net::quic::Link;
use net::units::Timestamp;

use crate::metrics::{SessionMetrics, add};
use crate::stage::input::InputQueue;

/// The plane of one peer; there from the moment when its display stands.
pub(super) struct InputPlane {
    queue: InputQueue,
    receiver: InputReceiver,
    output: OutputSender,
    /// There if the client has no right to input: what it sends is dropped and counted.
    refused: Option<Arc<SessionMetrics>>,
}

impl InputPlane {
    pub(super) fn new(queue: InputQueue, refused: Option<Arc<SessionMetrics>>) -> Self {
        Self {
            queue,
            receiver: InputReceiver::default(),
            output: OutputSender::default(),
            refused,
        }
    }

    /// A packet that came by datagram or on the stream. What is no packet is dropped: a peer that
    /// sends such harms only itself.
    pub(super) fn handle_packet(&mut self, now: Timestamp, packet: &[u8]) {
        if let Some(metrics) = &self.refused {
            add(&metrics.counters.input_refused, 1);
            return;
        }
        if let Err(error) = self.receiver.handle_packet(packet) {
            log::debug!("input: {error}");
        }
        while let Some(event) = self.receiver.poll_event() {
            self.queue.push(now, event);
        }
    }

    /// Says what applications ask of controllers, by datagram and for certain by the stream.
    pub(super) fn pass_output(&mut self, machine: &mut HostSession, link: &mut Link) {
        while let Some(output) = self.queue.poll_output() {
            let packet = self.output.packet(output);
            link.send_datagram(&packet);
            if !machine.send_pad_output(packet) {
                log::debug!("a controller's output has no room on the stream");
            }
        }
    }
}
