//! Structures and constants of the ABI. Every value that a structure may hold is a number, so that
//! any bytes are a valid structure; what they mean is checked where they are used.

use std::ffi::{c_char, c_void};

use net::identity::Identity;

use crate::ffi::PunktfunkAsk;

/// Version of the ABI that this header describes. It grows when functions or fields are added; a
/// program may use a library of its own version or a later one.
pub const PUNKTFUNK_ABI_VERSION: u32 = 2;

/// Port of a host unless told otherwise.
pub const PUNKTFUNK_DEFAULT_PORT: u16 = 9777;

/// As a timeout: as long as it takes.
pub const PUNKTFUNK_FOREVER: u32 = 0xFFFF_FFFF;

/// Trust only the host whose fingerprint is given.
pub const PUNKTFUNK_TRUST_PINNED: u32 = 1;
/// Trust whatever host answers; pin its fingerprint for the next time.
pub const PUNKTFUNK_TRUST_FIRST_USE: u32 = 2;
/// Ask: the callback decides, and without one connecting ends with PUNKTFUNK_STATUS_UNKNOWN_HOST.
pub const PUNKTFUNK_TRUST_ASK: u32 = 3;

/// The decoder takes whole access units.
pub const PUNKTFUNK_GRANULARITY_FRAMES: u8 = 0;
/// The decoder takes the first slices of a frame while the others are on their way.
pub const PUNKTFUNK_GRANULARITY_SLICES: u8 = 1;

/// In fec_percent: no parity at all.
pub const PUNKTFUNK_FEC_NONE: u8 = 255;

/// In PunktfunkConnectOptions.flags: the processor has no AES instructions, so ChaCha20-Poly1305.
pub const PUNKTFUNK_CONNECT_NO_AES: u32 = 1;
/// In PunktfunkConnectOptions.flags: share the clipboard, text only, if the host does. Since version
/// 2 of the ABI.
pub const PUNKTFUNK_CONNECT_CLIPBOARD: u32 = 2;
/// In PunktfunkConnectOptions.flags: speak into a microphone on the host, if the host makes one.
/// Since version 2 of the ABI.
pub const PUNKTFUNK_CONNECT_MICROPHONE: u32 = 4;

/// In PunktfunkConnectOptions.flags: the program draws the host's pointer, see punktfunk_next_cursor.
/// Where the host cannot tell of it the pictures show it, as without this flag.
pub const PUNKTFUNK_CONNECT_CURSOR: u32 = 8;

/// In PunktfunkCursor.visibility: there is no pointer to draw. An application has hidden it, mostly
/// because it takes motion instead of positions.
pub const PUNKTFUNK_CURSOR_HIDDEN: u8 = 0;
/// The program draws it.
pub const PUNKTFUNK_CURSOR_SHOWN: u8 = 1;
/// The pictures show it; the program draws none.
pub const PUNKTFUNK_CURSOR_PAINTED: u8 = 2;
/// Longest side of a cursor's shape, pixels.
pub const PUNKTFUNK_CURSOR_SIDE_MAX: u16 = 256;

/// In PunktfunkUnit.flags: it begins with the frame's first slice. A unit that begins a frame,
/// while the one before has not ended, says that the one before was given up.
pub const PUNKTFUNK_UNIT_BEGINS: u32 = 1;
/// It ends with the frame's last slice.
pub const PUNKTFUNK_UNIT_ENDS: u32 = 2;
/// The frame is an IDR: it refers to nothing before it and begins with its parameter sets.
pub const PUNKTFUNK_UNIT_KEYFRAME: u32 = 4;
/// The frame refers to nothing that was lost.
pub const PUNKTFUNK_UNIT_RECOVERY: u32 = 8;

/// H.264, 8 bits, 4:2:0, Annex B.
pub const PUNKTFUNK_CODEC_H264: u8 = 1;

/// Most channels of sound.
pub const PUNKTFUNK_AUDIO_CHANNELS_MAX: usize = 8;
/// Samples a second of all sound.
pub const PUNKTFUNK_AUDIO_SAMPLE_RATE: u32 = 48_000;
/// Samples that a packet holds for each channel: 5 ms.
pub const PUNKTFUNK_AUDIO_PACKET_SAMPLES: u32 = 240;

/// Longest text of a clipboard, bytes of UTF-8.
pub const PUNKTFUNK_CLIPBOARD_BYTES_MAX: usize = 1_048_576;

/// Longest packet of the microphone, bytes.
pub const PUNKTFUNK_MICROPHONE_PACKET_BYTES_MAX: usize = 1024;

/// Controllers of a session: they are numbered from 0.
pub const PUNKTFUNK_CONTROLLERS_MAX: u8 = 16;
/// Bytes of a name, its ending zero included.
pub const PUNKTFUNK_NAME_BYTES: usize = 65;
/// Bytes of a fingerprint: SHA-256 of the certificate's DER encoding.
pub const PUNKTFUNK_FINGERPRINT_BYTES: usize = 32;

/// PunktfunkPadOutput.kind: both motors turn like this until told otherwise; zeros end it.
pub const PUNKTFUNK_PAD_RUMBLE: u8 = 1;

const _: () = assert!(PUNKTFUNK_CONTROLLERS_MAX == net::input::CONTROLLERS_MAX);
const _: () = assert!(PUNKTFUNK_CLIPBOARD_BYTES_MAX == net::limits::CLIPBOARD_BYTES_MAX);
const _: () = assert!(PUNKTFUNK_MICROPHONE_PACKET_BYTES_MAX == net::audio::PACKET_BYTES_MAX);
const _: () = assert!(PUNKTFUNK_CURSOR_SIDE_MAX == net::limits::CURSOR_SIDE_PX_MAX);
const _: () = assert!(PUNKTFUNK_NAME_BYTES == net::limits::NAME_BYTES_MAX + 1);
const _: () = assert!(PUNKTFUNK_AUDIO_CHANNELS_MAX == net::audio::CHANNELS_MAX);
const _: () = assert!(PUNKTFUNK_AUDIO_SAMPLE_RATE == net::audio::SAMPLE_RATE);
const _: () = assert!(PUNKTFUNK_AUDIO_PACKET_SAMPLES == net::audio::SAMPLE_RATE / 200);

/// Who this client is: a certificate and its key. Immutable, so any thread may use it at any time
/// until it is freed.
pub struct PunktfunkIdentity(pub(crate) Identity);

/// How to connect. Zeros stand for a default wherever there is one.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct PunktfunkConnectOptions {
    /// sizeof(PunktfunkConnectOptions).
    pub struct_size: u32,
    /// PUNKTFUNK_TRUST_*.
    pub trust: u32,
    /// Name or address of the host, with :PORT if it is not PUNKTFUNK_DEFAULT_PORT. UTF-8.
    pub host: *const c_char,
    /// Who this client is.
    pub identity: *const PunktfunkIdentity,
    /// What the client calls itself, for the host's log; NULL for "libpunktfunk". UTF-8, the first
    /// 64 bytes count.
    pub name: *const c_char,
    /// With PUNKTFUNK_TRUST_ASK: who decides; may be NULL.
    pub ask: PunktfunkAsk,
    /// Handed to ask.
    pub ask_user: *mut c_void,
    /// Bitrate wanted, bit/s; 0 for the host's choice.
    pub bitrate: u64,
    /// With PUNKTFUNK_TRUST_PINNED: of the host's certificate.
    pub fingerprint: [u8; PUNKTFUNK_FINGERPRINT_BYTES],
    /// Width wanted, pixels.
    pub width: u32,
    /// Height wanted, pixels.
    pub height: u32,
    /// Refresh rate wanted, 1/1000 Hz.
    pub refresh_millihz: u32,
    /// Gives up an attempt after so many ms; 0 for the protocol's own limits (at most 22 s).
    /// Asking ends one attempt and, if the host is trusted, begins another.
    pub timeout_ms: u32,
    /// PUNKTFUNK_CONNECT_*.
    pub flags: u32,
    /// Largest media datagram that reaches this client, bytes of UDP payload; 0 for 1392.
    pub datagram_bytes_max: u16,
    /// Slices of a frame wanted; 0 for the host's choice.
    pub slices: u8,
    /// Parity wanted, percent of the data, 1 to 100; 0 for the host's choice, PUNKTFUNK_FEC_NONE
    /// for none.
    pub fec_percent: u8,
    /// Channels of sound wanted: 2, 6 or 8; 0 for none.
    pub audio_channels: u8,
    /// PUNKTFUNK_GRANULARITY_*.
    pub granularity: u8,
    /// Zeros.
    pub reserved: [u8; 6],
}

/// What connecting came to, whether it succeeded or not.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct PunktfunkConnectResult {
    /// sizeof(PunktfunkConnectResult).
    pub struct_size: u32,
    /// With PUNKTFUNK_STATUS_REFUSED, the host's code (net/PROTOCOL.md has the list); else 0.
    pub refuse_code: u32,
    /// Of the certificate that the host showed; zeros if it showed none.
    pub fingerprint: [u8; PUNKTFUNK_FINGERPRINT_BYTES],
}

/// With whom to pair.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct PunktfunkPairOptions {
    /// sizeof(PunktfunkPairOptions).
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// As in PunktfunkConnectOptions.
    pub host: *const c_char,
    /// Who this client is, and by what the host shall know it.
    pub identity: *const PunktfunkIdentity,
    /// The digits that the host shows.
    pub pin: *const c_char,
    /// What the host's operator shall call this client. UTF-8, at most 64 bytes.
    pub name: *const c_char,
}

/// What pairing came to, whether it succeeded or not. Texts are UTF-8 and end with a zero byte.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct PunktfunkPairResult {
    /// sizeof(PunktfunkPairResult).
    pub struct_size: u32,
    /// If the host refused, its code (net/PROTOCOL.md has the list); else 0.
    pub refuse_code: u32,
    /// Of the host's certificate, to be pinned; zeros if it was not paired with.
    pub fingerprint: [u8; PUNKTFUNK_FINGERPRINT_BYTES],
    /// What the host calls itself; empty if it was not paired with.
    pub host_name: [c_char; PUNKTFUNK_NAME_BYTES],
    /// Zeros.
    pub reserved: [u8; 7],
}

/// What became of a mode that was asked for: it holds.
pub const PUNKTFUNK_MODE_GRANTED: u8 = 0;
/// No picture can have it. Larger numbers: the host failed to make it, or could not just then.
pub const PUNKTFUNK_MODE_IMPOSSIBLE: u8 = 1;

/// The mode that holds, and what became of the requests for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PunktfunkMode {
    /// sizeof(PunktfunkMode).
    pub struct_size: u32,
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
    /// 1/1000 Hz.
    pub refresh_millihz: u32,
    /// The first frame of this mode, an IDR; all before it are of the mode before.
    pub first_frame: u32,
    /// The request that the host has answered last, and with it all before; 0 for none.
    pub request: u32,
    /// PUNKTFUNK_MODE_*, of that request.
    pub outcome: u8,
    /// Zeros.
    pub reserved: [u8; 3],
}

/// What the host agreed to. Texts are UTF-8 and end with a zero byte.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct PunktfunkSessionInfo {
    /// sizeof(PunktfunkSessionInfo).
    pub struct_size: u32,
    /// Largest media datagram, bytes of UDP payload.
    pub datagram_bytes_max: u16,
    /// PUNKTFUNK_CODEC_*.
    pub codec: u8,
    /// Slices of a frame.
    pub slices: u8,
    /// Bitrate at the start, bit/s.
    pub bitrate: u64,
    /// Names the session.
    pub session: [u8; 16],
    /// Of the host's certificate.
    pub fingerprint: [u8; PUNKTFUNK_FINGERPRINT_BYTES],
    /// 1 AES-128-GCM, 2 ChaCha20-Poly1305.
    pub aead: u8,
    /// Channels of sound; 0 for none. In the order front left, front right, centre, low
    /// frequencies, rear left, rear right, side left, side right.
    pub audio_channels: u8,
    /// Opus streams in a packet of sound.
    pub audio_streams: u8,
    /// Of these, the first so many carry two channels.
    pub audio_coupled: u8,
    /// For each channel its place in the streams, as opus_multistream_decoder_create takes it.
    pub audio_mapping: [u8; PUNKTFUNK_AUDIO_CHANNELS_MAX],
    /// What the host calls itself.
    pub host_name: [c_char; PUNKTFUNK_NAME_BYTES],
    /// Which encoder runs.
    pub encoder_name: [c_char; PUNKTFUNK_NAME_BYTES],
    /// Zeros.
    pub reserved: [u8; 2],
}

/// A whole access unit, or some slices of one.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct PunktfunkUnit {
    /// sizeof(PunktfunkUnit).
    pub struct_size: u32,
    /// Number of the frame: they count up, and what is left out was lost or is not shown.
    pub frame: u32,
    /// Annex B with start codes; inside the library, see punktfunk_next_unit.
    pub data: *const u8,
    /// Bytes of it.
    pub length: usize,
    /// When its first datagram came, ns on this machine's CLOCK_MONOTONIC.
    pub received_first_ns: u64,
    /// When the last of its bytes was there, ns on the same clock.
    pub complete_ns: u64,
    /// PUNKTFUNK_UNIT_*.
    pub flags: u32,
    /// When its pixels were complete, us on the host's clock, modulo 2^32.
    pub captured_us: u32,
    /// Data shards of the frame so far that parity restored.
    pub repaired_shards: u32,
    /// Zero.
    pub reserved: u32,
}

/// 5 ms of sound.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct PunktfunkAudio {
    /// sizeof(PunktfunkAudio).
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// An Opus multistream packet; inside the library, see punktfunk_next_audio.
    pub data: *const u8,
    /// Bytes of it. 0: the packet is missing, and the decoder is to conceal 5 ms.
    pub length: usize,
}

/// A text.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct PunktfunkText {
    /// sizeof(PunktfunkText).
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// UTF-8 without an ending zero; inside the library, see punktfunk_next_clipboard.
    pub data: *const u8,
    /// Bytes of it.
    pub length: usize,
}

/// What an application on the host wants of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PunktfunkPadOutput {
    /// sizeof(PunktfunkPadOutput).
    pub struct_size: u32,
    /// PUNKTFUNK_PAD_*. A program skips what it does not know.
    pub kind: u8,
    /// Which controller.
    pub controller: u8,
    /// Rumble: the heavy motor, 1/65535 of its force.
    pub strong: u16,
    /// Rumble: the light motor.
    pub weak: u16,
    /// Zeros.
    pub reserved: [u8; 2],
}

/// The host's pointer as it is to be drawn from now on.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct PunktfunkCursor {
    /// sizeof(PunktfunkCursor).
    pub struct_size: u32,
    /// Number of its shape: the same number, the same pixels; 0 for none.
    pub shape: u32,
    /// When this client heard of it, ns on this machine's CLOCK_MONOTONIC.
    pub received_ns: u64,
    /// Where the hotspot is, pixels from the left of the host's output; may lie outside.
    pub x: i32,
    /// From its top.
    pub y: i32,
    /// When it came to be so, us on the host's clock, modulo 2^32.
    pub changed_us: u32,
    /// Width of that output, pixels.
    pub output_width: u16,
    /// Height of that output, pixels.
    pub output_height: u16,
    /// Width of the shape, pixels.
    pub width: u16,
    /// Height of the shape, pixels.
    pub height: u16,
    /// The pixel of the shape that lies on x and y, from the left.
    pub hotspot_x: u16,
    /// From the top.
    pub hotspot_y: u16,
    /// PUNKTFUNK_CURSOR_*. A program draws nothing for what it does not know.
    pub visibility: u8,
    /// Zeros.
    pub reserved: [u8; 7],
    /// width * height times blue, green, red, alpha, multiplied by alpha, sRGB, top row first, rows
    /// without gaps; inside the library, see punktfunk_next_cursor. NULL without a shape.
    pub pixels: *const u8,
}

/// Counts since the session began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct PunktfunkStatistics {
    /// sizeof(PunktfunkStatistics).
    pub struct_size: u32,
    /// Zero.
    pub reserved: u32,
    /// Media datagrams that came.
    pub datagrams: u64,
    /// Bytes of them, UDP payload.
    pub bytes: u64,
    /// Media datagrams that could not be opened: damaged, forged or repeated.
    pub not_opened: u64,
    /// Whole frames reassembled.
    pub frames: u64,
    /// Frames lost.
    pub frames_lost: u64,
    /// Whole frames withheld because they refer to lost ones.
    pub frames_hidden: u64,
    /// Whole frames dropped because nobody took them in time.
    pub frames_overrun: u64,
    /// Data shards that parity restored.
    pub shards_repaired: u64,
    /// Times that a frame's missing shards were asked for again.
    pub rounds_asked: u64,
    /// Reports of frames that cannot be shown.
    pub repair_requests: u64,
    /// Those of them that asked for an IDR.
    pub keyframe_requests: u64,
    /// Smoothed round trip, us; 0 before the first.
    pub round_trip_us: u64,
    /// Packets of sound to play.
    pub audio_played: u64,
    /// Of these, those that a copy brought.
    pub audio_repaired: u64,
    /// Packets concealed.
    pub audio_concealed: u64,
    /// Packets of sound that nobody took in time.
    pub audio_overrun: u64,
    /// Changes of the host's pointer that were news.
    pub cursor_states: u64,
    /// Of these, those that the reliable stream brought first.
    pub cursor_repaired: u64,
    /// Shapes of the pointer that came.
    pub cursor_shapes: u64,
}

/// What a finger or pen does: PUNKTFUNK_CONTACT_*.
pub const PUNKTFUNK_CONTACT_HOVER: u8 = 0;
/// Begins to touch.
pub const PUNKTFUNK_CONTACT_DOWN: u8 = 1;
/// Ends.
pub const PUNKTFUNK_CONTACT_UP: u8 = 2;
/// Moves, touching.
pub const PUNKTFUNK_CONTACT_MOVE: u8 = 3;
/// Never mind.
pub const PUNKTFUNK_CONTACT_CANCEL: u8 = 4;
/// Only buttons changed.
pub const PUNKTFUNK_CONTACT_BUTTONS: u8 = 5;
/// No more near.
pub const PUNKTFUNK_CONTACT_HOVER_LEAVE: u8 = 6;
/// Never mind, all of them.
pub const PUNKTFUNK_CONTACT_CANCEL_ALL: u8 = 7;

/// In PunktfunkContact.rotation: not known.
pub const PUNKTFUNK_ROTATION_UNKNOWN: u16 = 65_535;
/// In PunktfunkPen.tilt and PunktfunkPadBattery.percent: not known.
pub const PUNKTFUNK_UNKNOWN: u8 = 255;

/// How something touches.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct PunktfunkContact {
    /// From the left, share of the picture, 0 to 1.
    pub x: f32,
    /// From the top.
    pub y: f32,
    /// Pressure while it touches, distance while it does not; 0 to 1, 0 if unknown.
    pub pressure_or_distance: f32,
    /// Long axis, share of the picture; 0 if unknown.
    pub major: f32,
    /// Short axis.
    pub minor: f32,
    /// Clockwise from up, degrees; or PUNKTFUNK_ROTATION_UNKNOWN.
    pub rotation: u16,
    /// PUNKTFUNK_CONTACT_*.
    pub kind: u8,
    /// Zero.
    pub reserved: u8,
}

/// A finger.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct PunktfunkTouch {
    /// sizeof(PunktfunkTouch).
    pub struct_size: u32,
    /// Which finger.
    pub finger: u32,
    /// How.
    pub contact: PunktfunkContact,
}

/// A pen.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct PunktfunkPen {
    /// sizeof(PunktfunkPen).
    pub struct_size: u32,
    /// 0 not told, 1 the tip, 2 the eraser.
    pub tool: u8,
    /// Bits: 1 first, 2 second, 4 third button.
    pub buttons: u8,
    /// From the vertical, degrees, 0 to 90; or PUNKTFUNK_UNKNOWN.
    pub tilt: u8,
    /// Zero.
    pub reserved: u8,
    /// How.
    pub contact: PunktfunkContact,
}

/// A controller was plugged in, and can do this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PunktfunkPadArrival {
    /// sizeof(PunktfunkPadArrival).
    pub struct_size: u32,
    /// Buttons that it has, as in PunktfunkPadState.
    pub buttons: u32,
    /// Bits: 1 triggers have a way, 2 rumble, 4 rumble in the triggers, 8 touchpad, 0x10
    /// accelerometer, 0x20 gyroscope, 0x40 tells its battery, 0x80 light of any colour, 0x100 a
    /// second touchpad.
    pub capabilities: u16,
    /// Which controller.
    pub controller: u8,
    /// 0 not told, 1 Xbox, 2 PlayStation, 3 Nintendo, 4 Steam.
    pub kind: u8,
}

/// A controller's buttons, triggers and sticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PunktfunkPadState {
    /// sizeof(PunktfunkPadState).
    pub struct_size: u32,
    /// 1 up, 2 down, 4 left, 8 right, 0x10 start, 0x20 back, 0x40 and 0x80 sticks, 0x100 and 0x200
    /// shoulders, 0x400 guide, 0x1000 A, 0x2000 B, 0x4000 X, 0x8000 Y, 0x10000 to 0x80000 paddles,
    /// 0x100000 touchpad, 0x200000 share.
    pub buttons: u32,
    /// Controllers that are there, a bit each; one that is missing was unplugged.
    pub present: u16,
    /// Which controller.
    pub controller: u8,
    /// Left trigger, 0 to 255.
    pub left_trigger: u8,
    /// Right trigger.
    pub right_trigger: u8,
    /// Zero.
    pub reserved: u8,
    /// Left stick, right and up are positive.
    pub left_stick: [i16; 2],
    /// Right stick.
    pub right_stick: [i16; 2],
    /// Zeros.
    pub reserved2: [u8; 2],
}

/// A finger on a controller's touchpad.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct PunktfunkPadTouch {
    /// sizeof(PunktfunkPadTouch).
    pub struct_size: u32,
    /// Which finger.
    pub finger: u32,
    /// From the left of the touchpad, 0 to 1.
    pub x: f32,
    /// From its top.
    pub y: f32,
    /// 0 to 1.
    pub pressure: f32,
    /// Which controller.
    pub controller: u8,
    /// Which of its touchpads, 0 or 1.
    pub touchpad: u8,
    /// PUNKTFUNK_CONTACT_*.
    pub kind: u8,
    /// Zero.
    pub reserved: u8,
}

/// A controller was moved.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct PunktfunkPadMotion {
    /// sizeof(PunktfunkPadMotion).
    pub struct_size: u32,
    /// Which controller.
    pub controller: u8,
    /// 0 accelerometer (m/s^2, gravity included), 1 gyroscope (degrees a second).
    pub sensor: u8,
    /// Zeros.
    pub reserved: [u8; 2],
    /// X, y, z; finite.
    pub axes: [f32; 3],
}

/// A controller's battery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct PunktfunkPadBattery {
    /// sizeof(PunktfunkPadBattery).
    pub struct_size: u32,
    /// Which controller.
    pub controller: u8,
    /// 0 not told, 1 there is none, 2 empties, 3 fills, 4 plugged in and does not fill, 5 full.
    pub state: u8,
    /// 0 to 100, or PUNKTFUNK_UNKNOWN.
    pub percent: u8,
    /// Zero.
    pub reserved: u8,
}
