//! How clients find a host by themselves: multicast DNS, service `_nvstream._tcp`; and how they
//! wake it.
//!
//! The responder is `mdns-sd`, a thread of its own with blocking sockets. Where it cannot work (no
//! multicast, port 5353 held exclusively) clients are told the address by their user.

use std::fs;
use std::net::IpAddr;

use mdns_sd::{ServiceDaemon, ServiceInfo};

const SERVICE: &str = "_nvstream._tcp.local.";
/// Longest label of a name (RFC 1035 section 2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// An announcement, withdrawn when dropped.
pub(super) struct Announcement {
    daemon: ServiceDaemon,
    name: String,
}

impl Announcement {
    /// Begins to answer. `None` where nobody beyond this machine could connect, or where it does
    /// not work, which the log tells.
    pub(super) fn start(
        name: &str,
        unique_id: &str,
        bind: Option<IpAddr>,
        port: u16,
    ) -> Option<Self> {
        if bind.is_some_and(|ip| ip.is_loopback()) {
            return None;
        }
        match Self::try_start(name, unique_id, bind, port) {
            Ok(announcement) => Some(announcement),
            Err(error) => {
                log::warn!(
                    "clients will not find this host by themselves ({error}); tell them its address"
                );
                None
            }
        }
    }

    fn try_start(
        name: &str,
        unique_id: &str,
        bind: Option<IpAddr>,
        port: u16,
    ) -> Result<Self, mdns_sd::Error> {
        // Not the machine's own name: that may be announced already, with other addresses.
        let host = format!("punktfunk-{}.local.", unique_id.to_lowercase());
        let addresses = bind.map(|ip| ip.to_string()).unwrap_or_default();
        let none: &[(&str, &str)] = &[];
        let mut info = ServiceInfo::new(SERVICE, &label(name), &host, &*addresses, port, none)?;
        if bind.is_none() {
            info = info.enable_addr_auto();
        }
        let name = info.get_fullname().to_owned();
        let daemon = ServiceDaemon::new()?;
        daemon.register(info)?;
        Ok(Self { daemon, name })
    }
}

impl Drop for Announcement {
    fn drop(&mut self) {
        // Clients forget a host that says goodbye at once, another one after two minutes. The
        // daemon sends what it was told before it ends.
        let _ = self.daemon.unregister(&self.name);
        let _ = self.daemon.shutdown();
    }
}

/// A name as one label: no dots, not too long.
fn label(name: &str) -> String {
    let mut label = name.replace('.', "-");
    while label.len() > LABEL_BYTES_MAX {
        label.pop();
    }
    label
}

/// The hardware address of the interface with the default route, for Wake-on-LAN.
pub(super) fn hardware_address() -> Option<[u8; 6]> {
    let routes = fs::read_to_string("/proc/net/route").ok()?;
    let interface = default_interface(&routes)?;
    let text = fs::read_to_string(format!("/sys/class/net/{interface}/address")).ok()?;
    let mut address = [0; 6];
    let mut parts = text.trim().split(':');
    for byte in &mut address {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(address)
}

/// Name, destination, … (Linux, `fib_route_seq_show`): the one with destination 0.
fn default_interface(routes: &str) -> Option<&str> {
    routes.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        let name = columns.next()?;
        (columns.next()? == "00000000" && !name.contains('/')).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_route_names_the_interface() {
        let routes = "Iface\tDestination\tGateway\neth1\t0002000A\t00000000\n\
                      eth0\t00000000\t0102000A\n";
        assert_eq!(default_interface(routes), Some("eth0"));
        assert_eq!(default_interface("Iface\tDestination\n"), None);
    }

    #[test]
    fn names_become_labels() {
        assert_eq!(label("den.example.org"), "den-example-org");
        assert_eq!(label(&"ä".repeat(40)).len(), 62);
    }
}
