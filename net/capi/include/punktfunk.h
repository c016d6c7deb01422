/* libpunktfunk: the native client of punktfunk.
 *
 * Generated from net/capi/src by its test `header` (PUNKTFUNK_BLESS=1 cargo test -p capi).
 *
 * Every function answers with a PunktfunkStatus, and a thread's last failure has a text:
 * punktfunk_last_error. Every structure begins with struct_size, which the program sets to
 * sizeof the structure before it hands it in, whether to be read or to be filled. Reserved
 * fields are zero. Integers of the structures have the machine's byte order.
 *
 * A session is used from any number of threads; see PunktfunkSession.
 *
 * SPDX-License-Identifier: MIT OR Apache-2.0
 */

#ifndef PUNKTFUNK_H
#define PUNKTFUNK_H

#include <stddef.h>
#include <stdint.h>

// Version of the ABI that this header describes. It grows when functions or fields are added; a
// program may use a library of its own version or a later one.
#define PUNKTFUNK_ABI_VERSION 2

// Port of a host unless told otherwise.
#define PUNKTFUNK_DEFAULT_PORT 9777

// As a timeout: as long as it takes.
#define PUNKTFUNK_FOREVER 4294967295

// Trust only the host whose fingerprint is given.
#define PUNKTFUNK_TRUST_PINNED 1

// Trust whatever host answers; pin its fingerprint for the next time.
#define PUNKTFUNK_TRUST_FIRST_USE 2

// Ask: the callback decides, and without one connecting ends with PUNKTFUNK_STATUS_UNKNOWN_HOST.
#define PUNKTFUNK_TRUST_ASK 3

// The decoder takes whole access units.
#define PUNKTFUNK_GRANULARITY_FRAMES 0

// The decoder takes the first slices of a frame while the others are on their way.
#define PUNKTFUNK_GRANULARITY_SLICES 1

// In fec_percent: no parity at all.
#define PUNKTFUNK_FEC_NONE 255

// In PunktfunkConnectOptions.flags: the processor has no AES instructions, so ChaCha20-Poly1305.
#define PUNKTFUNK_CONNECT_NO_AES 1

// In PunktfunkConnectOptions.flags: share the clipboard, text only, if the host does. Since version
// 2 of the ABI.
#define PUNKTFUNK_CONNECT_CLIPBOARD 2

// In PunktfunkConnectOptions.flags: speak into a microphone on the host, if the host makes one.
// Since version 2 of the ABI.
#define PUNKTFUNK_CONNECT_MICROPHONE 4

// In PunktfunkConnectOptions.flags: the program draws the host's pointer, see punktfunk_next_cursor.
// Where the host cannot tell of it the pictures show it, as without this flag.
#define PUNKTFUNK_CONNECT_CURSOR 8

// In PunktfunkCursor.visibility: there is no pointer to draw. An application has hidden it, mostly
// because it takes motion instead of positions.
#define PUNKTFUNK_CURSOR_HIDDEN 0

// The program draws it.
#define PUNKTFUNK_CURSOR_SHOWN 1

// The pictures show it; the program draws none.
#define PUNKTFUNK_CURSOR_PAINTED 2

// Longest side of a cursor's shape, pixels.
#define PUNKTFUNK_CURSOR_SIDE_MAX 256

// In PunktfunkUnit.flags: it begins with the frame's first slice. A unit that begins a frame,
// while the one before has not ended, says that the one before was given up.
#define PUNKTFUNK_UNIT_BEGINS 1

// It ends with the frame's last slice.
#define PUNKTFUNK_UNIT_ENDS 2

// The frame is an IDR: it refers to nothing before it and begins with its parameter sets.
#define PUNKTFUNK_UNIT_KEYFRAME 4

// The frame refers to nothing that was lost.
#define PUNKTFUNK_UNIT_RECOVERY 8

// H.264, 8 bits, 4:2:0, Annex B.
#define PUNKTFUNK_CODEC_H264 1

// Most channels of sound.
#define PUNKTFUNK_AUDIO_CHANNELS_MAX 8

// Samples a second of all sound.
#define PUNKTFUNK_AUDIO_SAMPLE_RATE 48000

// Samples that a packet holds for each channel: 5 ms.
#define PUNKTFUNK_AUDIO_PACKET_SAMPLES 240

// Longest text of a clipboard, bytes of UTF-8.
#define PUNKTFUNK_CLIPBOARD_BYTES_MAX 1048576

// Longest packet of the microphone, bytes.
#define PUNKTFUNK_MICROPHONE_PACKET_BYTES_MAX 1024

// Controllers of a session: they are numbered from 0.
#define PUNKTFUNK_CONTROLLERS_MAX 16

// Bytes of a name, its ending zero included.
#define PUNKTFUNK_NAME_BYTES 65

// Bytes of a fingerprint: SHA-256 of the certificate's DER encoding.
#define PUNKTFUNK_FINGERPRINT_BYTES 32

// PunktfunkPadOutput.kind: both motors turn like this until told otherwise; zeros end it.
#define PUNKTFUNK_PAD_RUMBLE 1

// What became of a mode that was asked for: it holds.
#define PUNKTFUNK_MODE_GRANTED 0

// No picture can have it. Larger numbers: the host failed to make it, or could not just then.
#define PUNKTFUNK_MODE_IMPOSSIBLE 1

// What a finger or pen does: PUNKTFUNK_CONTACT_*.
#define PUNKTFUNK_CONTACT_HOVER 0

// Begins to touch.
#define PUNKTFUNK_CONTACT_DOWN 1

// Ends.
#define PUNKTFUNK_CONTACT_UP 2

// Moves, touching.
#define PUNKTFUNK_CONTACT_MOVE 3

// Never mind.
#define PUNKTFUNK_CONTACT_CANCEL 4

// Only buttons changed.
#define PUNKTFUNK_CONTACT_BUTTONS 5

// No more near.
#define PUNKTFUNK_CONTACT_HOVER_LEAVE 6

// Never mind, all of them.
#define PUNKTFUNK_CONTACT_CANCEL_ALL 7

// In PunktfunkContact.rotation: not known.
#define PUNKTFUNK_ROTATION_UNKNOWN 65535

// In PunktfunkPen.tilt and PunktfunkPadBattery.percent: not known.
#define PUNKTFUNK_UNKNOWN 255

// Flag of a key: it is down.
#define PUNKTFUNK_KEY_PRESSED 1

// Flag of a key: its code is that of the client's own layout, not of an American keyboard's place.
#define PUNKTFUNK_KEY_LAYOUT 2

// Flag of a key: shift is held with it.
#define PUNKTFUNK_KEY_SHIFT 16

// Flag of a key: control is held with it.
#define PUNKTFUNK_KEY_CONTROL 32

// Flag of a key: alt is held with it.
#define PUNKTFUNK_KEY_ALT 64

// Flag of a key: the logo key is held with it.
#define PUNKTFUNK_KEY_LOGO 128

// Left button of the pointer.
#define PUNKTFUNK_BUTTON_LEFT 0

// Middle button.
#define PUNKTFUNK_BUTTON_MIDDLE 1

// Right button.
#define PUNKTFUNK_BUTTON_RIGHT 2

// Back button.
#define PUNKTFUNK_BUTTON_BACK 3

// Forward button.
#define PUNKTFUNK_BUTTON_FORWARD 4

// A wheel turns up (positive) or down.
#define PUNKTFUNK_SCROLL_VERTICAL 0

// A wheel turns right (positive) or left.
#define PUNKTFUNK_SCROLL_HORIZONTAL 1

// How a call ended. A number keeps its meaning for ever; later versions may add some.
enum PunktfunkStatus
#if defined(__cplusplus) || __STDC_VERSION__ >= 202311L
  : int32_t
#endif // defined(__cplusplus) || __STDC_VERSION__ >= 202311L
 {
  // It was done.
  PUNKTFUNK_STATUS_OK = 0,
  // Nothing came within the time given.
  PUNKTFUNK_STATUS_TIMED_OUT = 1,
  // The session is over; punktfunk_last_error says why.
  PUNKTFUNK_STATUS_ENDED = 2,
  // An argument is not valid.
  PUNKTFUNK_STATUS_INVALID_ARGUMENT = 3,
  // A structure's struct_size is not one that this library knows, or what a newer program
  // set in it is more than this library understands.
  PUNKTFUNK_STATUS_STRUCT_SIZE = 4,
  // A bug in punktfunk; the session must be closed. Please report it.
  PUNKTFUNK_STATUS_PANIC = 5,
  // The certificate or key is damaged, or they do not belong together.
  PUNKTFUNK_STATUS_IDENTITY = 6,
  // The system refused a socket or a thread.
  PUNKTFUNK_STATUS_SYSTEM = 7,
  // Nobody answers at that address, or somebody who does not speak the protocol.
  PUNKTFUNK_STATUS_UNREACHABLE = 8,
  // It is not the host that was pinned: somebody may be in between.
  PUNKTFUNK_STATUS_IMPOSTOR = 9,
  // Nobody vouches for the host; its fingerprint is in the connect result.
  PUNKTFUNK_STATUS_UNKNOWN_HOST = 10,
  // The host refused; the connect result has its code.
  PUNKTFUNK_STATUS_REFUSED = 11,
  // Too much waits already. Nothing was taken unless the call says how much was.
  PUNKTFUNK_STATUS_QUEUE_FULL = 12,
  // Another thread is in the same function for this session.
  PUNKTFUNK_STATUS_BUSY = 13,
  // The buffer is too small; its length says how much is needed.
  PUNKTFUNK_STATUS_BUFFER_TOO_SMALL = 14,
  // The session has no sound.
  PUNKTFUNK_STATUS_NO_AUDIO = 15,
  // The host has no pairing window open, or another client is at it.
  PUNKTFUNK_STATUS_PAIRING_CLOSED = 16,
  // The PIN was wrong, or somebody is in between. The window is closed.
  PUNKTFUNK_STATUS_PAIRING_FAILED = 17,
  // The session shares no clipboard: it was not asked for, or the host does not.
  PUNKTFUNK_STATUS_NO_CLIPBOARD = 18,
  // The session has no microphone: it was not asked for, or the host makes none.
  PUNKTFUNK_STATUS_NO_MICROPHONE = 19,
  // The pictures show the pointer: the client did not ask to draw it, or the host cannot tell.
  PUNKTFUNK_STATUS_NO_CURSOR = 20,
};
#ifndef __cplusplus
#if __STDC_VERSION__ >= 202311L
typedef enum PunktfunkStatus PunktfunkStatus;
#else
typedef int32_t PunktfunkStatus;
#endif // __STDC_VERSION__ >= 202311L
#endif // __cplusplus

// Who this client is: a certificate and its key. Immutable, so any thread may use it at any time
// until it is freed.
typedef struct PunktfunkIdentity PunktfunkIdentity;

// A running session. Every function that takes one may be called from any thread at any time until
// punktfunk_close is called. punktfunk_next_unit and punktfunk_release_unit, punktfunk_next_audio,
// punktfunk_next_clipboard, punktfunk_next_cursor and punktfunk_next_pad_output each serve one
// thread at a time; another one that calls the same meanwhile gets PUNKTFUNK_STATUS_BUSY at once.
typedef struct PunktfunkSession PunktfunkSession;

// A text.
typedef struct {
  // sizeof(PunktfunkText).
  uint32_t struct_size;
  // Zero.
  uint32_t reserved;
  // UTF-8 without an ending zero; inside the library, see punktfunk_next_clipboard.
  const uint8_t *data;
  // Bytes of it.
  size_t length;
} PunktfunkText;

// The host's pointer as it is to be drawn from now on.
typedef struct {
  // sizeof(PunktfunkCursor).
  uint32_t struct_size;
  // Number of its shape: the same number, the same pixels; 0 for none.
  uint32_t shape;
  // When this client heard of it, ns on this machine's CLOCK_MONOTONIC.
  uint64_t received_ns;
  // Where the hotspot is, pixels from the left of the host's output; may lie outside.
  int32_t x;
  // From its top.
  int32_t y;
  // When it came to be so, us on the host's clock, modulo 2^32.
  uint32_t changed_us;
  // Width of that output, pixels.
  uint16_t output_width;
  // Height of that output, pixels.
  uint16_t output_height;
  // Width of the shape, pixels.
  uint16_t width;
  // Height of the shape, pixels.
  uint16_t height;
  // The pixel of the shape that lies on x and y, from the left.
  uint16_t hotspot_x;
  // From the top.
  uint16_t hotspot_y;
  // PUNKTFUNK_CURSOR_*. A program draws nothing for what it does not know.
  uint8_t visibility;
  // Zeros.
  uint8_t reserved[7];
  // width * height times blue, green, red, alpha, multiplied by alpha, sRGB, top row first, rows
  // without gaps; inside the library, see punktfunk_next_cursor. NULL without a shape.
  const uint8_t *pixels;
} PunktfunkCursor;

// How something touches.
typedef struct {
  // From the left, share of the picture, 0 to 1.
  float x;
  // From the top.
  float y;
  // Pressure while it touches, distance while it does not; 0 to 1, 0 if unknown.
  float pressure_or_distance;
  // Long axis, share of the picture; 0 if unknown.
  float major;
  // Short axis.
  float minor;
  // Clockwise from up, degrees; or PUNKTFUNK_ROTATION_UNKNOWN.
  uint16_t rotation;
  // PUNKTFUNK_CONTACT_*.
  uint8_t kind;
  // Zero.
  uint8_t reserved;
} PunktfunkContact;

// A finger.
typedef struct {
  // sizeof(PunktfunkTouch).
  uint32_t struct_size;
  // Which finger.
  uint32_t finger;
  // How.
  PunktfunkContact contact;
} PunktfunkTouch;

// A pen.
typedef struct {
  // sizeof(PunktfunkPen).
  uint32_t struct_size;
  // 0 not told, 1 the tip, 2 the eraser.
  uint8_t tool;
  // Bits: 1 first, 2 second, 4 third button.
  uint8_t buttons;
  // From the vertical, degrees, 0 to 90; or PUNKTFUNK_UNKNOWN.
  uint8_t tilt;
  // Zero.
  uint8_t reserved;
  // How.
  PunktfunkContact contact;
} PunktfunkPen;

// A controller was plugged in, and can do this.
typedef struct {
  // sizeof(PunktfunkPadArrival).
  uint32_t struct_size;
  // Buttons that it has, as in PunktfunkPadState.
  uint32_t buttons;
  // Bits: 1 triggers have a way, 2 rumble, 4 rumble in the triggers, 8 touchpad, 0x10
  // accelerometer, 0x20 gyroscope, 0x40 tells its battery, 0x80 light of any colour, 0x100 a
  // second touchpad.
  uint16_t capabilities;
  // Which controller.
  uint8_t controller;
  // 0 not told, 1 Xbox, 2 PlayStation, 3 Nintendo, 4 Steam.
  uint8_t kind;
} PunktfunkPadArrival;

// A controller's buttons, triggers and sticks.
typedef struct {
  // sizeof(PunktfunkPadState).
  uint32_t struct_size;
  // 1 up, 2 down, 4 left, 8 right, 0x10 start, 0x20 back, 0x40 and 0x80 sticks, 0x100 and 0x200
  // shoulders, 0x400 guide, 0x1000 A, 0x2000 B, 0x4000 X, 0x8000 Y, 0x10000 to 0x80000 paddles,
  // 0x100000 touchpad, 0x200000 share.
  uint32_t buttons;
  // Controllers that are there, a bit each; one that is missing was unplugged.
  uint16_t present;
  // Which controller.
  uint8_t controller;
  // Left trigger, 0 to 255.
  uint8_t left_trigger;
  // Right trigger.
  uint8_t right_trigger;
  // Zero.
  uint8_t reserved;
  // Left stick, right and up are positive.
  int16_t left_stick[2];
  // Right stick.
  int16_t right_stick[2];
  // Zeros.
  uint8_t reserved2[2];
} PunktfunkPadState;

// A finger on a controller's touchpad.
typedef struct {
  // sizeof(PunktfunkPadTouch).
  uint32_t struct_size;
  // Which finger.
  uint32_t finger;
  // From the left of the touchpad, 0 to 1.
  float x;
  // From its top.
  float y;
  // 0 to 1.
  float pressure;
  // Which controller.
  uint8_t controller;
  // Which of its touchpads, 0 or 1.
  uint8_t touchpad;
  // PUNKTFUNK_CONTACT_*.
  uint8_t kind;
  // Zero.
  uint8_t reserved;
} PunktfunkPadTouch;

// A controller was moved.
typedef struct {
  // sizeof(PunktfunkPadMotion).
  uint32_t struct_size;
  // Which controller.
  uint8_t controller;
  // 0 accelerometer (m/s^2, gravity included), 1 gyroscope (degrees a second).
  uint8_t sensor;
  // Zeros.
  uint8_t reserved[2];
  // X, y, z; finite.
  float axes[3];
} PunktfunkPadMotion;

// A controller's battery.
typedef struct {
  // sizeof(PunktfunkPadBattery).
  uint32_t struct_size;
  // Which controller.
  uint8_t controller;
  // 0 not told, 1 there is none, 2 empties, 3 fills, 4 plugged in and does not fill, 5 full.
  uint8_t state;
  // 0 to 100, or PUNKTFUNK_UNKNOWN.
  uint8_t percent;
  // Zero.
  uint8_t reserved;
} PunktfunkPadBattery;

// With whom to pair.
typedef struct {
  // sizeof(PunktfunkPairOptions).
  uint32_t struct_size;
  // Zero.
  uint32_t reserved;
  // As in PunktfunkConnectOptions.
  const char *host;
  // Who this client is, and by what the host shall know it.
  const PunktfunkIdentity *identity;
  // The digits that the host shows.
  const char *pin;
  // What the host's operator shall call this client. UTF-8, at most 64 bytes.
  const char *name;
} PunktfunkPairOptions;

// What pairing came to, whether it succeeded or not. Texts are UTF-8 and end with a zero byte.
typedef struct {
  // sizeof(PunktfunkPairResult).
  uint32_t struct_size;
  // If the host refused, its code (net/PROTOCOL.md has the list); else 0.
  uint32_t refuse_code;
  // Of the host's certificate, to be pinned; zeros if it was not paired with.
  uint8_t fingerprint[PUNKTFUNK_FINGERPRINT_BYTES];
  // What the host calls itself; empty if it was not paired with.
  char host_name[PUNKTFUNK_NAME_BYTES];
  // Zeros.
  uint8_t reserved[7];
} PunktfunkPairResult;

// Decides about a host that nobody vouches for: not zero to trust it. Called on the thread that
// connects, while no connection is open, so it may take as long as a person does. It must not
// unwind.
typedef int32_t (*PunktfunkAsk)(void *user, const uint8_t *fingerprint);

// How to connect. Zeros stand for a default wherever there is one.
typedef struct {
  // sizeof(PunktfunkConnectOptions).
  uint32_t struct_size;
  // PUNKTFUNK_TRUST_*.
  uint32_t trust;
  // Name or address of the host, with :PORT if it is not PUNKTFUNK_DEFAULT_PORT. UTF-8.
  const char *host;
  // Who this client is.
  const PunktfunkIdentity *identity;
  // What the client calls itself, for the host's log; NULL for "libpunktfunk". UTF-8, the first
  // 64 bytes count.
  const char *name;
  // With PUNKTFUNK_TRUST_ASK: who decides; may be NULL.
  PunktfunkAsk ask;
  // Handed to ask.
  void *ask_user;
  // Bitrate wanted, bit/s; 0 for the host's choice.
  uint64_t bitrate;
  // With PUNKTFUNK_TRUST_PINNED: of the host's certificate.
  uint8_t fingerprint[PUNKTFUNK_FINGERPRINT_BYTES];
  // Width wanted, pixels.
  uint32_t width;
  // Height wanted, pixels.
  uint32_t height;
  // Refresh rate wanted, 1/1000 Hz.
  uint32_t refresh_millihz;
  // Gives up an attempt after so many ms; 0 for the protocol's own limits (at most 22 s).
  // Asking ends one attempt and, if the host is trusted, begins another.
  uint32_t timeout_ms;
  // PUNKTFUNK_CONNECT_*.
  uint32_t flags;
  // Largest media datagram that reaches this client, bytes of UDP payload; 0 for 1392.
  uint16_t datagram_bytes_max;
  // Slices of a frame wanted; 0 for the host's choice.
  uint8_t slices;
  // Parity wanted, percent of the data, 1 to 100; 0 for the host's choice, PUNKTFUNK_FEC_NONE
  // for none.
  uint8_t fec_percent;
  // Channels of sound wanted: 2, 6 or 8; 0 for none.
  uint8_t audio_channels;
  // PUNKTFUNK_GRANULARITY_*.
  uint8_t granularity;
  // Zeros.
  uint8_t reserved[6];
} PunktfunkConnectOptions;

// What connecting came to, whether it succeeded or not.
typedef struct {
  // sizeof(PunktfunkConnectResult).
  uint32_t struct_size;
  // With PUNKTFUNK_STATUS_REFUSED, the host's code (net/PROTOCOL.md has the list); else 0.
  uint32_t refuse_code;
  // Of the certificate that the host showed; zeros if it showed none.
  uint8_t fingerprint[PUNKTFUNK_FINGERPRINT_BYTES];
} PunktfunkConnectResult;

// What the host agreed to. Texts are UTF-8 and end with a zero byte.
typedef struct {
  // sizeof(PunktfunkSessionInfo).
  uint32_t struct_size;
  // Largest media datagram, bytes of UDP payload.
  uint16_t datagram_bytes_max;
  // PUNKTFUNK_CODEC_*.
  uint8_t codec;
  // Slices of a frame.
  uint8_t slices;
  // Bitrate at the start, bit/s.
  uint64_t bitrate;
  // Names the session.
  uint8_t session[16];
  // Of the host's certificate.
  uint8_t fingerprint[PUNKTFUNK_FINGERPRINT_BYTES];
  // 1 AES-128-GCM, 2 ChaCha20-Poly1305.
  uint8_t aead;
  // Channels of sound; 0 for none. In the order front left, front right, centre, low
  // frequencies, rear left, rear right, side left, side right.
  uint8_t audio_channels;
  // Opus streams in a packet of sound.
  uint8_t audio_streams;
  // Of these, the first so many carry two channels.
  uint8_t audio_coupled;
  // For each channel its place in the streams, as opus_multistream_decoder_create takes it.
  uint8_t audio_mapping[PUNKTFUNK_AUDIO_CHANNELS_MAX];
  // What the host calls itself.
  char host_name[PUNKTFUNK_NAME_BYTES];
  // Which encoder runs.
  char encoder_name[PUNKTFUNK_NAME_BYTES];
  // Zeros.
  uint8_t reserved[2];
} PunktfunkSessionInfo;

// The mode that holds, and what became of the requests for others.
typedef struct {
  // sizeof(PunktfunkMode).
  uint32_t struct_size;
  // Pixels.
  uint32_t width;
  // Pixels.
  uint32_t height;
  // 1/1000 Hz.
  uint32_t refresh_millihz;
  // The first frame of this mode, an IDR; all before it are of the mode before.
  uint32_t first_frame;
  // The request that the host has answered last, and with it all before; 0 for none.
  uint32_t request;
  // PUNKTFUNK_MODE_*, of that request.
  uint8_t outcome;
  // Zeros.
  uint8_t reserved[3];
} PunktfunkMode;

// A whole access unit, or some slices of one.
typedef struct {
  // sizeof(PunktfunkUnit).
  uint32_t struct_size;
  // Number of the frame: they count up, and what is left out was lost or is not shown.
  uint32_t frame;
  // Annex B with start codes; inside the library, see punktfunk_next_unit.
  const uint8_t *data;
  // Bytes of it.
  size_t length;
  // When its first datagram came, ns on this machine's CLOCK_MONOTONIC.
  uint64_t received_first_ns;
  // When the last of its bytes was there, ns on the same clock.
  uint64_t complete_ns;
  // PUNKTFUNK_UNIT_*.
  uint32_t flags;
  // When its pixels were complete, us on the host's clock, modulo 2^32.
  uint32_t captured_us;
  // Data shards of the frame so far that parity restored.
  uint32_t repaired_shards;
  // Zero.
  uint32_t reserved;
} PunktfunkUnit;

// 5 ms of sound.
typedef struct {
  // sizeof(PunktfunkAudio).
  uint32_t struct_size;
  // Zero.
  uint32_t reserved;
  // An Opus multistream packet; inside the library, see punktfunk_next_audio.
  const uint8_t *data;
  // Bytes of it. 0: the packet is missing, and the decoder is to conceal 5 ms.
  size_t length;
} PunktfunkAudio;

// What an application on the host wants of a controller.
typedef struct {
  // sizeof(PunktfunkPadOutput).
  uint32_t struct_size;
  // PUNKTFUNK_PAD_*. A program skips what it does not know.
  uint8_t kind;
  // Which controller.
  uint8_t controller;
  // Rumble: the heavy motor, 1/65535 of its force.
  uint16_t strong;
  // Rumble: the light motor.
  uint16_t weak;
  // Zeros.
  uint8_t reserved[2];
} PunktfunkPadOutput;

// Counts since the session began.
typedef struct {
  // sizeof(PunktfunkStatistics).
  uint32_t struct_size;
  // Zero.
  uint32_t reserved;
  // Media datagrams that came.
  uint64_t datagrams;
  // Bytes of them, UDP payload.
  uint64_t bytes;
  // Media datagrams that could not be opened: damaged, forged or repeated.
  uint64_t not_opened;
  // Whole frames reassembled.
  uint64_t frames;
  // Frames lost.
  uint64_t frames_lost;
  // Whole frames withheld because they refer to lost ones.
  uint64_t frames_hidden;
  // Whole frames dropped because nobody took them in time.
  uint64_t frames_overrun;
  // Data shards that parity restored.
  uint64_t shards_repaired;
  // Times that a frame's missing shards were asked for again.
  uint64_t rounds_asked;
  // Reports of frames that cannot be shown.
  uint64_t repair_requests;
  // Those of them that asked for an IDR.
  uint64_t keyframe_requests;
  // Smoothed round trip, us; 0 before the first.
  uint64_t round_trip_us;
  // Packets of sound to play.
  uint64_t audio_played;
  // Of these, those that a copy brought.
  uint64_t audio_repaired;
  // Packets concealed.
  uint64_t audio_concealed;
  // Packets of sound that nobody took in time.
  uint64_t audio_overrun;
  // Changes of the host's pointer that were news.
  uint64_t cursor_states;
  // Of these, those that the reliable stream brought first.
  uint64_t cursor_repaired;
  // Shapes of the pointer that came.
  uint64_t cursor_shapes;
} PunktfunkStatistics;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

// PUNKTFUNK_ABI_VERSION of the library, which may be later than that of the header.
uint32_t punktfunk_abi_version(void);

// What went wrong in this thread's last call that failed: UTF-8, one line, never NULL. It is valid
// until the next call that fails on the same thread.
const char *punktfunk_last_error(void);

// This side's clipboard has that text now: length bytes of UTF-8, at most
// PUNKTFUNK_CLIPBOARD_BYTES_MAX. Never waits; the newest text wins, and one that the host has
// already is not sent. PUNKTFUNK_STATUS_NO_CLIPBOARD if none is shared.
//
// # Safety
// `session` was not closed; `text` has `length` bytes.
PunktfunkStatus punktfunk_set_clipboard(const PunktfunkSession *session,
                                        const uint8_t *text,
                                        size_t length);

// Waits for the next text that is copied on the host's desktop, at most timeout_ms. Of those that
// nobody takes the newest waits. text.data is valid until the next call of this function for the
// session, and until punktfunk_close; no zero ends it. PUNKTFUNK_STATUS_NO_CLIPBOARD if none is
// shared.
//
// # Safety
// `session` was not closed; `text` is valid.
PunktfunkStatus punktfunk_next_clipboard(const PunktfunkSession *session,
                                         uint32_t timeout_ms,
                                         PunktfunkText *text);

// Waits until the host's pointer has changed, at most timeout_ms: where it is, what it looks like,
// whether it is to be drawn. Of changes that nobody takes only the newest is kept.
// PUNKTFUNK_STATUS_NO_CURSOR if the session was not agreed on with PUNKTFUNK_CONNECT_CURSOR.
// cursor.pixels is valid until the next call of this function for the session that succeeds, and
// until punktfunk_close. Before the first change there is no pointer to draw. One thread at a
// time, as with punktfunk_next_unit.
//
// # Safety
// `session` was not closed; `cursor` is valid.
PunktfunkStatus punktfunk_next_cursor(const PunktfunkSession *session,
                                      uint32_t timeout_ms,
                                      PunktfunkCursor *cursor);

// Makes a new identity. Keep its certificate and its key, the latter in a file that nobody else
// can read: hosts know the client by them.
//
// # Safety
// `identity` has room for a pointer, to be freed with punktfunk_identity_free.
PunktfunkStatus punktfunk_identity_generate(PunktfunkIdentity **identity);

// Loads an identity from the PEM texts of a certificate and a PKCS#8 key.
//
// # Safety
// The texts have as many bytes as their lengths say; `identity` has room for a pointer, to be
// freed with punktfunk_identity_free.
PunktfunkStatus punktfunk_identity_load(const uint8_t *certificate_pem,
                                        size_t certificate_bytes,
                                        const uint8_t *key_pem,
                                        size_t key_bytes,
                                        PunktfunkIdentity **identity);

// Copies the certificate as PEM to buffer, without a zero byte at its end. *length says how much
// room there is and then how many bytes it is; buffer may be NULL to ask for that, which answers
// PUNKTFUNK_STATUS_BUFFER_TOO_SMALL.
//
// # Safety
// `identity` was not freed; `buffer` is NULL or has `*length` bytes.
PunktfunkStatus punktfunk_identity_certificate(const PunktfunkIdentity *identity,
                                               uint8_t *buffer,
                                               size_t *length);

// Copies the private key as PEM (PKCS#8) to buffer, as punktfunk_identity_certificate does. For a
// file that nobody else can read, and nothing else.
//
// # Safety
// `identity` was not freed; `buffer` is NULL or has `*length` bytes.
PunktfunkStatus punktfunk_identity_key(const PunktfunkIdentity *identity,
                                       uint8_t *buffer,
                                       size_t *length);

// Copies the fingerprint, by which hosts know this client: PUNKTFUNK_FINGERPRINT_BYTES.
//
// # Safety
// `identity` was not freed; `fingerprint` has so many bytes.
PunktfunkStatus punktfunk_identity_fingerprint(const PunktfunkIdentity *identity,
                                               uint8_t *fingerprint);

// Frees an identity; NULL is allowed. Sessions go on without it.
//
// # Safety
// `identity` came from this library and is not used any more.
void punktfunk_identity_free(PunktfunkIdentity *identity);

// A key went down or up: a Windows virtual key, and PUNKTFUNK_KEY_* flags.
//
// # Safety
// `session` was not closed.
PunktfunkStatus punktfunk_send_key(const PunktfunkSession *session,
                                   uint8_t virtual_key,
                                   uint8_t flags);

// Text that needs no keys: length bytes of UTF-8 without zeros. *taken says how many bytes of it
// were taken, all of them unless the call fails; it may be NULL.
//
// # Safety
// `session` was not closed; `text` has `length` bytes; `taken` is NULL or valid.
PunktfunkStatus punktfunk_send_text(const PunktfunkSession *session,
                                    const uint8_t *text,
                                    size_t length,
                                    size_t *taken);

// The pointer moved to the right and down, by so many pixels of the client.
//
// # Safety
// `session` was not closed.
PunktfunkStatus punktfunk_send_pointer_motion(const PunktfunkSession *session,
                                              int16_t dx,
                                              int16_t dy);

// The pointer was put there: shares of the picture, 0 to 1, from the left and from the top.
//
// # Safety
// `session` was not closed.
PunktfunkStatus punktfunk_send_pointer_position(const PunktfunkSession *session, float x, float y);

// A button of the pointer, PUNKTFUNK_BUTTON_*, went down (pressed is not 0) or up.
//
// # Safety
// `session` was not closed.
PunktfunkStatus punktfunk_send_pointer_button(const PunktfunkSession *session,
                                              uint8_t button,
                                              uint8_t pressed);

// A wheel turned, PUNKTFUNK_SCROLL_*: 120 is a notch, up and right are positive.
//
// # Safety
// `session` was not closed.
PunktfunkStatus punktfunk_send_scroll(const PunktfunkSession *session,
                                      uint8_t axis,
                                      int16_t amount);

// A finger touched, moved or left.
//
// # Safety
// `session` was not closed; `touch` is valid.
PunktfunkStatus punktfunk_send_touch(const PunktfunkSession *session, const PunktfunkTouch *touch);

// A pen came, moved or left.
//
// # Safety
// `session` was not closed; `pen` is valid.
PunktfunkStatus punktfunk_send_pen(const PunktfunkSession *session, const PunktfunkPen *pen);

// A controller was plugged in. One that is missing in a later state's present was unplugged.
//
// # Safety
// `session` was not closed; `arrival` is valid.
PunktfunkStatus punktfunk_send_pad_arrival(const PunktfunkSession *session,
                                           const PunktfunkPadArrival *arrival);

// A controller's buttons, triggers and sticks as they are now.
//
// # Safety
// `session` was not closed; `state` is valid.
PunktfunkStatus punktfunk_send_pad_state(const PunktfunkSession *session,
                                         const PunktfunkPadState *state);

// A finger on a controller's touchpad.
//
// # Safety
// `session` was not closed; `touch` is valid.
PunktfunkStatus punktfunk_send_pad_touch(const PunktfunkSession *session,
                                         const PunktfunkPadTouch *touch);

// A controller was moved.
//
// # Safety
// `session` was not closed; `motion` is valid.
PunktfunkStatus punktfunk_send_pad_motion(const PunktfunkSession *session,
                                          const PunktfunkPadMotion *motion);

// How a controller's battery is.
//
// # Safety
// `session` was not closed; `battery` is valid.
PunktfunkStatus punktfunk_send_pad_battery(const PunktfunkSession *session,
                                           const PunktfunkPadBattery *battery);

// Sends the next 5 ms of the microphone: an Opus packet of 240 samples at 48 kHz, of one or two
// channels, at most PUNKTFUNK_MICROPHONE_PACKET_BYTES_MAX bytes. Never waits: where 16 packets wait
// already it is not taken, PUNKTFUNK_STATUS_QUEUE_FULL. Send one each 5 ms; whoever is silent for
// longer than 100 ms may stop and begin again. PUNKTFUNK_STATUS_NO_MICROPHONE if the host makes
// none.
//
// # Safety
// `session` was not closed; `opus` has `length` bytes.
PunktfunkStatus punktfunk_send_microphone(const PunktfunkSession *session,
                                          const uint8_t *opus,
                                          size_t length);

// Pairs with a host whose operator has opened a window and told its PIN: one connection, one try,
// after which the window is closed. The host's fingerprint, which result has afterwards, is to be
// pinned, and the identity to be kept: the host knows the client by it. Waits within the
// protocol's time limits, under a minute. result may be NULL; the fingerprint is lost then.
//
// # Safety
// `options` and what it points to are valid during the call; `result` is NULL or valid.
PunktfunkStatus punktfunk_pair(const PunktfunkPairOptions *options, PunktfunkPairResult *result);

// Connects, and waits for the host's answer. The session has a thread of its own, which does all
// that has to do with the network. result may be NULL.
//
// # Safety
// `options` and what it points to are valid during the call; `result` is NULL or valid; `session`
// has room for a pointer, to be given back with punktfunk_close.
PunktfunkStatus punktfunk_connect(const PunktfunkConnectOptions *options,
                                  PunktfunkConnectResult *result,
                                  PunktfunkSession **session);

// Ends the session and does not wait: calls that wait in it come back with
// PUNKTFUNK_STATUS_ENDED. The session still has to be closed.
//
// # Safety
// `session` was not closed.
PunktfunkStatus punktfunk_end(const PunktfunkSession *session);

// Ends the session in an orderly way, waits for the calls in it, which come back, and for its
// thread, and frees it with all that it has lent; NULL is allowed.
//
// # Safety
// `session` came from this library and is used in no call that begins after this one.
PunktfunkStatus punktfunk_close(PunktfunkSession *session);

// Says what the host agreed to.
//
// # Safety
// `session` was not closed; `info` is valid.
PunktfunkStatus punktfunk_session_info(const PunktfunkSession *session, PunktfunkSessionInfo *info);

// Says which mode holds now, and what became of requests for others.
//
// # Safety
// `session` was not closed; `mode` is valid.
PunktfunkStatus punktfunk_mode(const PunktfunkSession *session, PunktfunkMode *mode);

// Asks the host for another mode, and does not wait: punktfunk_mode tells when the request of
// *number (which may be NULL), or a later one, was answered. Ask as often as a window is dragged: the
// newest request wins, and the old mode's pictures go on until the new one's come.
//
// # Safety
// `session` was not closed; `number` is NULL or valid.
PunktfunkStatus punktfunk_request_mode(const PunktfunkSession *session,
                                       uint32_t width,
                                       uint32_t height,
                                       uint32_t refresh_millihz,
                                       uint32_t *number);

// Waits for the next access unit, or part of one, at most timeout_ms. unit.data is valid until the
// next call of this function or punktfunk_release_unit for the session, and until punktfunk_close.
// What is left after the session's end still comes, then PUNKTFUNK_STATUS_ENDED.
//
// Take units without delay: while 7 wait, the next is dropped and the picture repaired.
//
// # Safety
// `session` was not closed; `unit` is valid.
PunktfunkStatus punktfunk_next_unit(const PunktfunkSession *session,
                                    uint32_t timeout_ms,
                                    PunktfunkUnit *unit);

// Gives the last unit back before the next is taken: its data is not valid any more.
//
// # Safety
// `session` was not closed.
PunktfunkStatus punktfunk_release_unit(const PunktfunkSession *session);

// The decoder can do nothing with that frame: nothing more comes until there is an IDR, or
// another picture that needs nothing of what was lost.
//
// # Safety
// `session` was not closed.
PunktfunkStatus punktfunk_request_keyframe(const PunktfunkSession *session, uint32_t frame);

// A picture was decoded, in so many microseconds: the host's rate control follows it.
//
// # Safety
// `session` was not closed.
PunktfunkStatus punktfunk_decoded(const PunktfunkSession *session, uint32_t took_us);

// Waits for the next 5 ms of sound, at most timeout_ms. They come when they are due: play them at
// once. audio.data is valid until the next call of this function for the session, and until
// punktfunk_close. Of 32 packets that nobody took the newest is dropped.
//
// # Safety
// `session` was not closed; `audio` is valid.
PunktfunkStatus punktfunk_next_audio(const PunktfunkSession *session,
                                     uint32_t timeout_ms,
                                     PunktfunkAudio *audio);

// Waits for what an application wants of a controller, at most timeout_ms.
//
// # Safety
// `session` was not closed; `output` is valid.
PunktfunkStatus punktfunk_next_pad_output(const PunktfunkSession *session,
                                          uint32_t timeout_ms,
                                          PunktfunkPadOutput *output);

// Counts of the session so far.
//
// # Safety
// `session` was not closed; `statistics` is valid.
PunktfunkStatus punktfunk_statistics(const PunktfunkSession *session,
                                     PunktfunkStatistics *statistics);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* PUNKTFUNK_H */
