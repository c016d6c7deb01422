//! The keymap of our virtual keyboard, as text (XKB text format version 1): the American layout
//! on its codes, and on spare codes whatever else was asked to be typed.
//!
//! Text does not depend on any layout: a character of the American keyboard is typed with its key,
//! any other gets a spare code of its own. A new keymap is needed only for a character that has
//! none; when all spare codes are taken the one unused longest gives way. All names that the text
//! uses are defined in it, so that it does not depend on the compositor's XKB files.

use std::fmt::Write as _;

use super::super::keys::KEYS;

/// Codes that no key of ours has: beyond the function keys, below the end of XKB's codes
/// (255 - 8).
const SPARE_FIRST: u8 = 195;
const SPARE_LAST: u8 = 247;
/// XKB counts keys from 8.
const XKB_OFFSET: u16 = 8;

/// Bits of modifiers in XKB's order.
pub(super) mod modifier {
    pub(crate) const SHIFT: u32 = 1;
    pub(crate) const LOCK: u32 = 1 << 1;
    pub(crate) const CONTROL: u32 = 1 << 2;
    pub(crate) const ALT: u32 = 1 << 3;
    pub(crate) const LOGO: u32 = 1 << 6;
}

/// Which character each spare code has.
#[derive(Debug)]
pub(super) struct Keymap {
    spare: Vec<Spare>,
    uses: u64,
}

#[derive(Debug)]
struct Spare {
    code: u8,
    character: Option<char>,
    used: u64,
}

/// Where a character is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On this code.
    Known(u8),
    /// On this code once the new keymap is there.
    New(u8),
    /// Nowhere: it cannot be typed.
    Nowhere,
}

impl Default for Keymap {
    fn default() -> Self {
        let taken = |code: &u8| KEYS.iter().any(|key| key.code == *code);
        let codes = (SPARE_FIRST..=SPARE_LAST).filter(|code| !taken(code));
        let spare = codes
            .map(|code| Spare {
                code,
                character: None,
                used: 0,
            })
            .collect();
        Self { spare, uses: 0 }
    }
}

impl Keymap {
    /// The code that types `character`.
    pub(super) fn place(&mut self, character: char) -> Place {
        if character.is_control() {
            return Place::Nowhere;
        }
        self.uses += 1;
        if let Some(spare) = self
            .spare
            .iter_mut()
            .find(|it| it.character == Some(character))
        {
            spare.used = self.uses;
            return Place::Known(spare.code);
        }
        let Some(oldest) = self.spare.iter_mut().min_by_key(|spare| spare.used) else {
            return Place::Nowhere;
        };
        oldest.character = Some(character);
        oldest.used = self.uses;
        Place::New(oldest.code)
    }

    /// The keymap as text.
    pub(super) fn text(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        text.push_str("xkb_keymap {\nxkb_keycodes \"punktfunk\" {\nminimum = 8;\nmaximum = 255;\n");
        let mut codes: Vec<u8> = KEYS.iter().map(|key| key.code).collect();
        codes.extend(self.spare.iter().map(|spare| spare.code));
        codes.sort_unstable();
        codes.dedup();
        for code in codes {
            line(
                &mut text,
                format_args!("<K{code}> = {};", u16::from(code) + XKB_OFFSET),
            );
        }
        text.push_str("indicator 1 = \"Caps Lock\";\n};\n");
        text.push_str(TYPES_AND_COMPATIBILITY);
        text.push_str("xkb_symbols \"punktfunk\" {\n");
        let mut written = [false; 256];
        for key in KEYS {
            if std::mem::replace(&mut written[usize::from(key.code)], true) {
                continue;
            }
            let (code, plain, shifted) = (key.code, key.plain, key.shifted);
            let alphabetic = plain.len() == 1 && plain.as_bytes()[0].is_ascii_alphabetic();
            let (kind, comma) = match (alphabetic, shifted.is_empty()) {
                (true, _) => ("ALPHABETIC", ", "),
                (false, false) => ("TWO_LEVEL", ", "),
                (false, true) => ("ONE_LEVEL", ""),
            };
            line(
                &mut text,
                format_args!("key <K{code}> {{ type = \"{kind}\", [ {plain}{comma}{shifted} ] }};"),
            );
        }
        for spare in &self.spare {
            if let Some(character) = spare.character {
                let (code, point) = (spare.code, u32::from(character));
                line(
                    &mut text,
                    format_args!("key <K{code}> {{ type = \"ONE_LEVEL\", [ U{point:04X} ] }};"),
                );
            }
        }
        text.push_str(MODIFIERS);
        text
    }
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = text.write_fmt(words);
    text.push('\n');
}

const TYPES_AND_COMPATIBILITY: &str = r#"xkb_types "punktfunk" {
type "ONE_LEVEL" { modifiers = none; level_name[Level1] = "Any"; };
type "TWO_LEVEL" {
modifiers = Shift;
map[Shift] = Level2;
level_name[Level1] = "Base";
level_name[Level2] = "Shift";
};
type "ALPHABETIC" {
modifiers = Shift+Lock;
map[Shift] = Level2;
map[Lock] = Level2;
level_name[Level1] = "Base";
level_name[Level2] = "Caps";
};
};
xkb_compatibility "punktfunk" {
interpret.useModMapMods = AnyLevel;
interpret.repeat = False;
interpret Caps_Lock+AnyOfOrNone(all) { action = LockMods(modifiers=Lock); };
interpret Any+AnyOf(all) { action = SetMods(modifiers=modMapMods,clearLocks); };
indicator "Caps Lock" { whichModState = locked; modifiers = Lock; };
};
"#;

const MODIFIERS: &str = r"modifier_map Shift { <K42>, <K54> };
modifier_map Lock { <K58> };
modifier_map Control { <K29>, <K97> };
modifier_map Mod1 { <K56>, <K100> };
modifier_map Mod4 { <K125>, <K126> };
};
};
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_keeps_its_code_until_all_are_taken() {
        let mut keymap = Keymap::default();
        let Place::New(first) = keymap.place('ä') else {
            panic!("new")
        };
        assert_eq!(keymap.place('ä'), Place::Known(first));
        assert!(keymap.text().contains(&format!(
            "key <K{first}> {{ type = \"ONE_LEVEL\", [ U00E4 ]"
        )));
        let count = keymap.spare.len();
        assert!(count > 40, "{count} spare codes");
        let others: Vec<char> = ('\u{400}'..).take(count - 1).collect();
        for other in &others {
            assert!(matches!(keymap.place(*other), Place::New(_)));
        }
        assert_eq!(keymap.place('ä'), Place::Known(first), "it was used lately");
        let Place::New(reused) = keymap.place('ß') else {
            panic!("new")
        };
        assert_ne!(reused, first, "the one unused longest gives way");
        assert_eq!(keymap.place('\u{7}'), Place::Nowhere);
    }

    #[test]
    fn braces_balance() {
        let text = Keymap::default().text();
        let count = |what| text.chars().filter(|it| *it == what).count();
        assert_eq!(count('{'), count('}'));
    }
}
