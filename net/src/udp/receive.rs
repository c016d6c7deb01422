//! The receiving half: many datagrams a call, merged ones taken apart.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use super::Socket;
use super::sys::{self, MESSAGES_MAX, Message};

/// Bytes of a receive buffer: the largest datagram and the largest merger of GRO fit.
const BUFFER_BYTES: usize = 1 << 16;

/// How long [`Receiver::recv`] waits for the first datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    No,
    /// So long at most.
    UpTo(Duration),
}

/// Buffers that datagrams are received into, made once: 16 of 64 KiB.
pub struct Receiver {
    buffers: Box<[u8]>,
    buffer_bytes: usize,
    messages: [Message; MESSAGES_MAX],
    received: usize,
    truncated: u64,
    refused: u64,
}

impl Receiver {
    /// Allocates the buffers.
    #[must_use]
    pub fn new() -> Self {
        Self::with_buffer_bytes(BUFFER_BYTES)
    }

    /// With smaller buffers: datagrams, merged ones too, that are larger are lost and counted.
    #[must_use]
    pub fn with_buffer_bytes(buffer_bytes: usize) -> Self {
        Self {
            buffers: vec![0; buffer_bytes * MESSAGES_MAX].into_boxed_slice(),
            buffer_bytes,
            messages: [Message::EMPTY; MESSAGES_MAX],
            received: 0,
            truncated: 0,
            refused: 0,
        }
    }

    /// Receives what is there, waiting as `wait` says if nothing is, whether or not the socket is
    /// non-blocking. Returns the number of datagrams that [`Receiver::datagrams`] now gives, but 1
    /// where only empty ones came; 0 if the time ran out (or a signal came).
    ///
    /// # Errors
    /// The kernel's, if the socket is of no more use. An ICMP error is none: it is counted.
    pub fn recv(&mut self, socket: &Socket, wait: Wait) -> io::Result<usize> {
        self.received = 0;
        // Asking before waiting saves a call for each batch of a busy stream.
        if !self.take(socket)? {
            let Wait::UpTo(timeout) = wait else {
                return Ok(0);
            };
            if !socket.wait_readable(timeout)? || !self.take(socket)? {
                return Ok(0);
            }
        }
        let mut datagrams = 0;
        for message in &self.messages[..self.received] {
            if message.truncated {
                self.truncated += 1;
            }
            datagrams += message.datagrams();
        }
        // Zero would say that the socket is drained.
        Ok(datagrams.max(1))
    }

    /// The datagrams of the last [`Receiver::recv`], with their senders, in order of arrival. They
    /// may be opened in place.
    pub fn datagrams(&mut self) -> impl Iterator<Item = (&mut [u8], SocketAddr)> {
        self.buffers
            .chunks_mut(self.buffer_bytes.max(1))
            .zip(&self.messages[..self.received])
            .filter_map(|(buffer, message)| {
                let from = message.from.filter(|_| message.datagrams() > 0)?;
                let bytes = message.bytes.min(buffer.len());
                let merged = buffer[..bytes].chunks_mut(message.segment_bytes.max(1));
                Some(merged.map(move |datagram| (datagram, from)))
            })
            .flatten()
    }

    /// Receives that were lost because they were larger than a buffer, since the start. One of them
    /// may have been several datagrams.
    #[must_use]
    pub fn truncated(&self) -> u64 {
        self.truncated
    }

    /// ICMP errors that came up here, since the start.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// False if there was nothing.
    fn take(&mut self, socket: &Socket) -> io::Result<bool> {
        loop {
            let taken = sys::receive(
                socket.as_fd(),
                &mut self.buffers,
                self.buffer_bytes,
                &mut self.messages,
            );
            match taken {
                Ok(received) => {
                    self.received = received;
                    return Ok(received > 0);
                }
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => return Ok(false),
                    Some(libc::EINTR) => {}
                    // Each is reported once and then gone, so this ends.
                    Some(libc::ECONNREFUSED | libc::EHOSTUNREACH | libc::ENETUNREACH) => {
                        self.refused += 1;
                    }
                    _ => return Err(error),
                },
            }
        }
    }
}

impl Default for Receiver {
    fn default() -> Self {
        Self::new()
    }
}
