//! The functions of libpipewire as jumps through addresses that are filled at run time.

#![allow(unsafe_code)]

use std::ffi::{CStr, c_void};
use std::io::Write;
use std::sync::atomic::{AtomicPtr, Ordering};

use pipewire::context::Context;

use super::LinkError;

/// The library's name since 0.3.
const LIBRARY: &CStr = c"libpipewire-0.3.so.0";

/// Where one of the functions lies.
struct Function {
    name: &'static CStr,
    address: &'static AtomicPtr<c_void>,
    /// Ours. Named so that the linker takes this file's code along, whatever order it looks in.
    _jump: unsafe extern "C" fn(),
}

/// Loads the library and fills every address, or none.
pub(super) fn fill() -> Result<(), LinkError> {
    // SAFETY: the name is a terminated string. Loading runs the library's constructors, which do
    // nothing that the process must be prepared for. It is never unloaded.
    let library = unsafe { libc::dlopen(LIBRARY.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
    if library.is_null() {
        return Err(LinkError::Library(last_error()));
    }
    let mut found = [std::ptr::null_mut(); FUNCTIONS.len()];
    for (address, function) in found.iter_mut().zip(&FUNCTIONS) {
        // SAFETY: a library that was just loaded and a terminated string.
        *address = unsafe { libc::dlsym(library, function.name.as_ptr()) };
        if address.is_null() {
            let name = function.name.to_str().unwrap_or_default();
            return Err(LinkError::Function(name));
        }
    }
    for (address, function) in found.into_iter().zip(&FUNCTIONS) {
        function.address.store(address, Ordering::Release);
    }
    Ok(())
}

/// `pw_context_load_module` of pipewire/impl-module.h, without properties.
pub(super) fn load_module(context: &Context, name: &CStr, arguments: &CStr) -> bool {
    // SAFETY: the context is alive and used on its loop's thread, as it cannot be sent; both texts
    // are terminated, and copied by whoever keeps them. The module is the context's.
    let module = unsafe {
        pipewire::sys::pw_context_load_module(
            context.as_raw_ptr(),
            name.as_ptr(),
            arguments.as_ptr(),
            std::ptr::null_mut(),
        )
    };
    !module.is_null()
}

fn last_error() -> String {
    // SAFETY: the message, if there is one, is a terminated string of this thread's, valid until
    // the next call of the family.
    let message = unsafe {
        let message = libc::dlerror();
        (!message.is_null()).then(|| CStr::from_ptr(message))
    };
    message.map_or_else(String::new, |text| text.to_string_lossy().into_owned())
}

/// What every address is at first. A call that gets here would have crashed the linker's way.
extern "C" fn missing() {
    let text = b"punktfunk: libpipewire was called before it was loaded; this is a bug\n";
    // Nothing can be done about an error of the last words.
    let _ = std::io::stderr().write_all(text);
    std::process::abort();
}

macro_rules! functions {
    ($($name:ident)*) => {
        const COUNT: usize = [$(stringify!($name)),*].len();

        static FUNCTIONS: [Function; COUNT] = [$(Function {
            name: match CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes()) {
                Ok(name) => name,
                Err(_) => panic!("a name has no zero"),
            },
            address: &slots::$name,
            _jump: $name,
        }),*];

        #[allow(non_upper_case_globals, reason = "each is named like its function")]
        mod slots {
            use super::{AtomicPtr, c_void};
            $(pub(super) static $name: AtomicPtr<c_void> =
                AtomicPtr::new(super::missing as *mut c_void);)*
        }

        $(
            // The symbol is the library's own, and nothing else in the executable has it. It keeps
            // every register and the stack as they are, so whatever the function's real signature
            // is, it gets its arguments and returns to its caller.
            #[cfg(target_arch = "x86_64")]
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name() {
                std::arch::naked_asm!(
                    "jmp qword ptr [rip + {slot}]",
                    slot = sym slots::$name,
                )
            }

            // As above; x16 is the register that calls may spoil (AAPCS64 section 6.1.1).
            #[cfg(target_arch = "aarch64")]
            #[unsafe(naked)]
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $name() {
                std::arch::naked_asm!(
                    "adrp x16, {slot}",
                    "ldr x16, [x16, :lo12:{slot}]",
                    "br x16",
                    slot = sym slots::$name,
                )
            }
        )*
    };
}

functions! {
    pw_init pw_deinit pw_main_loop_new pw_main_loop_destroy pw_main_loop_get_loop pw_main_loop_run
    pw_main_loop_quit pw_loop_new pw_loop_destroy pw_thread_loop_new pw_thread_loop_destroy
    pw_thread_loop_get_loop pw_thread_loop_start pw_thread_loop_stop pw_thread_loop_lock
    pw_thread_loop_unlock pw_thread_loop_wait pw_thread_loop_timed_wait pw_thread_loop_get_time
    pw_thread_loop_timed_wait_full pw_thread_loop_signal pw_thread_loop_accept
    pw_thread_loop_in_thread pw_context_new pw_context_destroy pw_context_connect
    pw_context_load_module
    pw_context_connect_fd pw_context_get_properties pw_context_update_properties
    pw_core_disconnect pw_proxy_add_listener pw_proxy_destroy pw_proxy_get_id pw_proxy_get_type
    pw_properties_new pw_properties_new_dict pw_properties_copy pw_properties_free
    pw_properties_clear pw_properties_get pw_properties_set pw_stream_new pw_stream_destroy
    pw_stream_add_listener pw_stream_get_state pw_stream_get_name pw_stream_get_core
    pw_stream_get_properties pw_stream_connect pw_stream_get_node_id pw_stream_disconnect
    pw_stream_set_error pw_stream_update_params pw_stream_set_control pw_stream_get_time_n
    pw_stream_dequeue_buffer pw_stream_queue_buffer pw_stream_set_active pw_stream_flush
    pw_stream_is_driving pw_stream_trigger_process pw_client_info_free pw_device_info_free
    pw_factory_info_free pw_link_info_free pw_module_info_free pw_node_info_free pw_port_info_free
}
