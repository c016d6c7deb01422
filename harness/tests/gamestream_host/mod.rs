//! A host of the sans-IO machines of `net::gamestream`, for one client that comes as a process.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use gpu::encode::x264::X264Encoder;
use gpu::encode::{Encoder, EncoderConfig, PictureKind, SliceInfo, SliceSink};
use gpu::frame::{Frame, MemorySurface, PixelFormat, Rect, Size};
use net::clock;
use net::gamestream::audio::{AudioPacketizer, AudioSendConfig};
use net::gamestream::control::{ControlCipher, EndReason, FromClient, NonceKind, ToClient};
use net::gamestream::enet::{Delivery, EnetEvent, EnetHost, Peer};
use net::gamestream::ping::{Ping, PingGate};
use net::gamestream::rtsp::{
    Ports, Received, RtspEvent, RtspReader, RtspSession, RtspSessionConfig,
};
use net::gamestream::sdp::{Description, Encryption, StreamConfig};
use net::gamestream::video::{FramePlan, VideoConfig, VideoPacketizer};
use net::packetize::{Batch, Protection, SliceMeta};
use net::units::{BitsPerSecond, FrameId, SliceCount, Timestamp};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const KEY: [u8; 16] = *b"0123456789abcdef";
const IV: [u8; 16] = [0, 0, 0x12, 0x34, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const AUDIO_PING: [u8; 16] = *b"audio-ping-12345";
const VIDEO_PING: [u8; 16] = *b"video-ping-12345";
const CONNECT_DATA: u32 = 0x8765_4321;
const SIZE: Size = Size {
    width: 640,
    height: 360,
};
/// A whole test, start of the client included.
const PATIENCE: Duration = Duration::from_secs(40);

/// What the network loses of unencrypted video.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// Nothing.
    Nothing,
    /// A data packet of each block, another one each time.
    OneOfEachBlock,
    /// The last block of a frame, with its parity.
    ABlockEvery40Frames,
}

/// What a test wants.
#[derive(Clone, Debug)]
pub struct Options {
    pub packet_bytes: u16,
    pub remote: bool,
    pub encrypt_media: bool,
    pub encrypt_rtsp: bool,
    pub surround: bool,
    pub blocks: u8,
    pub frames: u32,
    pub cut: Cut,
    /// Two of the six packets of each block of sound are lost, others each time.
    pub cut_sound: bool,
    pub terminate_after: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            packet_bytes: 1392,
            remote: false,
            encrypt_media: false,
            encrypt_rtsp: false,
            surround: false,
            blocks: 2,
            frames: 200,
            cut: Cut::Nothing,
            cut_sound: false,
            terminate_after: None,
        }
    }
}

/// What came of it.
pub struct Outcome {
    /// What the client printed.
    pub lines: Vec<serde_json::Value>,
    /// CRC of each frame's bytes other than zero, by its number on the wire.
    pub sums: BTreeMap<u32, u32>,
    /// CRC of the audio packets.
    pub opus: BTreeSet<u32>,
    /// What the client announced.
    pub announced: StreamConfig,
    /// What it said on the control stream.
    pub messages: Vec<FromClient>,
}

/// Streams to the client until it ends.
pub fn stream(options: &Options) -> Outcome {
    let mut host = Host::new(options.clone());
    let (child, lines) = host.start_client();
    let mut client = Client(child);
    let began = clock::now();
    let mut said = Vec::new();
    loop {
        assert!(
            clock::now().since(began) < PATIENCE,
            "it takes too long: {said:?}"
        );
        host.turn();
        said.extend(lines.try_iter());
        if client.0.try_wait().expect("our child").is_some() {
            break;
        }
    }
    said.extend(lines.iter());
    let errors: Vec<_> = said
        .iter()
        .filter(|line| !line["error"].is_null())
        .collect();
    assert!(errors.is_empty(), "the client failed: {errors:?}");
    Outcome {
        lines: said,
        sums: host.sums,
        opus: host.opus,
        announced: host.announced.expect("an ANNOUNCE"),
        messages: host.messages,
    }
}

/// Ends with the test, however that ends.
struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

struct Host {
    options: Options,
    listener: TcpListener,
    control: UdpSocket,
    video: UdpSocket,
    audio: UdpSocket,
    connections: Vec<(TcpStream, RtspReader)>,
    rtsp: RtspSession,
    enet: EnetHost,
    cipher: ControlCipher,
    peer: Option<Peer>,
    video_gate: PingGate,
    audio_gate: PingGate,
    announced: Option<StreamConfig>,
    media: Option<Media>,
    messages: Vec<FromClient>,
    sums: BTreeMap<u32, u32>,
    opus: BTreeSet<u32>,
    next_frame: Timestamp,
    next_audio: Timestamp,
}

/// What streams once the client plays.
struct Media {
    encoder: X264Encoder,
    sink: Sink,
    audio: AudioPacketizer,
    frame: FrameId,
    needs_idr: bool,
    answered: Option<u32>,
}

impl Host {
    fn new(options: Options) -> Self {
        let udp = || {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            socket.set_nonblocking(true).expect("a socket");
            socket
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let (control, video, audio) = (udp(), udp(), udp());
        let port = |socket: &UdpSocket| socket.local_addr().expect("bound").port();
        let rtsp = RtspSession::new(RtspSessionConfig {
            session: "8badf00d".into(),
            ports: Ports {
                audio: port(&audio),
                video: port(&video),
                control: port(&control),
            },
            audio_ping: AUDIO_PING,
            video_ping: VIDEO_PING,
            connect_data: CONNECT_DATA,
            description: Description {
                invalidation: true,
                pen_touch: true,
                controller_touch: true,
                supported: Encryption {
                    control_v2: true,
                    video: options.encrypt_media,
                    audio: options.encrypt_media,
                },
                ..Description::default()
            },
            key: KEY,
            encrypted: options.encrypt_rtsp,
            encryption_required: options.encrypt_media,
        });
        let now = clock::now();
        let mut enet = EnetHost::new(now, 99);
        enet.expect(CONNECT_DATA);
        let loopback = [127, 0, 0, 1].into();
        Self {
            options,
            listener,
            control,
            video,
            audio,
            connections: Vec::new(),
            rtsp,
            enet,
            cipher: ControlCipher::new(KEY, NonceKind::Directed),
            peer: None,
            video_gate: PingGate::new(loopback, VIDEO_PING, false),
            audio_gate: PingGate::new(loopback, AUDIO_PING, false),
            announced: None,
            media: None,
            messages: Vec::new(),
            sums: BTreeMap::new(),
            opus: BTreeSet::new(),
            next_frame: now,
            next_audio: now,
        }
    }

    fn start_client(&self) -> (Child, Receiver<serde_json::Value>) {
        let python = std::env::var_os("PUNKTFUNK_MOONLIGHT")
            .expect("PUNKTFUNK_MOONLIGHT names a Python with moonlight-python: see scripts");
        let port = self.listener.local_addr().expect("bound").port();
        let scheme = if self.options.encrypt_rtsp {
            "rtspenc"
        } else {
            "rtsp"
        };
        let hex = |bytes: &[u8]| {
            bytes
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect::<String>()
        };
        let options = serde_json::json!({
            "url": format!("{scheme}://127.0.0.1:{port}"),
            "width": SIZE.width, "height": SIZE.height, "fps": 60, "kbps": 20_000,
            "packet_bytes": self.options.packet_bytes, "remote": self.options.remote,
            "surround": self.options.surround, "frames": self.options.frames,
            "key": hex(&KEY), "iv": hex(&IV),
        });
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/moonlight/client.py");
        let mut child = Command::new(python)
            .arg(script)
            .arg(options.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the interpreter starts");
        let out = child.stdout.take().expect("piped");
        // More lines than any test has frames and packets of sound.
        let (sender, lines) = sync_channel(1 << 14);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                // The client's library writes its log there too.
                if let Ok(value) = serde_json::from_str(&line)
                    && sender.send(value).is_err()
                {
                    return;
                }
            }
        });
        (child, lines)
    }

    /// Waits for something to do and does it.
    fn turn(&mut self) {
        self.wait();
        let now = clock::now();
        self.accept();
        self.pings();
        self.control(now);
        if self.is_awaited() {
            while self.next_audio <= clock::now() {
                self.send_audio();
            }
            if self.next_frame <= clock::now() {
                self.send_frame();
            }
        }
    }

    /// The client plays, and its pings say where: nothing is sent into the void.
    fn is_awaited(&self) -> bool {
        self.rtsp.is_playing() && self.peer.is_some() && self.video_gate.peer().is_some()
    }

    fn wait(&self) {
        let due = match self.is_awaited() {
            true => self.next_frame.min(self.next_audio),
            false => clock::now() + Duration::from_millis(50),
        };
        let due = self.enet.poll_timeout().map_or(due, |enet| enet.min(due));
        let left = due.since(clock::now()).min(Duration::from_millis(50));
        let mut fds = vec![
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(&self.control, PollFlags::IN),
            PollFd::new(&self.video, PollFlags::IN),
            PollFd::new(&self.audio, PollFlags::IN),
        ];
        fds.extend(
            self.connections
                .iter()
                .map(|(stream, _)| PollFd::new(stream, PollFlags::IN)),
        );
        let timeout = Timespec::try_from(left).expect("short");
        let _ready = poll(&mut fds, Some(&timeout));
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            stream.set_nonblocking(true).expect("a socket");
            self.connections.push((stream, RtspReader::new()));
        }
        for (mut stream, mut reader) in std::mem::take(&mut self.connections) {
            let mut bytes = [0; 4096];
            let received = match stream.read(&mut bytes) {
                Ok(0) => continue,
                Ok(count) => reader
                    .handle_bytes(&bytes[..count])
                    .expect("a client's request"),
                Err(_) => None,
            };
            match received {
                Some(received) => self.answer(stream, &received),
                None => self.connections.push((stream, reader)),
            }
        }
    }

    fn answer(&mut self, mut stream: TcpStream, received: &Received) {
        let (request, sealed) = match received {
            Received::Plain(request) => (request.clone(), false),
            Received::Sealed(sealed) => (self.rtsp.open(sealed).expect("its key"), true),
        };
        let mut step = self.rtsp.handle(&request, sealed);
        match step.event {
            Some(RtspEvent::Announced(announced)) => {
                assert_eq!(announced.unknown, 0, "attributes that no table has");
                self.begin(announced.config);
                step.response = self.rtsp.answer_announce(Ok(()));
            }
            Some(RtspEvent::Refused(error)) => panic!("the client's wish is refused: {error}"),
            Some(RtspEvent::Play) | None => {}
        }
        let response = step.response.expect("an answer");
        assert!(
            sealed || response.starts_with(b"RTSP/1.0 200"),
            "{}",
            String::from_utf8_lossy(&response)
        );
        stream.write_all(&response).expect("the client listens");
    }

    fn begin(&mut self, config: StreamConfig) {
        let key = |wanted: bool| wanted.then_some(KEY);
        let packetizer = VideoPacketizer::new(&VideoConfig {
            packet_bytes: config.packet_bytes,
            parity_min: config.parity_min,
            protection: Protection::at_frame_end(20),
            format: config.format,
            key: key(config.encryption.video),
            batch_datagrams_max: 16,
        });
        let encoder = X264Encoder::open(&EncoderConfig {
            mode: config.mode,
            bitrate: BitsPerSecond(8_000_000),
            slices: SliceCount::new(4).expect("4"),
            threads: 1,
        });
        let id = u32::from_be_bytes([IV[0], IV[1], IV[2], IV[3]]);
        self.media = Some(Media {
            encoder: encoder.expect("x264"),
            sink: Sink {
                packetizer: packetizer.expect("a size within the limits"),
                socket: self.video.try_clone().expect("a socket"),
                peer: None,
                batch: Batch::new(),
                buffer: vec![0; 1 << 20],
                frame_bytes: Vec::new(),
                blocks: self.options.blocks,
                captured: Timestamp::ZERO,
                cut: self.options.cut,
            },
            audio: AudioPacketizer::new(&AudioSendConfig {
                packet_ms: config.audio.packet_ms,
                key: key(config.encryption.audio).map(|key| (key, id)),
            }),
            frame: FrameId(0),
            needs_idr: false,
            answered: None,
        });
        self.announced = Some(config);
    }

    fn pings(&mut self) {
        let mut bytes = [0; 64];
        while let Ok((count, from)) = self.video.recv_from(&mut bytes) {
            let ping = Ping::parse(&bytes[..count]).expect("a ping");
            if self.video_gate.peer().is_none() {
                let now = clock::now();
                (self.next_frame, self.next_audio) = (now, now);
            }
            self.video_gate.handle(from, ping);
        }
        while let Ok((count, from)) = self.audio.recv_from(&mut bytes) {
            let ping = Ping::parse(&bytes[..count]).expect("a ping");
            self.audio_gate.handle(from, ping);
        }
    }

    fn control(&mut self, now: Timestamp) {
        let mut bytes = [0; 2048];
        while let Ok((count, from)) = self.control.recv_from(&mut bytes) {
            let datagram = &bytes[..count];
            let taken = self.enet.handle_datagram(now, from, datagram);
            taken.expect("the screen lets through what the client sends");
        }
        if self.enet.poll_timeout().is_some_and(|due| due <= now) {
            self.enet.handle_timeout(now);
        }
        while let Some(event) = self.enet.poll_event() {
            match event {
                EnetEvent::Connected {
                    peer, connect_data, ..
                } => {
                    assert_eq!(connect_data, CONNECT_DATA);
                    self.peer = Some(peer);
                }
                EnetEvent::Disconnected { .. } => self.peer = None,
                EnetEvent::Received { bytes, .. } => self.message(&bytes),
            }
        }
        while let Some(transmit) = self.enet.poll_transmit() {
            let _lost = self.control.send_to(&transmit.bytes, transmit.to);
        }
    }

    fn message(&mut self, bytes: &[u8]) {
        let opened = self.cipher.open(bytes).expect("sealed by the client");
        let message = FromClient::parse(opened.kind, &opened.payload);
        let message = message.expect("a client's message");
        assert!(
            !matches!(message, FromClient::Unknown { .. }),
            "{message:?}"
        );
        let media = self.media.as_mut().expect("ANNOUNCE comes before");
        match message {
            FromClient::RequestIdr => media.needs_idr = true,
            // Frames that a recovery has answered already are not invalidated again.
            FromClient::Invalidate { first, last }
                if media.answered.is_none_or(|it| last >= it) =>
            {
                let able = media.encoder.invalidate_references(FrameId(first - 1));
                media.needs_idr |= !able;
                media.answered = Some(media.frame.0 + 1);
            }
            FromClient::StartB => {
                self.tell(ToClient::Rumble {
                    controller: 1,
                    low: 0x1234,
                    high: 0xffff,
                });
                self.tell(ToClient::Led {
                    controller: 1,
                    rgb: [10, 20, 30],
                });
            }
            _ => {}
        }
        self.messages.push(message);
    }

    fn tell(&mut self, message: ToClient) {
        let Some(peer) = self.peer else { return };
        let (kind, payload, length) = message.to_wire();
        let sealed = self.cipher.seal(kind, &payload[..length]).expect("small");
        let sent = self
            .enet
            .send(clock::now(), peer, 0, &sealed, Delivery::Reliable);
        sent.expect("connected");
    }

    fn send_audio(&mut self) {
        let Some(media) = &mut self.media else { return };
        let mut opus = [0x5a; 80];
        opus[0] = 0xfc;
        opus[79] = (self.next_audio.as_ns() >> 20) as u8 | 1;
        self.opus.insert(crc(&opus));
        let config = self.announced.as_ref().expect("announced");
        let packets = media.audio.handle_opus(&opus).expect("80 bytes");
        if let Some(peer) = self.audio_gate.peer() {
            for datagram in packets.iter() {
                if !(self.options.cut_sound && is_cut_of_sound(datagram)) {
                    let _lost = self.audio.send_to(datagram, peer);
                }
            }
        }
        self.next_audio = self.next_audio + Duration::from_millis(config.audio.packet_ms.into());
    }

    fn send_frame(&mut self) {
        if self.options.terminate_after == self.media.as_ref().map(|it| it.frame.0) {
            self.options.terminate_after = None;
            self.tell(ToClient::Terminate(EndReason::Closed));
        }
        self.next_frame = self.next_frame + Duration::from_nanos(16_666_667);
        let Some(media) = &mut self.media else { return };
        media.sink.peer = self.video_gate.peer();
        media.sink.captured = clock::now();
        media.sink.frame_bytes.clear();
        let kind = match std::mem::take(&mut media.needs_idr) || media.frame.0 == 0 {
            true => PictureKind::Idr,
            false => PictureKind::Delta,
        };
        let picture = picture(media.frame.0);
        let encoded = media
            .encoder
            .encode(&picture, media.frame, kind, &mut media.sink);
        encoded.expect("x264 encodes");
        self.sums
            .insert(media.frame.0 + 1, crc(&media.sink.frame_bytes));
        media.frame = media.frame.next();
    }
}

/// Sends each slice as soon as the encoder has it.
struct Sink {
    packetizer: VideoPacketizer,
    socket: UdpSocket,
    peer: Option<SocketAddr>,
    batch: Batch,
    buffer: Vec<u8>,
    frame_bytes: Vec<u8>,
    blocks: u8,
    captured: Timestamp,
    cut: Cut,
}

impl SliceSink for Sink {
    fn reserve(&mut self, _filled: usize, bytes: usize) -> Option<&mut [u8]> {
        (bytes <= self.buffer.len()).then_some(&mut self.buffer[..])
    }

    fn finish(&mut self, bytes: usize, slice: SliceInfo) {
        let meta = SliceMeta {
            frame: slice.frame,
            index: slice.index,
            last: slice.last,
            keyframe: slice.keyframe,
            recovery: slice.recovery,
            captured: self.captured,
        };
        let plan = FramePlan {
            slices: 4,
            blocks: self.blocks,
            host_latency: Duration::from_millis(3),
            fill_16: 0,
        };
        let data = &self.buffer[..bytes];
        self.frame_bytes.extend_from_slice(data);
        self.packetizer.begin(&meta, &plan, data).expect("it fits");
        while self.packetizer.next_batch(&mut self.batch) {
            for datagram in self.batch.iter() {
                if let Some(peer) = self.peer
                    && !is_cut(self.cut, datagram)
                {
                    let _lost = self.socket.send_to(datagram, peer);
                }
            }
        }
    }
}

fn is_cut(cut: Cut, datagram: &[u8]) -> bool {
    let word = |at: usize| {
        u32::from_le_bytes([
            datagram[at],
            datagram[at + 1],
            datagram[at + 2],
            datagram[at + 3],
        ])
    };
    let (frame, info) = (word(20), word(28));
    let (count, index) = (info >> 22, info >> 12 & 0x3ff);
    let (block, last) = (datagram[27] >> 4 & 3, datagram[27] >> 6);
    match cut {
        Cut::Nothing => false,
        Cut::OneOfEachBlock => index == frame % count,
        Cut::ABlockEvery40Frames => frame % 40 == 0 && block == last,
    }
}

/// Of a block's packets, parity last, two that lie side by side; from block to block all pairs.
fn is_cut_of_sound(datagram: &[u8]) -> bool {
    let number = |at: usize| usize::from(u16::from_be_bytes([datagram[at], datagram[at + 1]]));
    let (block, place) = match datagram[1] {
        97 => (number(2) / 4, number(2) % 4),
        _ => (number(14) / 4, 4 + usize::from(datagram[12])),
    };
    (place + block) % 6 < 2
}

/// Without what a client drops or the host leaves out: zeros, and the encoder's name.
fn crc(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for &byte in bytes.iter().filter(|&&byte| byte != 0) {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = crc >> 1 ^ if crc & 1 == 1 { 0xedb8_8320 } else { 0 };
        }
    }
    !crc
}

/// A pattern that moves.
fn picture(number: u32) -> Frame {
    let mut surface = MemorySurface::new(SIZE, PixelFormat::Bgrx);
    surface.fill_with(|x, y| {
        let (x, y) = (u32::from(x) + 3 * number, u32::from(y) + number);
        let noise = ((x * 7919) ^ (y * 104_729)).wrapping_mul(2_654_435_761) >> 27;
        [(x + noise) as u8, (y * 2 + noise) as u8, (x ^ y) as u8]
    });
    Frame {
        surface: Arc::new(surface),
        damage: Rect::whole(SIZE),
        captured: clock::now(),
    }
}
