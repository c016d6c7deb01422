//! The host's pointer.

use net::client::ClientCursor;
use net::cursor::Visibility;

use super::session::{PunktfunkSession, call};
use super::{limit, write};
use crate::status::PunktfunkStatus;
use crate::types::{
    PUNKTFUNK_CURSOR_HIDDEN, PUNKTFUNK_CURSOR_PAINTED, PUNKTFUNK_CURSOR_SHOWN, PunktfunkCursor,
};

/// Waits until the host's pointer has changed, at most timeout_ms: where it is, what it looks like,
/// whether it is to be drawn. Of changes that nobody takes only the newest is kept.
/// PUNKTFUNK_STATUS_NO_CURSOR if the session was not agreed on with PUNKTFUNK_CONNECT_CURSOR.
/// cursor.pixels is valid until the next call of this function for the session that succeeds, and
/// until punktfunk_close. Before the first change there is no pointer to draw. One thread at a
/// time, as with punktfunk_next_unit.
///
/// # Safety
/// `session` was not closed; `cursor` is valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn punktfunk_next_cursor(
    session: *const PunktfunkSession,
    timeout_ms: u32,
    cursor: *mut PunktfunkCursor,
) -> PunktfunkStatus {
    // SAFETY: the caller's promise.
    unsafe {
        call(session, |session| {
            super::struct_size(cursor)?;
            let told = session.next_cursor(limit(timeout_ms), describe)?;
            write(cursor, &told)
        })
    }
}

fn describe(cursor: &ClientCursor) -> PunktfunkCursor {
    let (seen, pointer) = (&cursor.seen, cursor.seen.pointer);
    let shape = seen.shape.as_deref();
    let layout = shape.map(|shape| shape.layout());
    let (hotspot_x, hotspot_y) = layout.map_or((0, 0), |layout| layout.hotspot());
    PunktfunkCursor {
        struct_size: 0,
        shape: seen.number,
        received_ns: cursor.received.as_ns(),
        x: pointer.x,
        y: pointer.y,
        changed_us: seen.changed.0,
        output_width: pointer.output.0,
        output_height: pointer.output.1,
        width: layout.map_or(0, |layout| layout.width()),
        height: layout.map_or(0, |layout| layout.height()),
        hotspot_x,
        hotspot_y,
        visibility: match pointer.visibility {
            Visibility::Hidden => PUNKTFUNK_CURSOR_HIDDEN,
            Visibility::Shown => PUNKTFUNK_CURSOR_SHOWN,
            Visibility::Painted => PUNKTFUNK_CURSOR_PAINTED,
        },
        reserved: [0; 7],
        pixels: shape.map_or(std::ptr::null(), |shape| shape.pixels().as_ptr()),
    }
}
