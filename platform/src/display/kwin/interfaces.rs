//! KWin's output management as tables, for [`Link::send_untyped`](crate::capture::link::Link):
//! the generated code at hand ends at version 12, and modes of one's own came with version 18.
//!
//! Source: plasma-wayland-protocols 1.21, `kde-output-management-v2.xml` and
//! `kde-output-device-v2.xml` (MIT-CMU). A message's place in its table is its number on the wire,
//! so every message up to the version that is bound stands here, used or not.

use wayland_client::backend::protocol::{AllowNull, ArgumentType, Interface, MessageDesc};

use ArgumentType::{Int, NewId, Uint};

const TEXT: ArgumentType = ArgumentType::Str(AllowNull::No);
const OBJECT: ArgumentType = ArgumentType::Object(AllowNull::No);
const FIXED: ArgumentType = ArgumentType::Fixed;

/// Lists outputs, one `output` event for each (KWin 6.7; before, each is a global).
pub(super) static REGISTRY: Interface = Interface {
    name: "kde_output_device_registry_v2",
    version: 23,
    requests: &[plain("stop", 21, &[])],
    events: &[destructor("finished", 21), maker("output", 21, &DEVICE)],
    c_ptr: None,
};

/// An output.
pub(super) static DEVICE: Interface = Interface {
    name: "kde_output_device_v2",
    version: 23,
    requests: &[destructor("release", 21)],
    events: &[
        plain("geometry", 1, &[Int, Int, Int, Int, Int, TEXT, TEXT, Int]),
        about("current_mode", 1, &[OBJECT], &[&MODE]),
        maker("mode", 1, &MODE),
        plain("done", 1, &[]),
        plain("scale", 1, &[FIXED]),
        plain("edid", 1, &[TEXT]),
        plain("enabled", 1, &[Int]),
        plain("uuid", 1, &[TEXT]),
        plain("serial_number", 1, &[TEXT]),
        plain("eisa_id", 1, &[TEXT]),
        plain("capabilities", 1, &[Uint]),
        plain("overscan", 1, &[Uint]),
        plain("vrr_policy", 1, &[Uint]),
        plain("rgb_range", 1, &[Uint]),
        plain("name", 2, &[TEXT]),
        plain("high_dynamic_range", 3, &[Uint]),
        plain("sdr_brightness", 3, &[Uint]),
        plain("wide_color_gamut", 3, &[Uint]),
        plain("auto_rotate_policy", 4, &[Uint]),
        plain("icc_profile_path", 5, &[TEXT]),
        plain("brightness_metadata", 6, &[Uint, Uint, Uint]),
        plain("brightness_overrides", 6, &[Int, Int, Int]),
        plain("sdr_gamut_wideness", 6, &[Uint]),
        plain("color_profile_source", 7, &[Uint]),
        plain("brightness", 8, &[Uint]),
        plain("color_power_tradeoff", 10, &[Uint]),
        plain("dimming", 11, &[Uint]),
        plain("replication_source", 13, &[TEXT]),
        plain("ddc_ci_allowed", 14, &[Uint]),
        plain("max_bits_per_color", 15, &[Uint]),
        plain("max_bits_per_color_range", 15, &[Uint, Uint]),
        plain("automatic_max_bits_per_color_limit", 15, &[Uint]),
        plain("edr_policy", 16, &[Uint]),
        plain("sharpness", 17, &[Uint]),
        plain("priority", 18, &[Uint]),
        plain("auto_brightness", 20, &[Uint]),
        plain("removed", 21, &[]),
        plain("hdr_icc_profile_path", 22, &[TEXT]),
        plain("hdr_color_profile_source", 22, &[Uint]),
        plain("abm_level", 23, &[Uint]),
    ],
    c_ptr: None,
};

/// Numbers of a device's events.
pub(super) mod device_event {
    pub(crate) const CURRENT_MODE: u16 = 1;
    pub(crate) const MODE: u16 = 2;
    pub(crate) const DONE: u16 = 3;
    pub(crate) const CAPABILITIES: u16 = 10;
    pub(crate) const NAME: u16 = 14;
    pub(crate) const REMOVED: u16 = 36;
}

/// `kde_output_device_v2.capability.custom_modes`.
pub(super) const CAPABILITY_CUSTOM_MODES: u32 = 0x2000;

/// A mode of an output.
pub(super) static MODE: Interface = Interface {
    name: "kde_output_device_mode_v2",
    version: 23,
    requests: &[],
    events: &[
        plain("size", 1, &[Int, Int]),
        plain("refresh", 1, &[Int]),
        plain("preferred", 1, &[]),
        plain("removed", 1, &[]),
        plain("flags", 19, &[Uint]),
    ],
    c_ptr: None,
};

/// Numbers of a mode's events.
pub(super) mod mode_event {
    pub(crate) const SIZE: u16 = 0;
    pub(crate) const REFRESH: u16 = 1;
    pub(crate) const REMOVED: u16 = 3;
}

/// Makes configurations and lists of modes.
pub(super) static MANAGEMENT: Interface = Interface {
    name: "kde_output_management_v2",
    version: 21,
    requests: &[
        maker("create_configuration", 1, &CONFIGURATION),
        maker("create_mode_list", 18, &MODE_LIST),
    ],
    events: &[],
    c_ptr: None,
};

/// The first version with [`MODE_LIST`].
pub(super) const MANAGEMENT_WITH_MODES: u32 = 18;

/// Numbers of the management's requests.
pub(super) mod management_request {
    pub(crate) const CREATE_CONFIGURATION: u16 = 0;
    pub(crate) const CREATE_MODE_LIST: u16 = 1;
}

/// Changes that are made together. Requests after the last one that is used are left out.
pub(super) static CONFIGURATION: Interface = Interface {
    name: "kde_output_configuration_v2",
    version: 21,
    requests: &[
        about("enable", 1, &[OBJECT, Int], &[&DEVICE]),
        about("mode", 1, &[OBJECT, OBJECT], &[&DEVICE, &MODE]),
        about("transform", 1, &[OBJECT, Int], &[&DEVICE]),
        about("position", 1, &[OBJECT, Int, Int], &[&DEVICE]),
        about("scale", 1, &[OBJECT, FIXED], &[&DEVICE]),
        plain("apply", 1, &[]),
        destructor("destroy", 1),
        about("overscan", 1, &[OBJECT, Uint], &[&DEVICE]),
        about("set_vrr_policy", 1, &[OBJECT, Uint], &[&DEVICE]),
        about("set_rgb_range", 1, &[OBJECT, Uint], &[&DEVICE]),
        about("set_primary_output", 2, &[OBJECT], &[&DEVICE]),
        about("set_priority", 3, &[OBJECT, Uint], &[&DEVICE]),
        about("set_high_dynamic_range", 4, &[OBJECT, Uint], &[&DEVICE]),
        about("set_sdr_brightness", 4, &[OBJECT, Uint], &[&DEVICE]),
        about("set_wide_color_gamut", 4, &[OBJECT, Uint], &[&DEVICE]),
        about("set_auto_rotate_policy", 5, &[OBJECT, Uint], &[&DEVICE]),
        about("set_icc_profile_path", 6, &[OBJECT, TEXT], &[&DEVICE]),
        about(
            "set_brightness_overrides",
            7,
            &[OBJECT, Int, Int, Int],
            &[&DEVICE],
        ),
        about("set_sdr_gamut_wideness", 7, &[OBJECT, Uint], &[&DEVICE]),
        about("set_color_profile_source", 8, &[OBJECT, Uint], &[&DEVICE]),
        about("set_brightness", 9, &[OBJECT, Uint], &[&DEVICE]),
        about("set_color_power_tradeoff", 10, &[OBJECT, Uint], &[&DEVICE]),
        about("set_dimming", 11, &[OBJECT, Uint], &[&DEVICE]),
        about("set_replication_source", 13, &[OBJECT, TEXT], &[&DEVICE]),
        about("set_ddc_ci_allowed", 14, &[OBJECT, Uint], &[&DEVICE]),
        about("set_max_bits_per_color", 15, &[OBJECT, Uint], &[&DEVICE]),
        about("set_edr_policy", 16, &[OBJECT, Uint], &[&DEVICE]),
        about("set_sharpness", 17, &[OBJECT, Uint], &[&DEVICE]),
        about(
            "set_custom_modes",
            18,
            &[OBJECT, OBJECT],
            &[&DEVICE, &MODE_LIST],
        ),
    ],
    events: &[
        plain("applied", 1, &[]),
        plain("failed", 1, &[]),
        plain("failure_reason", 12, &[TEXT]),
    ],
    c_ptr: None,
};

/// Numbers of a configuration's requests.
pub(super) mod configuration_request {
    pub(crate) const ENABLE: u16 = 0;
    pub(crate) const MODE: u16 = 1;
    pub(crate) const SCALE: u16 = 4;
    pub(crate) const APPLY: u16 = 5;
    pub(crate) const DESTROY: u16 = 6;
    pub(crate) const SET_CUSTOM_MODES: u16 = 28;
}

/// Numbers of a configuration's events.
pub(super) mod configuration_event {
    pub(crate) const APPLIED: u16 = 0;
    pub(crate) const FAILED: u16 = 1;
    pub(crate) const FAILURE_REASON: u16 = 2;
}

/// A list of modes of one's own.
pub(super) static MODE_LIST: Interface = Interface {
    name: "kde_mode_list_v2",
    version: 21,
    requests: &[
        destructor("destroy", 1),
        plain("add_mode", 1, &[]),
        plain("set_resolution", 1, &[Uint, Uint]),
        plain("set_refresh_rate", 1, &[Uint]),
        plain("set_reduced_blanking", 1, &[Uint]),
    ],
    events: &[],
    c_ptr: None,
};

/// Numbers of a mode list's requests.
pub(super) mod mode_list_request {
    pub(crate) const DESTROY: u16 = 0;
    pub(crate) const ADD_MODE: u16 = 1;
    pub(crate) const SET_RESOLUTION: u16 = 2;
    pub(crate) const SET_REFRESH_RATE: u16 = 3;
    pub(crate) const SET_REDUCED_BLANKING: u16 = 4;
}

const fn plain(name: &'static str, since: u32, signature: &'static [ArgumentType]) -> MessageDesc {
    about(name, since, signature, &[])
}

const fn about(
    name: &'static str,
    since: u32,
    signature: &'static [ArgumentType],
    objects: &'static [&'static Interface],
) -> MessageDesc {
    MessageDesc {
        name,
        signature,
        since,
        is_destructor: false,
        child_interface: None,
        arg_interfaces: objects,
    }
}

const fn maker(name: &'static str, since: u32, child: &'static Interface) -> MessageDesc {
    MessageDesc {
        name,
        signature: &[NewId],
        since,
        is_destructor: false,
        child_interface: Some(child),
        arg_interfaces: &[],
    }
}

const fn destructor(name: &'static str, since: u32) -> MessageDesc {
    MessageDesc {
        name,
        signature: &[],
        since,
        is_destructor: true,
        child_interface: None,
        arg_interfaces: &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_name_the_messages() {
        let event = |interface: &Interface, at: u16| interface.events[usize::from(at)].name;
        let request = |interface: &Interface, at: u16| interface.requests[usize::from(at)].name;
        assert_eq!(event(&DEVICE, device_event::CURRENT_MODE), "current_mode");
        assert_eq!(event(&DEVICE, device_event::MODE), "mode");
        assert_eq!(event(&DEVICE, device_event::DONE), "done");
        assert_eq!(event(&DEVICE, device_event::CAPABILITIES), "capabilities");
        assert_eq!(event(&DEVICE, device_event::NAME), "name");
        assert_eq!(event(&DEVICE, device_event::REMOVED), "removed");
        assert_eq!(event(&MODE, mode_event::REMOVED), "removed");
        use configuration_request as asks;
        assert_eq!(request(&CONFIGURATION, asks::SCALE), "scale");
        assert_eq!(request(&CONFIGURATION, asks::DESTROY), "destroy");
        let last = request(&CONFIGURATION, asks::SET_CUSTOM_MODES);
        assert_eq!(last, "set_custom_modes");
        let list = request(&MODE_LIST, mode_list_request::SET_REDUCED_BLANKING);
        assert_eq!(list, "set_reduced_blanking");
    }
}
