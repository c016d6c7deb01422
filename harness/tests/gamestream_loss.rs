//! A stock client behind a relay that loses of its video: parity makes frames whole, the encoder
//! refers past what was lost, and no IDR is needed.

mod gamestream_program;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use gamestream_program::{Host, parse};
use harness::sim::rng::{Chance, Rng};
use serde_json::{Value, json};

/// Where the relay listens, with the host's port numbers.
const FRONT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// Threads look so often whether they are still wanted.
const LOOK: Duration = Duration::from_millis(50);
const SEED: u64 = 11;

/// RTSP and the three UDP ports; of video so much is lost on its way to the client.
struct Relay {
    stop: Arc<AtomicBool>,
    lost: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    fn new(base: u16, loss: Chance) -> Self {
        let mut relay = Self {
            stop: Arc::default(),
            lost: Arc::default(),
            threads: Vec::new(),
        };
        relay.forward_tcp(base + 21);
        for (port, loss) in [(base + 9, Some(loss)), (base + 10, None), (base + 11, None)] {
            relay.forward_udp(port, loss);
        }
        relay
    }

    fn spawn(&mut self, mut turn: impl FnMut() + Send + 'static) {
        let stop = Arc::clone(&self.stop);
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Relaxed) {
                turn();
            }
        }));
    }

    /// RTSP: a request, an answer, closed by the host.
    fn forward_tcp(&mut self, port: u16) {
        let listener = TcpListener::bind((FRONT, port)).expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        self.spawn(move || {
            let Ok((front, _)) = listener.accept() else {
                return std::thread::park_timeout(Duration::from_millis(1));
            };
            front.set_nonblocking(false).expect("a socket");
            let back = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("the host listens");
            let (mut from, mut to) = (clone(&front), clone(&back));
            let up = std::thread::spawn(move || io::copy(&mut from, &mut to));
            let (mut from, mut to) = (clone(&back), clone(&front));
            // Either may close first.
            let _ = io::copy(&mut from, &mut to);
            let _ = front.shutdown(std::net::Shutdown::Both);
            let _ = up.join();
        });
    }

    fn forward_udp(&mut self, port: u16, loss: Option<Chance>) {
        let bind = |ip: Ipv4Addr, port: u16| {
            let socket = UdpSocket::bind((ip, port)).expect("a free port");
            socket.set_read_timeout(Some(LOOK)).expect("a limit");
            Arc::new(socket)
        };
        let (front, back) = (bind(FRONT, port), bind(Ipv4Addr::LOCALHOST, 0));
        back.connect((Ipv4Addr::LOCALHOST, port))
            .expect("an address");
        let client: Arc<OnceLock<SocketAddr>> = Arc::default();
        let (from, to, seen) = (Arc::clone(&front), Arc::clone(&back), Arc::clone(&client));
        let mut bytes = [0; 2048];
        self.spawn(move || {
            if let Ok((count, address)) = from.recv_from(&mut bytes) {
                seen.get_or_init(|| address);
                let _ = to.send(&bytes[..count]);
            }
        });
        let lost = Arc::clone(&self.lost);
        let mut rng = Rng::stream(SEED, 0);
        self.spawn(move || {
            let Ok(count) = back.recv(&mut bytes) else {
                return;
            };
            if loss.is_some_and(|loss| rng.happens(loss)) {
                lost.fetch_add(1, Relaxed);
            } else if let Some(client) = client.get() {
                let _ = front.send_to(&bytes[..count], client);
            }
        });
    }
}

fn clone(stream: &TcpStream) -> TcpStream {
    stream.try_clone().expect("a file descriptor")
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// 2 % of video: what parity does not make whole is stepped over.
#[test]
fn loss_of_two_percent_costs_no_idr() {
    println!("seed {SEED}");
    let mut host = Host::new("synthetic");
    let client = host.client("client");
    host.pair(&client, "1234");
    let relay = Relay::new(host.port, Chance::percent(2));
    let wanted = json!({
        "do": "launch", "app": 1, "width": 640, "height": 360, "fps": 60, "kbps": 10_000,
        "frames": 600, "media_address": FRONT.to_string(),
    });
    let running = client.play(&wanted.to_string());
    let lines = running.lines.clone();
    let ended = running.wait();
    let lines: Vec<Value> = lines.try_iter().map(|line| parse(&line)).collect();
    let frames: Vec<&Value> = lines.iter().filter(|line| line["frame"].is_u64()).collect();
    assert_eq!(frames.len(), 600, "{}", ended.stderr);
    let lost = relay.lost.load(Relaxed);
    assert!(lost > 20, "{lost} packets were lost");
    let idrs = frames.iter().filter(|frame| frame["kind"] == 1).count();
    assert_eq!(idrs, 1, "the one that the stream begins with");
    let numbers = frames.iter().filter_map(|frame| frame["frame"].as_u64());
    let sent = numbers.max().expect("600 of them");
    let missing = sent - 600;
    println!("{lost} packets lost, {missing} of {sent} frames missing");
    assert!(
        missing <= sent / 20,
        "{missing} of {sent} frames are missing"
    );
    drop(relay);
    host.stop();
}
