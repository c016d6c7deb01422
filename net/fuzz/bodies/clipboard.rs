//! Arbitrary pieces of clipboard text on one end of the plane: no more is held than what came, and
//! whatever is handed out is whole.

use net::limits::CLIPBOARD_BYTES_MAX;
use net::native::clipboard::Clipboard;
use net::native::messages::{Kind, Message};
use net::units::Timestamp;

/// The first byte chooses the end, then come pieces: a head of 18 bytes, and the byte that the piece
/// is full of. How many pieces were taken.
pub fn run(data: &[u8]) -> u64 {
    let [side, rest @ ..] = data else { return 0 };
    let mut end = match side % 2 {
        0 => Clipboard::host(),
        _ => Clipboard::client(),
    };
    let (mut came, mut taken) = (0, 0);
    for (number, chunk) in rest.chunks_exact(19).enumerate() {
        let count = usize::from(u16::from_le_bytes([chunk[16], chunk[17]]));
        let mut body = chunk[..18].to_vec();
        body.resize(18 + count, chunk[18]);
        let Ok(Message::Clipboard(piece)) = Message::parse(Kind::Clipboard, &body) else {
            continue;
        };
        assert_eq!(piece.bytes.len(), count);
        came += count;
        if number % 5 == 4 {
            // A text of ours in between.
            end.set(number.to_string()).expect("short");
            let _ = end.poll_piece(Timestamp::from_ns(number as u64 * 200_000_000));
        }
        match end.handle(&piece) {
            Ok(Some(text)) => assert_eq!(text.len(), piece.total_bytes as usize),
            Ok(None) => {}
            // A session would end by it.
            Err(_) => continue,
        }
        taken += 1;
        assert!(end.held_bytes() <= came.min(CLIPBOARD_BYTES_MAX));
    }
    taken
}
