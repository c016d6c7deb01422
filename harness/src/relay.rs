//! A relay between client and host that loses, forges and repeats datagrams as a test says.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;

use net::media::VideoHeader;
use net::udp::{Datagram, Receiver, SendError, Socket, SocketConfig, Wait};

use crate::PATIENCE;

/// Which way a datagram goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From client to host.
    Up,
    /// From host to client.
    Down,
}

/// Decides whether a datagram passes. `media` is its header if it is a video datagram.
pub type Policy = Box<dyn FnMut(Way, &[u8], Option<&VideoHeader>) -> bool + Send>;

/// The relay. Serves the first client that speaks to it.
pub struct Relay {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    host: SocketAddr,
    /// Towards the client.
    front: Socket,
    /// Towards the host; what the host takes for the client's address.
    back: Mutex<Arc<Socket>>,
    client: OnceLock<SocketAddr>,
    policy: Mutex<Policy>,
    severed: AtomicBool,
    stop: AtomicBool,
}

impl Relay {
    /// A relay to `host` that lets pass what `policy` says.
    ///
    /// # Panics
    /// If loopback has no port left.
    #[must_use]
    pub fn new(host: SocketAddr, policy: Policy) -> Self {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let socket = || Socket::bind(any, SocketConfig::default()).expect("a port on loopback");
        let shared = Arc::new(Shared {
            host,
            front: socket(),
            back: Mutex::new(Arc::new(socket())),
            client: OnceLock::new(),
            policy: Mutex::new(policy),
            severed: AtomicBool::new(false),
            stop: AtomicBool::new(false),
        });
        let threads = [Way::Up, Way::Down]
            .into_iter()
            .map(|way| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name("relay".to_owned())
                    .spawn(move || shared.run(way))
                    .expect("a thread")
            })
            .collect();
        Self { shared, threads }
    }

    /// Everything passes.
    #[must_use]
    pub fn transparent(host: SocketAddr) -> Self {
        Self::new(host, Box::new(|_, _, _| true))
    }

    /// Where the client connects to.
    ///
    /// # Panics
    /// Never: the socket is bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared
            .front
            .local_addr()
            .expect("a bound socket has an address")
    }

    /// From now on this decides.
    ///
    /// # Panics
    /// If the policy before panicked.
    pub fn set_policy(&self, policy: Policy) {
        *self
            .shared
            .policy
            .lock()
            .expect("a policy that does not panic") = policy;
    }

    /// From now on nothing passes, as if the cable had been pulled.
    pub fn sever(&self) {
        self.shared.severed.store(true, Ordering::Release);
    }

    /// From now on the host hears of the client from another address, as behind a router that has
    /// forgotten the one before. What comes there is lost.
    ///
    /// # Panics
    /// If loopback has no port left.
    pub fn rebind(&self) {
        let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
        let socket = Socket::bind(any, SocketConfig::default()).expect("a port on loopback");
        let mut back = self.shared.back.lock().expect("nobody panics with it");
        let old = std::mem::replace(&mut *back, Arc::new(socket));
        drop(back);
        wake(&old);
    }

    /// Sends the client a datagram that seems to come from the host.
    pub fn inject(&self, bytes: &[u8]) {
        if let Some(&client) = self.shared.client.get() {
            send(&self.shared.front, client, bytes);
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        wake(&self.shared.front);
        wake(&self.shared.back());
        for thread in self.threads.drain(..) {
            // A panic there has been printed by its hook.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn back(&self) -> Arc<Socket> {
        Arc::clone(&self.back.lock().expect("nobody panics with it"))
    }

    fn run(&self, way: Way) {
        let mut receiver = Receiver::new();
        while !self.stop.load(Ordering::Acquire) {
            let received = match way {
                Way::Up => receiver.recv(&self.front, Wait::UpTo(PATIENCE)),
                Way::Down => receiver.recv(&self.back(), Wait::UpTo(PATIENCE)),
            };
            if received.is_err() {
                return;
            }
            for (datagram, from) in receiver.datagrams() {
                self.pass(way, datagram, from);
            }
        }
    }

    fn pass(&self, way: Way, datagram: &[u8], from: SocketAddr) {
        let media = VideoHeader::parse(datagram).ok();
        let passes = !self.severed.load(Ordering::Acquire)
            && (self.policy.lock().expect("a policy that does not panic"))(
                way,
                datagram,
                media.as_ref(),
            );
        match way {
            Way::Up if from == *self.client.get_or_init(|| from) && passes => {
                send(&self.back(), self.host, datagram);
            }
            Way::Down if from == self.host && passes => {
                if let Some(&client) = self.client.get() {
                    send(&self.front, client, datagram);
                }
            }
            _ => {}
        }
    }
}

/// A datagram of a byte wakes the thread that reads from it.
fn wake(socket: &Socket) {
    if let Ok(own) = socket.local_addr() {
        send(socket, own, &[0]);
    }
}

/// A relay may lose: what the kernel does not take within [`PATIENCE`] is gone.
fn send(socket: &Socket, to: SocketAddr, bytes: &[u8]) {
    while let Err(SendError::WouldBlock) = socket.send_many(&[Datagram { to, bytes }]) {
        if !socket.wait_writable(PATIENCE).unwrap_or(false) {
            return;
        }
    }
}
