//! From what a user types to an address.

use std::io::{Error, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};

/// The first address of `host`: a name or address, with `:PORT` if it is not `default_port`.
/// Asks the system's resolver, which may take seconds.
///
/// # Errors
/// The resolver's.
pub fn resolve(host: &str, default_port: u16) -> Result<SocketAddr, Error> {
    let with_port = match host.parse::<IpAddr>() {
        Ok(address) => return Ok(SocketAddr::new(address, default_port)),
        Err(_) if host.contains(':') => host.to_owned(),
        Err(_) => format!("{host}:{default_port}"),
    };
    with_port
        .to_socket_addrs()?
        .next()
        .ok_or_else(|| Error::new(ErrorKind::NotFound, "its name has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_no_resolver() {
        let at = |host| resolve(host, 9777).map(|address| address.to_string());
        for (host, address) in [
            ("192.0.2.1", "192.0.2.1:9777"),
            ("192.0.2.1:80", "192.0.2.1:80"),
            ("2001:db8::1", "[2001:db8::1]:9777"),
            ("[2001:db8::1]:80", "[2001:db8::1]:80"),
        ] {
            assert_eq!(at(host).expect("an address"), address);
        }
        assert!(at("192.0.2.1:port").is_err());
    }
}
