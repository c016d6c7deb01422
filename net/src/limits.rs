//! Every cap of the protocol, with its derivation, tied to its neighbours at compile time.
//! Whatever a peer sends is held against these before anything is allocated for it.

/// Smallest side of a picture, pixels: below this no desktop is usable.
pub const SIDE_PX_MIN: u16 = 128;
/// Largest side of a picture, pixels: H.265 level 6.2 ends at 8192.
pub const SIDE_PX_MAX: u16 = 8192;
/// Slowest refresh, mHz. A slower display is a slide show, and deadlines derive from the rate.
pub const REFRESH_MILLIHZ_MIN: u32 = 10_000;
/// Fastest refresh, mHz: the fastest panels sold run at 540 Hz; nothing derives from it but timers.
pub const REFRESH_MILLIHZ_MAX: u32 = 600_000;

/// Most slices in a frame. x264 and NVENC both accept 32 for any picture we stream.
pub const SLICES_PER_FRAME_MAX: u8 = 32;
/// A media datagram on the wire, bytes of UDP payload: 1500 (Ethernet) less 20 (PPPoE, VLAN and
/// tunnels), 40 (IPv6), 8 (UDP) leaves 1432; 1392 is what game streaming settled on and what a
/// shard of 21 × 64 bytes fills exactly.
pub const DATAGRAM_BYTES_MAX: usize = 1392;
/// Smallest datagram limit that a peer may ask for: half a kilobyte of picture in each. A path
/// that carries less (IPv6 demands 1280) is not one to stream over.
pub const DATAGRAM_BYTES_MIN: usize = MEDIA_HEADER_BYTES + PARITY_PREFIX_BYTES + 512 + TAG_BYTES;
/// Header of a media datagram, authenticated but not sealed.
pub const MEDIA_HEADER_BYTES: usize = 24;
/// What a parity datagram's payload holds before the parity of the data: two counts and the parity
/// of the [`DESCRIPTOR_BYTES`].
pub const PARITY_PREFIX_BYTES: usize = 4 + DESCRIPTOR_BYTES;
/// What parity must know of a data shard beside its bytes.
pub const DESCRIPTOR_BYTES: usize = 4;
/// AEAD tag (both AEADs).
pub const TAG_BYTES: usize = 16;
/// Largest shard: a multiple of 64, as the GF(2¹⁶) code likes it.
pub const SHARD_BYTES_MAX: usize = 1344;
/// The size of shards is a multiple of this.
pub const SHARD_BYTES_MIN: usize = 64;
const _: () = assert!(
    MEDIA_HEADER_BYTES + PARITY_PREFIX_BYTES + SHARD_BYTES_MAX + TAG_BYTES == DATAGRAM_BYTES_MAX
);
const _: () = assert!(SHARD_BYTES_MAX.is_multiple_of(64) && SHARD_BYTES_MIN.is_multiple_of(64));

/// Most shards (data and parity) in a GF(2⁸) block: the field has 256 elements and the Cauchy
/// construction with parity row j and column m + i needs k + m ≤ 255 (as Moonlight counts).
pub const GF8_SHARDS_MAX: usize = 255;
/// Most data shards in a GF(2¹⁶) block: 2048 × 1344 B = 2.7 MB, more than a slice ever has.
pub const GF16_DATA_SHARDS_MAX: usize = 2048;
/// Most parity shards in a GF(2¹⁶) block.
pub const GF16_PARITY_SHARDS_MAX: usize = 1024;

/// Bytes of one access unit that a client is ready to hold: 8 blocks of the largest kind would
/// be 22 MB; no frame within [`SIDE_PX_MAX`]² at the bitrates below comes near.
pub const ACCESS_UNIT_BYTES_MAX: usize = 16 << 20;
/// Most data shards of a frame, over all of its slices: what [`ACCESS_UNIT_BYTES_MAX`] fills, a
/// third of a shard lost to the end of each slice; with smaller shards a frame is smaller.
pub const COLUMNS_PER_FRAME_MAX: usize = 1 << 14;
const _: () = assert!(
    COLUMNS_PER_FRAME_MAX
        >= ACCESS_UNIT_BYTES_MAX / SHARD_BYTES_MAX + SLICES_PER_FRAME_MAX as usize
);
const _: () = assert!(
    COLUMNS_PER_FRAME_MAX <= 1 << 16,
    "they are counted in 16 bits"
);
/// Most parity groups of a frame: each slice its own, or an enormous frame cut in pieces.
pub const GROUPS_PER_FRAME_MAX: usize = 32;
const _: () = assert!(GROUPS_PER_FRAME_MAX >= SLICES_PER_FRAME_MAX as usize);
const _: () = assert!(GROUPS_PER_FRAME_MAX * GF16_DATA_SHARDS_MAX >= COLUMNS_PER_FRAME_MAX);
/// Frames that a reassembler holds open at once. Reordering beyond this is loss.
pub const FRAMES_IN_FLIGHT_MAX: usize = 8;

/// Most parity, percent of the data: more of it than data helps nobody, and this keeps to the
/// limits of both codes.
pub const FEC_PERCENT_MAX: u8 = 100;

/// Lowest bitrate that a session may ask for, bit/s.
pub const BITRATE_MIN: u64 = 250_000;
/// Highest bitrate that a session may ask for, bit/s.
pub const BITRATE_MAX: u64 = 1_000_000_000;

/// Largest control message body, bytes. The largest legitimate one is a batch of frame times.
pub const CONTROL_BODY_BYTES_MAX: usize = 64 * 1024;
/// Most frames in one batch of frame times: more than a frame every 10 ms at 600 Hz.
pub const FRAME_TIMES_PER_BATCH_MAX: usize = 16;
/// Bytes of one frame in such a batch, at most: 24 fixed, 20 for each slice.
pub const FRAME_TIMES_BYTES_MAX: usize = 24 + 20 * SLICES_PER_FRAME_MAX as usize;
const _: () = assert!(
    2 + FRAME_TIMES_PER_BATCH_MAX * FRAME_TIMES_BYTES_MAX <= CONTROL_BODY_BYTES_MAX,
    "the largest message that we send must be one that we accept"
);
/// Control bytes that wait for the stream at most. Frame times are dropped (and counted) where
/// they would fill the first half of it; the other half is for everything else.
pub const CONTROL_OUTBOX_BYTES_MAX: usize = 2 * CONTROL_BODY_BYTES_MAX;
/// Longest text of a clipboard, bytes of UTF-8: a thousand pages less one. More than that is a file.
pub const CLIPBOARD_BYTES_MAX: usize = 1 << 20;
/// Bytes of such a text in one control message: what a message that comes behind it waits for is
/// 13 ms at 5 Mbit/s.
pub const CLIPBOARD_PIECE_BYTES: usize = 8192;
const _: () = assert!(CLIPBOARD_BYTES_MAX.is_multiple_of(CLIPBOARD_PIECE_BYTES));
const _: () = assert!(
    64 + CLIPBOARD_PIECE_BYTES <= CONTROL_OUTBOX_BYTES_MAX / 2,
    "a piece finds room in an empty outbox"
);
/// Longest side of a cursor's shape, pixels: what hardware planes take, and larger ones are pictures.
pub const CURSOR_SIDE_PX_MAX: u16 = 256;
/// Shapes that a client keeps: desktops use a dozen, and 16 of the largest are 4 MiB.
pub const CURSOR_SHAPES_MAX: usize = 16;
/// Pixels of a shape in one message, bytes: several messages, so that a large shape does not hold
/// up what else the stream has to say; 16 rows of the longest.
pub const CURSOR_PART_BYTES_MAX: usize = 16 * 1024;
const _: () = assert!(
    CURSOR_PART_BYTES_MAX >= 4 * CURSOR_SIDE_PX_MAX as usize,
    "a row fits a part"
);
const _: () = assert!(
    2 * (CURSOR_PART_BYTES_MAX + 64) <= CONTROL_OUTBOX_BYTES_MAX / 2,
    "two parts fit what droppable messages may fill"
);
/// Longest name of a peer, bytes of UTF-8.
pub const NAME_BYTES_MAX: usize = 64;
/// Longest reason text in a refusal or an end, bytes of UTF-8.
pub const REASON_BYTES_MAX: usize = 256;

/// Datagrams sealed under one key before the key-phase bit must have moved on. AES-GCM's
/// confidentiality bound for 2^-57 advantage is far above; RFC 9001 section 6.6 uses 2^23.
pub const DATAGRAMS_PER_KEY_MAX: u64 = 1 << 23;
/// Datagrams of one key phase: sequences `n` × 2^22 to (`n` + 1) × 2^22 − 1 are sealed under the
/// key of phase `n`. Half of [`DATAGRAMS_PER_KEY_MAX`]; 21 s at 200 000 datagrams a second.
pub const DATAGRAMS_PER_PHASE: u64 = 1 << 22;
const _: () = assert!(DATAGRAMS_PER_PHASE < DATAGRAMS_PER_KEY_MAX);
const _: () = assert!(DATAGRAMS_PER_PHASE.is_power_of_two());
/// Width of the replay window, datagrams: the largest block plus reordering.
pub const REPLAY_WINDOW: u64 = 8192;
const _: () = assert!(
    REPLAY_WINDOW < DATAGRAMS_PER_PHASE,
    "what the window still accepts lies in the current key phase or the one before"
);
const _: () = assert!(
    REPLAY_WINDOW >= (GF16_DATA_SHARDS_MAX + GF16_PARITY_SHARDS_MAX) as u64 * 2,
    "a block that arrives last shard first must still fit the window"
);

/// Most segments in one GSO send: `UDP_MAX_SEGMENTS` of the kernel is 64 (128 since 6.9), and
/// the whole must stay below 65 507 bytes: 47 × 1392 = 65 424.
pub const GSO_SEGMENTS_MAX: usize = 47;
const _: () = assert!(GSO_SEGMENTS_MAX * DATAGRAM_BYTES_MAX <= 65_507);

/// Sessions that a host can be configured to serve at once.
pub const SESSIONS_MAX: usize = 16;
/// QUIC connections (sessions, handshakes, strangers) that a host keeps at once.
pub const CONNECTIONS_MAX: usize = 64;
const _: () = assert!(CONNECTIONS_MAX >= 2 * SESSIONS_MAX);
/// Of these from one IP address, so that one neighbour cannot take them all.
pub const CONNECTIONS_PER_ADDRESS_MAX: usize = CONNECTIONS_MAX / 2;
const _: () = assert!(CONNECTIONS_PER_ADDRESS_MAX >= SESSIONS_MAX);
