//! The client's requests, taken apart: from here on [`State`] has to do with what they mean.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};

use wayland_protocols::wp::presentation_time::server::wp_presentation::{self, WpPresentation};
use wayland_protocols::wp::presentation_time::server::wp_presentation_feedback::{
    self, WpPresentationFeedback,
};
use wayland_protocols::xdg::shell::server::xdg_popup::{self, XdgPopup};
use wayland_protocols::xdg::shell::server::xdg_positioner::{self, XdgPositioner};
use wayland_protocols::xdg::shell::server::xdg_surface::{self, XdgSurface};
use wayland_protocols::xdg::shell::server::xdg_toplevel::{self, XdgToplevel};
use wayland_protocols::xdg::shell::server::xdg_wm_base::{self, XdgWmBase};
use wayland_server::backend::ClientId;
use wayland_server::protocol::wl_buffer::{self, WlBuffer};
use wayland_server::protocol::wl_callback::{self, WlCallback};
use wayland_server::protocol::wl_compositor::{self, WlCompositor};
use wayland_server::protocol::wl_keyboard::{self, WlKeyboard};
use wayland_server::protocol::wl_region::{self, WlRegion};
use wayland_server::protocol::wl_shm::{self, Format, WlShm};
use wayland_server::protocol::wl_shm_pool::{self, WlShmPool};
use wayland_server::protocol::wl_surface::{self, WlSurface};
use wayland_server::protocol::wl_touch::{self, WlTouch};
use wayland_server::{
    Client, DataInit, Dispatch, DisplayHandle, GlobalDispatch, New, Resource, WEnum,
};

use super::buffers::{self, Layout, NestSurface, Nonsense, POOL_BYTES_MAX};
use super::server::{Counted, State};

/// `CLOCK_MONOTONIC` of time.h.
const CLOCK_MONOTONIC: u32 = 1;

/// A pool is a file and the size that its owner promises; memory is mapped a buffer at a time.
pub(super) struct Pool {
    fd: Arc<OwnedFd>,
    bytes: Mutex<i32>,
    _counted: Counted,
}

/// A role, and the surface that has it.
pub(super) struct Role {
    surface: WlSurface,
    _counted: Counted,
}

macro_rules! global {
    ($interface:ty, $greet:expr) => {
        impl GlobalDispatch<$interface, ()> for State {
            fn bind(
                state: &mut Self,
                handle: &DisplayHandle,
                client: &Client,
                new: New<$interface>,
                (): &(),
                init: &mut DataInit<'_, Self>,
            ) {
                let greet: fn(&$interface) = $greet;
                greet(&init.init(new, state.counted(client, handle)));
            }
        }
    };
}

global!(WlCompositor, |_| {});
global!(XdgWmBase, |_| {});
global!(WpPresentation, |presentation| presentation
    .clock_id(CLOCK_MONOTONIC));
global!(WlShm, |shm| {
    shm.format(Format::Argb8888);
    shm.format(Format::Xrgb8888);
});

/// Objects of which nothing is wanted.
macro_rules! ignore {
    ($interface:ty, $module:ident) => {
        impl Dispatch<$interface, Counted> for State {
            fn request(
                _: &mut Self,
                _: &Client,
                _: &$interface,
                _: $module::Request,
                _: &Counted,
                _: &DisplayHandle,
                _: &mut DataInit<'_, Self>,
            ) {
            }
        }
    };
}

ignore!(WlRegion, wl_region);
ignore!(WlCallback, wl_callback);
ignore!(WpPresentationFeedback, wp_presentation_feedback);
ignore!(XdgPositioner, xdg_positioner);
ignore!(XdgPopup, xdg_popup);
ignore!(WlKeyboard, wl_keyboard);
ignore!(WlTouch, wl_touch);

impl Dispatch<WlCompositor, Counted> for State {
    fn request(
        state: &mut Self,
        client: &Client,
        _: &WlCompositor,
        request: wl_compositor::Request,
        _: &Counted,
        handle: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        let counted = state.counted(client, handle);
        match request {
            wl_compositor::Request::CreateSurface { id } => {
                let surface = init.init(id, counted);
                state.add_surface(surface);
            }
            wl_compositor::Request::CreateRegion { id } => {
                init.init(id, counted);
            }
            _ => {}
        }
    }
}

impl Dispatch<WlSurface, Counted> for State {
    fn request(
        state: &mut Self,
        client: &Client,
        surface: &WlSurface,
        request: wl_surface::Request,
        _: &Counted,
        handle: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        match request {
            wl_surface::Request::Attach { buffer, .. } => state.attach(surface, buffer),
            // One pixel of the surface is one of the buffer: wlroots sets no scale.
            wl_surface::Request::Damage {
                x,
                y,
                width,
                height,
            }
            | wl_surface::Request::DamageBuffer {
                x,
                y,
                width,
                height,
            } => state.damage(surface, [x, y, width, height]),
            wl_surface::Request::Frame { callback } => {
                let callback = init.init(callback, state.counted(client, handle));
                state.add_callback(surface, callback);
            }
            wl_surface::Request::Commit => state.commit(surface),
            _ => {}
        }
    }

    fn destroyed(state: &mut Self, _: ClientId, surface: &WlSurface, _: &Counted) {
        state.remove_surface(surface);
    }
}

impl Dispatch<WlShm, Counted> for State {
    fn request(
        state: &mut Self,
        client: &Client,
        shm: &WlShm,
        request: wl_shm::Request,
        _: &Counted,
        handle: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        if let wl_shm::Request::CreatePool { id, fd, size } = request {
            init.init(
                id,
                Pool {
                    fd: Arc::new(fd),
                    bytes: Mutex::new(size),
                    _counted: state.counted(client, handle),
                },
            );
            if !(1..=POOL_BYTES_MAX).contains(&size) {
                let text = format!("a pool of {size} bytes");
                shm.post_error(wl_shm::Error::InvalidStride, text);
            }
        }
    }
}

impl Dispatch<WlShmPool, Pool> for State {
    fn request(
        state: &mut Self,
        client: &Client,
        object: &WlShmPool,
        request: wl_shm_pool::Request,
        pool: &Pool,
        handle: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        let mut bytes = pool.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        match request {
            wl_shm_pool::Request::CreateBuffer {
                id,
                offset,
                width,
                height,
                stride,
                format,
            } => {
                let buffer = init.init(id, state.counted(client, handle));
                let figures = [offset, width, height, stride];
                match surface(state, pool, *bytes, figures, format) {
                    Ok(surface) => state.buffers.add(buffer, surface),
                    Err(nonsense) => refuse(object, nonsense, figures),
                }
            }
            wl_shm_pool::Request::Resize { size } => {
                if size >= *bytes && size <= POOL_BYTES_MAX {
                    *bytes = size;
                } else {
                    let text = format!("a pool of {bytes} bytes resized to {size}");
                    object.post_error(wl_shm::Error::InvalidFd, text);
                }
            }
            _ => {}
        }
    }
}

fn surface(
    state: &State,
    pool: &Pool,
    pool_bytes: i32,
    figures: [i32; 4],
    format: WEnum<Format>,
) -> Result<NestSurface, Nonsense> {
    if !matches!(format, WEnum::Value(format) if buffers::readable(format)) {
        return Err(Nonsense::Format);
    }
    let layout = Layout::new(figures, pool_bytes)?;
    if !state.buffers.has_room() {
        return Err(Nonsense::Number);
    }
    let has_alpha = format == WEnum::Value(Format::Argb8888);
    NestSurface::new(Arc::clone(&pool.fd), layout, has_alpha).map_err(|_| Nonsense::Memory)
}

fn refuse(pool: &WlShmPool, nonsense: Nonsense, figures: [i32; 4]) {
    let code = match nonsense {
        Nonsense::Format => wl_shm::Error::InvalidFormat,
        Nonsense::Geometry => wl_shm::Error::InvalidStride,
        Nonsense::Memory | Nonsense::Number => wl_shm::Error::InvalidFd,
    };
    let text = format!("{nonsense:?} of a buffer: offset, width, height, stride {figures:?}");
    pool.post_error(code, text);
}

impl Dispatch<WlBuffer, Counted> for State {
    fn request(
        _: &mut Self,
        _: &Client,
        _: &WlBuffer,
        _: wl_buffer::Request,
        _: &Counted,
        _: &DisplayHandle,
        _: &mut DataInit<'_, Self>,
    ) {
        // Its only request destroys it.
    }

    fn destroyed(state: &mut Self, _: ClientId, buffer: &WlBuffer, _: &Counted) {
        state.buffers.remove(buffer);
    }
}

impl Dispatch<WpPresentation, Counted> for State {
    fn request(
        state: &mut Self,
        client: &Client,
        _: &WpPresentation,
        request: wp_presentation::Request,
        _: &Counted,
        handle: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        if let wp_presentation::Request::Feedback { surface, callback } = request {
            let feedback = init.init(callback, state.counted(client, handle));
            state.add_feedback(&surface, feedback);
        }
    }
}

impl Dispatch<XdgWmBase, Counted> for State {
    fn request(
        state: &mut Self,
        client: &Client,
        _: &XdgWmBase,
        request: xdg_wm_base::Request,
        _: &Counted,
        handle: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        let _counted = state.counted(client, handle);
        match request {
            xdg_wm_base::Request::CreatePositioner { id } => {
                init.init(id, _counted);
            }
            xdg_wm_base::Request::GetXdgSurface { id, surface } => {
                init.init(id, Role { surface, _counted });
            }
            _ => {}
        }
    }
}

impl Dispatch<XdgSurface, Role> for State {
    fn request(
        state: &mut Self,
        client: &Client,
        object: &XdgSurface,
        request: xdg_surface::Request,
        role: &Role,
        handle: &DisplayHandle,
        init: &mut DataInit<'_, Self>,
    ) {
        let _counted = state.counted(client, handle);
        match request {
            xdg_surface::Request::GetToplevel { id } => {
                let surface = role.surface.clone();
                let toplevel = init.init(id, Role { surface, _counted });
                state.add_toplevel(&role.surface, (object.clone(), toplevel));
            }
            xdg_surface::Request::GetPopup { id, .. } => {
                init.init(id, _counted);
            }
            _ => {}
        }
    }
}

impl Dispatch<XdgToplevel, Role> for State {
    fn request(
        _: &mut Self,
        _: &Client,
        _: &XdgToplevel,
        _: xdg_toplevel::Request,
        _: &Role,
        _: &DisplayHandle,
        _: &mut DataInit<'_, Self>,
    ) {
        // Titles and wishes; the window has the size that we say.
    }

    fn destroyed(state: &mut Self, _: ClientId, _: &XdgToplevel, role: &Role) {
        state.remove_toplevel(&role.surface);
    }
}
