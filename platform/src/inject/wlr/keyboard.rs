//! Our keyboard: keys with their modifiers, and text.

use std::io;
use std::os::fd::AsFd;

use net::input::{KeyEvent, Modifiers};
use rustix::fs::{MemfdFlags, memfd_create};
use wayland_client::protocol::wl_keyboard::KeymapFormat;
use wayland_protocols_misc::zwp_virtual_keyboard_v1::client::zwp_virtual_keyboard_v1::ZwpVirtualKeyboardV1;

use super::super::{Injected, keys};
use super::keymap::{Keymap, Place, modifier};

/// States of a key (`wl_keyboard.key_state`).
const RELEASED: u32 = 0;
const PRESSED: u32 = 1;

/// The keyboard and what is down on it.
pub(super) struct Keyboard {
    proxy: ZwpVirtualKeyboardV1,
    keymap: Keymap,
    /// By code of the kernel.
    down: [bool; 256],
    is_locked: bool,
    /// What the compositor was told last.
    told: (u32, u32),
}

impl Keyboard {
    pub(super) fn new(proxy: ZwpVirtualKeyboardV1) -> io::Result<Self> {
        let keyboard = Self {
            proxy,
            keymap: Keymap::default(),
            down: [false; 256],
            is_locked: false,
            told: (0, 0),
        };
        keyboard.upload()?;
        Ok(keyboard)
    }

    /// A key by its place on the American keyboard.
    pub(super) fn key(&mut self, time_ms: u32, key: &KeyEvent) -> Injected {
        let Some(code) = keys::code(key.virtual_key) else {
            return Injected::Unsupported;
        };
        let was_down = std::mem::replace(&mut self.down[usize::from(code)], key.pressed);
        if key.pressed && !was_down && code == CAPS_LOCK {
            self.is_locked = !self.is_locked;
        }
        // What a client says is held counts while it presses a key, though no key of ours is down:
        // keyboards on screens have Shift without a key.
        let said = if key.pressed { bits(key.modifiers) } else { 0 };
        self.tell(self.held() | said, self.lock());
        if key.pressed != was_down {
            let state = if key.pressed { PRESSED } else { RELEASED };
            self.proxy.key(time_ms, code.into(), state);
        }
        Injected::Done
    }

    /// Text, whatever is held: it is typed without any modifier but its own Shift.
    pub(super) fn text(&mut self, time_ms: u32, text: &str) -> io::Result<()> {
        // All new characters in one keymap; there are fewer in an event than spare codes.
        let mut is_new = false;
        for character in text.chars() {
            if keys::of_character(character).is_none() {
                is_new |= matches!(self.keymap.place(character), Place::New(_));
            }
        }
        if is_new {
            self.upload()?;
        }
        for character in text.chars() {
            let (code, shift) = match keys::of_character(character) {
                Some(place) => place,
                None => match self.keymap.place(character) {
                    Place::Known(code) | Place::New(code) => (code, false),
                    Place::Nowhere => continue,
                },
            };
            self.tell(if shift { modifier::SHIFT } else { 0 }, 0);
            // A key that is down must come up, or its press would tell nothing.
            if std::mem::take(&mut self.down[usize::from(code)]) {
                self.proxy.key(time_ms, code.into(), RELEASED);
            }
            self.proxy.key(time_ms, code.into(), PRESSED);
            self.proxy.key(time_ms, code.into(), RELEASED);
        }
        self.tell(self.held(), self.lock());
        Ok(())
    }

    pub(super) fn release_all(&mut self, time_ms: u32) {
        for code in 0..=u8::MAX {
            if std::mem::take(&mut self.down[usize::from(code)]) {
                self.proxy.key(time_ms, code.into(), RELEASED);
            }
        }
        self.is_locked = false;
        self.tell(0, 0);
    }

    pub(super) fn destroy(&self) {
        self.proxy.destroy();
    }

    fn held(&self) -> u32 {
        let any = |codes: [usize; 2]| codes.iter().any(|&code| self.down[code]);
        [
            (any([42, 54]), modifier::SHIFT),
            (any([29, 97]), modifier::CONTROL),
            (any([56, 100]), modifier::ALT),
            (any([125, 126]), modifier::LOGO),
        ]
        .iter()
        .filter(|(held, _)| *held)
        .fold(0, |all, (_, bit)| all | bit)
    }

    const fn lock(&self) -> u32 {
        if self.is_locked { modifier::LOCK } else { 0 }
    }

    fn tell(&mut self, depressed: u32, locked: u32) {
        if self.told != (depressed, locked) {
            self.told = (depressed, locked);
            self.proxy.modifiers(depressed, 0, locked, 0);
        }
    }

    fn upload(&self) -> io::Result<()> {
        let mut text = self.keymap.text().into_bytes();
        text.push(0);
        let memory = memfd_create("punktfunk-keymap", MemfdFlags::CLOEXEC)?;
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            let written = rustix::io::write(&memory, rest)?;
            rest = &rest[written..];
        }
        let bytes = u32::try_from(text.len()).expect("some kilobytes");
        self.proxy
            .keymap(KeymapFormat::XkbV1.into(), memory.as_fd(), bytes);
        Ok(())
    }
}

const CAPS_LOCK: u8 = 58;

fn bits(modifiers: Modifiers) -> u32 {
    let Modifiers {
        shift,
        control,
        alt,
        logo,
    } = modifiers;
    [
        (shift, modifier::SHIFT),
        (control, modifier::CONTROL),
        (alt, modifier::ALT),
        (logo, modifier::LOGO),
    ]
    .iter()
    .filter(|(held, _)| *held)
    .fold(0, |all, (_, bit)| all | bit)
}
