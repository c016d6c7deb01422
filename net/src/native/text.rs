//! Texts of a peer: bounded, UTF-8, and harmless in a log or a terminal.

use crate::bytes::{Reader, Writer};

use super::messages::MessageError;

/// Reads u16 length and that many bytes of UTF-8. Characters that could move the cursor or turn
/// the reading direction are replaced.
pub(super) fn read(reader: &mut Reader<'_>, bytes_max: usize) -> Result<String, MessageError> {
    let bytes = usize::from(reader.u16()?);
    if bytes > bytes_max {
        return Err(MessageError::TextTooLong { bytes, bytes_max });
    }
    let text = str::from_utf8(reader.take(bytes)?).map_err(|_| MessageError::NotUtf8)?;
    Ok(text
        .chars()
        .map(|c| if is_harmful(c) { '\u{fffd}' } else { c })
        .collect())
}

/// Writes as much of `text` as the limit allows, cut between two characters.
pub(super) fn write(writer: &mut Writer<'_>, text: &str, bytes_max: usize) {
    let text = &text[..text.floor_char_boundary(bytes_max)];
    writer.u16(u16::try_from(text.len()).expect("the limits of texts are below 2^16"));
    writer.bytes(text.as_bytes());
}

const fn is_harmful(c: char) -> bool {
    c.is_ascii_control()
        || matches!(c, '\u{80}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(text: &str, bytes_max: usize) -> Result<String, MessageError> {
        let mut out = Vec::new();
        write(&mut Writer::new(&mut out), text, bytes_max);
        read(&mut Reader::new(&out), bytes_max)
    }

    #[test]
    fn texts_are_bounded_and_cleaned() {
        assert_eq!(round_trip("Küche", 64).as_deref(), Ok("Küche"));
        assert_eq!(
            round_trip("Küche", 2).as_deref(),
            Ok("K"),
            "ü is not cut in half"
        );
        let cleaned = round_trip("a\x1b[2J\n\u{202e}b", 64).expect("valid UTF-8");
        assert_eq!(cleaned, "a\u{fffd}[2J\u{fffd}\u{fffd}b");
        let long = [5, 0, b'a', b'b', b'c', b'd', b'e'];
        assert_eq!(
            read(&mut Reader::new(&long), 4),
            Err(MessageError::TextTooLong {
                bytes: 5,
                bytes_max: 4
            })
        );
        assert_eq!(
            read(&mut Reader::new(&[1, 0, 0xff]), 4),
            Err(MessageError::NotUtf8)
        );
    }
}
