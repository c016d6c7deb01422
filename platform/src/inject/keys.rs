//! Keys by their three names: virtual key (Windows, `winuser.h`), code of the kernel
//! (`linux/input-event-codes.h`) and what the key says on an American keyboard (names of
//! `xkbcommon-keysyms.h`).

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Virtual key.
    pub virtual_key: u8,
    /// Code of the kernel, below 248.
    pub code: u8,
    /// Keysym of its first level.
    pub plain: &'static str,
    /// Keysym with Shift; empty if it has one level only.
    pub shifted: &'static str,
}

const fn key(virtual_key: u8, code: u8, plain: &'static str, shifted: &'static str) -> Key {
    Key {
        virtual_key,
        code,
        plain,
        shifted,
    }
}

/// Every key that we know. Where two virtual keys have one code (Shift without a side), the first
/// is what [`virtual_key`] answers.
pub const KEYS: &[Key] = &[
    key(0x08, 14, "BackSpace", ""),
    key(0x09, 15, "Tab", "ISO_Left_Tab"),
    key(0x0D, 28, "Return", ""),
    key(0xA0, 42, "Shift_L", ""),
    key(0x10, 42, "Shift_L", ""),
    key(0xA1, 54, "Shift_R", ""),
    key(0xA2, 29, "Control_L", ""),
    key(0x11, 29, "Control_L", ""),
    key(0xA3, 97, "Control_R", ""),
    key(0xA4, 56, "Alt_L", ""),
    key(0x12, 56, "Alt_L", ""),
    key(0xA5, 100, "Alt_R", ""),
    key(0x13, 119, "Pause", "Break"),
    key(0x14, 58, "Caps_Lock", ""),
    key(0x15, 122, "Hangul", ""),
    key(0x19, 123, "Hangul_Hanja", ""),
    key(0x1B, 1, "Escape", ""),
    key(0x1C, 92, "Henkan_Mode", ""),
    key(0x1D, 94, "Muhenkan", ""),
    key(0x20, 57, "space", ""),
    key(0x21, 104, "Prior", ""),
    key(0x22, 109, "Next", ""),
    key(0x23, 107, "End", ""),
    key(0x24, 102, "Home", ""),
    key(0x25, 105, "Left", ""),
    key(0x26, 103, "Up", ""),
    key(0x27, 106, "Right", ""),
    key(0x28, 108, "Down", ""),
    key(0x2C, 99, "Print", "Sys_Req"),
    key(0x2D, 110, "Insert", ""),
    key(0x2E, 111, "Delete", ""),
    key(0x2F, 138, "Help", ""),
    key(0x30, 11, "0", "parenright"),
    key(0x31, 2, "1", "exclam"),
    key(0x32, 3, "2", "at"),
    key(0x33, 4, "3", "numbersign"),
    key(0x34, 5, "4", "dollar"),
    key(0x35, 6, "5", "percent"),
    key(0x36, 7, "6", "asciicircum"),
    key(0x37, 8, "7", "ampersand"),
    key(0x38, 9, "8", "asterisk"),
    key(0x39, 10, "9", "parenleft"),
    key(0x41, 30, "a", "A"),
    key(0x42, 48, "b", "B"),
    key(0x43, 46, "c", "C"),
    key(0x44, 32, "d", "D"),
    key(0x45, 18, "e", "E"),
    key(0x46, 33, "f", "F"),
    key(0x47, 34, "g", "G"),
    key(0x48, 35, "h", "H"),
    key(0x49, 23, "i", "I"),
    key(0x4A, 36, "j", "J"),
    key(0x4B, 37, "k", "K"),
    key(0x4C, 38, "l", "L"),
    key(0x4D, 50, "m", "M"),
    key(0x4E, 49, "n", "N"),
    key(0x4F, 24, "o", "O"),
    key(0x50, 25, "p", "P"),
    key(0x51, 16, "q", "Q"),
    key(0x52, 19, "r", "R"),
    key(0x53, 31, "s", "S"),
    key(0x54, 20, "t", "T"),
    key(0x55, 22, "u", "U"),
    key(0x56, 47, "v", "V"),
    key(0x57, 17, "w", "W"),
    key(0x58, 45, "x", "X"),
    key(0x59, 21, "y", "Y"),
    key(0x5A, 44, "z", "Z"),
    key(0x5B, 125, "Super_L", ""),
    key(0x5C, 126, "Super_R", ""),
    key(0x5D, 127, "Menu", ""),
    key(0x5F, 142, "XF86Sleep", ""),
    // Clients send these only while Num Lock is on; else they send Home, Up and so on.
    key(0x60, 82, "KP_0", ""),
    key(0x61, 79, "KP_1", ""),
    key(0x62, 80, "KP_2", ""),
    key(0x63, 81, "KP_3", ""),
    key(0x64, 75, "KP_4", ""),
    key(0x65, 76, "KP_5", ""),
    key(0x66, 77, "KP_6", ""),
    key(0x67, 71, "KP_7", ""),
    key(0x68, 72, "KP_8", ""),
    key(0x69, 73, "KP_9", ""),
    key(0x6A, 55, "KP_Multiply", ""),
    key(0x6B, 78, "KP_Add", ""),
    // Windows has no virtual key for the other Enter; Separator stands for it.
    key(0x6C, 96, "KP_Enter", ""),
    key(0x6D, 74, "KP_Subtract", ""),
    key(0x6E, 83, "KP_Decimal", ""),
    key(0x6F, 98, "KP_Divide", ""),
    key(0x70, 59, "F1", ""),
    key(0x71, 60, "F2", ""),
    key(0x72, 61, "F3", ""),
    key(0x73, 62, "F4", ""),
    key(0x74, 63, "F5", ""),
    key(0x75, 64, "F6", ""),
    key(0x76, 65, "F7", ""),
    key(0x77, 66, "F8", ""),
    key(0x78, 67, "F9", ""),
    key(0x79, 68, "F10", ""),
    key(0x7A, 87, "F11", ""),
    key(0x7B, 88, "F12", ""),
    key(0x7C, 183, "F13", ""),
    key(0x7D, 184, "F14", ""),
    key(0x7E, 185, "F15", ""),
    key(0x7F, 186, "F16", ""),
    key(0x80, 187, "F17", ""),
    key(0x81, 188, "F18", ""),
    key(0x82, 189, "F19", ""),
    key(0x83, 190, "F20", ""),
    key(0x84, 191, "F21", ""),
    key(0x85, 192, "F22", ""),
    key(0x86, 193, "F23", ""),
    key(0x87, 194, "F24", ""),
    key(0x90, 69, "Num_Lock", ""),
    key(0x91, 70, "Scroll_Lock", ""),
    key(0xA6, 158, "XF86Back", ""),
    key(0xA7, 159, "XF86Forward", ""),
    key(0xA8, 173, "XF86Reload", ""),
    key(0xA9, 128, "XF86Stop", ""),
    key(0xAA, 217, "XF86Search", ""),
    key(0xAB, 156, "XF86Favorites", ""),
    key(0xAC, 172, "XF86HomePage", ""),
    key(0xAD, 113, "XF86AudioMute", ""),
    key(0xAE, 114, "XF86AudioLowerVolume", ""),
    key(0xAF, 115, "XF86AudioRaiseVolume", ""),
    key(0xB0, 163, "XF86AudioNext", ""),
    key(0xB1, 165, "XF86AudioPrev", ""),
    key(0xB2, 166, "XF86AudioStop", ""),
    key(0xB3, 164, "XF86AudioPlay", ""),
    key(0xB4, 155, "XF86Mail", ""),
    key(0xBA, 39, "semicolon", "colon"),
    key(0xBB, 13, "equal", "plus"),
    key(0xBC, 51, "comma", "less"),
    key(0xBD, 12, "minus", "underscore"),
    key(0xBE, 52, "period", "greater"),
    key(0xBF, 53, "slash", "question"),
    key(0xC0, 41, "grave", "asciitilde"),
    key(0xC1, 89, "slash", "question"),
    key(0xC2, 121, "KP_Separator", ""),
    key(0xDB, 26, "bracketleft", "braceleft"),
    key(0xDC, 43, "backslash", "bar"),
    key(0xDD, 27, "bracketright", "braceright"),
    key(0xDE, 40, "apostrophe", "quotedbl"),
    key(0xE2, 86, "less", "greater"),
];

/// Characters of the American keyboard by key: first level, then with Shift.
const CHARACTERS: &[(u8, &str)] = &[
    (2, "1!"),
    (3, "2@"),
    (4, "3#"),
    (5, "4$"),
    (6, "5%"),
    (7, "6^"),
    (8, "7&"),
    (9, "8*"),
    (10, "9("),
    (11, "0)"),
    (12, "-_"),
    (13, "=+"),
    (26, "[{"),
    (27, "]}"),
    (39, ";:"),
    (40, "'\""),
    (41, "`~"),
    (43, "\\|"),
    (51, ",<"),
    (52, ".>"),
    (53, "/?"),
];

/// Code of a virtual key.
#[must_use]
pub fn code(virtual_key: u8) -> Option<u8> {
    KEYS.iter()
        .find(|key| key.virtual_key == virtual_key)
        .map(|key| key.code)
}

/// Virtual key of a code.
#[must_use]
pub fn virtual_key(code: u16) -> Option<u8> {
    KEYS.iter()
        .find(|key| u16::from(key.code) == code)
        .map(|key| key.virtual_key)
}

/// Key and Shift for a character that the American keyboard has.
#[must_use]
pub fn of_character(character: char) -> Option<(u8, bool)> {
    match character {
        ' ' => return Some((57, false)),
        '\n' | '\r' => return Some((28, false)),
        '\t' => return Some((15, false)),
        '\u{8}' => return Some((14, false)),
        '\u{1b}' => return Some((1, false)),
        _ => {}
    }
    if character.is_ascii_alphabetic() {
        let virtual_key = character.to_ascii_uppercase() as u8;
        return Some((code(virtual_key)?, character.is_ascii_uppercase()));
    }
    CHARACTERS.iter().find_map(|(code, both)| {
        let level = both.chars().position(|it| it == character)?;
        Some((*code, level == 1))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_printable_ascii_character_has_a_key() {
        for character in ' '..='~' {
            assert!(of_character(character).is_some(), "{character:?}");
        }
        assert_eq!(of_character('A'), Some((30, true)));
        assert_eq!(of_character('/'), Some((53, false)));
        assert_eq!(of_character('ä'), None);
    }

    #[test]
    fn a_virtual_key_is_named_once_and_its_code_leads_back() {
        for (place, key) in KEYS.iter().enumerate() {
            assert!(
                KEYS[..place]
                    .iter()
                    .all(|other| other.virtual_key != key.virtual_key)
            );
            let back = virtual_key(key.code.into()).expect("known");
            assert_eq!(code(back), Some(key.code));
        }
    }
}
