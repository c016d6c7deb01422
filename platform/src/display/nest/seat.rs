//! The seat of a display whose pictures have no pointer: it learns what the pointer looks like.
//!
//! wlroots gives its cursor to the compositor that it runs in, as any client does
//! (`wl_pointer.set_cursor`, with a surface that was committed before), once that compositor's
//! pointer has entered its window; from the first commit on it paints none itself. So our pointer
//! enters, and that is all that it ever does. Each motion of it would move the cursor inside, which
//! is the injector's; and of the cursor's own moves wlroots tells nothing here
//! (backend/wayland/output.c, `output_move_cursor`), which is why they are reckoned
//! ([`crate::cursor::reckoned`]).
//!
//! Where the client takes its cursor back, because somebody inside records the screen with it for
//! one, it says so with an empty surface, and paints it: told as hidden, it is not drawn twice.

use wayland_server::backend::ClientId;
use wayland_server::protocol::wl_pointer::{self, WlPointer};
use wayland_server::protocol::wl_seat::{self, Capability, WlSeat};
use wayland_server::protocol::wl_surface::WlSurface;
use wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource as _,
};

use gpu::frame::Size;

use super::buffers::Image;
use super::server::{Counted, State};
use crate::cursor::reckoned::ReckonedPointer;
use crate::cursor::shape;

/// What wlroots binds (0.15 to 0.17, backend/wayland/backend.c).
pub(super) const SEAT_VERSION: u32 = 5;
/// Of the one enter event; not 0, which wlroots takes for none.
const ENTER_SERIAL: u32 = 1;

/// See the module.
pub(super) struct Seat {
    pointer: ReckonedPointer,
    /// The client's, and whether each has entered.
    objects: Vec<(WlPointer, bool)>,
    /// The surface that is the cursor, and its pixel at the pointer's place.
    cursor: Option<(WlSurface, (i32, i32))>,
    /// What was committed last to a surface that is no window, and to which.
    image: Option<(WlSurface, Image)>,
    /// Any of that is another than was told.
    is_news: bool,
}

impl Seat {
    pub(super) fn new(pointer: ReckonedPointer) -> Self {
        Self {
            pointer,
            objects: Vec::new(),
            cursor: None,
            image: None,
            is_news: false,
        }
    }

    /// The output has that size.
    pub(super) fn set_output(&self, size: Size) {
        self.pointer.set_output(size);
    }

    /// Enters the output's window with each pointer that has not; to be called once the client has
    /// drawn there and been answered, when it knows window and pointer.
    pub(super) fn enter(&mut self, output: &WlSurface) {
        for (pointer, has_entered) in &mut self.objects {
            if !std::mem::replace(has_entered, true) {
                pointer.enter(ENTER_SERIAL, output, 0.0, 0.0);
                pointer.frame();
            }
        }
    }

    /// The surface has these pixels from now on.
    pub(super) fn commit(&mut self, surface: &WlSurface, image: Option<Image>) {
        match image {
            Some(image) => self.image = Some((surface.clone(), image)),
            None => drop(self.image.take_if(|(owner, _)| owner == surface)),
        }
        self.is_news = true;
    }

    /// There is no such surface any more.
    pub(super) fn remove_surface(&mut self, surface: &WlSurface, was_output: bool) {
        let images = self.image.take_if(|(owner, _)| owner == surface).is_some();
        let cursors = self.cursor.take_if(|(owner, _)| owner == surface).is_some();
        self.is_news |= images || cursors;
        if was_output {
            let objects = self.objects.iter_mut();
            objects.for_each(|(_, has_entered)| *has_entered = false);
        }
    }

    /// Tells what the pointer looks like by now: after all requests that came together, because
    /// pixels and hotspot come in two.
    pub(super) fn tell(&mut self) {
        if !std::mem::take(&mut self.is_news) {
            return;
        }
        let shape = match (&self.cursor, &self.image) {
            (Some((surface, hotspot)), Some((owner, image))) if surface == owner => {
                shape::trimmed(&image.pixels, image.row_bytes(), image.sides(), *hotspot)
            }
            _ => None,
        };
        self.pointer.set_shape(shape);
    }

    fn set_cursor(&mut self, serial: u32, cursor: Option<(WlSurface, (i32, i32))>) {
        if serial == ENTER_SERIAL {
            self.cursor = cursor;
            self.is_news = true;
        }
    }
}

impl GlobalDispatch<WlSeat, ()> for State {
    fn bind(
        state: &mut Self,
        handle: &DisplayHandle,
        client: &Client,
        new: New<WlSeat>,
        (): &(),
        init: &mut DataInit<'_, Self>,
    ) {
        let seat = init.init(new, state.counted(client, handle));
        seat.capabilities(Capability::Pointer);
        if seat.version() >= wl_seat::EVT_NAME_SINCE {
            seat.name("seat0".to_owned());
        }
    }
}

impl Dispatch<WlSeat, Counted> for State {
    fn request(
        state: &mut Self,
        client: &Client,
        seat: &WlSeat,
        request: wl_seat::Request,
        _: &Counted,
        handle: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        let counted = state.counted(client, handle);
        match request {
            wl_seat::Request::GetPointer { id } => {
                let pointer = init.init(id, counted);
                if let Some(seat) = &mut state.seat {
                    seat.objects.push((pointer, false));
                }
            }
            wl_seat::Request::GetKeyboard { id } => {
                init.init(id, counted);
                lacks(seat, "keyboard");
            }
            wl_seat::Request::GetTouch { id } => {
                init.init(id, counted);
                lacks(seat, "touch screen");
            }
            _ => {}
        }
    }
}

fn lacks(seat: &WlSeat, what: &str) {
    seat.post_error(
        wl_seat::Error::MissingCapability,
        format!("the seat has no {what}"),
    );
}

impl Dispatch<WlPointer, Counted> for State {
    fn request(
        state: &mut Self,
        _: &Client,
        _: &WlPointer,
        request: wl_pointer::Request,
        _: &Counted,
        _: &DisplayHandle,
        _: &mut DataInit<'_, Self>,
    ) {
        if let wl_pointer::Request::SetCursor {
            serial,
            surface,
            hotspot_x,
            hotspot_y,
        } = request
            && let Some(seat) = &mut state.seat
        {
            let cursor = surface.map(|surface| (surface, (hotspot_x, hotspot_y)));
            seat.set_cursor(serial, cursor);
        }
    }

    fn destroyed(state: &mut Self, _: ClientId, pointer: &WlPointer, _: &Counted) {
        if let Some(seat) = &mut state.seat {
            seat.objects.retain(|(object, _)| object != pointer);
        }
    }
}
