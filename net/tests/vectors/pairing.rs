//! Pairings with all that goes into them, so that another implementation can compute each message.

use net::identity::Fingerprint;
use net::native::Message;
use net::native::pairing::{
    Binding, ClientPairing, EXPORTER_BYTES, Entropy, HostPairing, PairingMessage,
};

use super::{Vectors, noise};

#[test]
fn pairings() {
    let mut file = Vectors::about(
        "Pairings; a secret is a side's scalar before it is reduced, channel the exporter's output.",
    );
    for (seed, pin, client_name, host_name) in [
        (31, "123456", "Küche", "host"),
        (41, "0007", "", "Wohnzimmer"),
    ] {
        let digest = |seed| -> [u8; 32] { noise(seed, 32).try_into().expect("32 bytes") };
        let channel: [u8; EXPORTER_BYTES] = digest(seed);
        let (client, host) = (digest(seed + 1), digest(seed + 2));
        let binding = Binding {
            client: Fingerprint::from(client),
            host: Fingerprint::from(host),
            channel,
        };
        let secret = |seed| Entropy::new(noise(seed, 48).try_into().expect("48 bytes"));
        let (x, y) = (secret(seed + 3), secret(seed + 4));
        let pin_text = pin;
        let pin = pin.parse().expect("a PIN");
        let (at_client, pa) = ClientPairing::begin(&pin, binding, &x).expect("a share");
        let (at_host, pb) = HostPairing::begin(&pin, &binding, &y, &pa).expect("a share");
        let (ca, expected) = at_client.handle_reply(&pb).expect("a confirmation");
        let cb = at_host.handle_confirm(&ca).expect("the same key");
        expected.check(&cb).expect("the same key");

        file.vector(format_args!("pairing {pin_text}"));
        file.bytes("pin", pin_text.as_bytes());
        file.bytes("client", &client);
        file.bytes("host", &host);
        file.bytes("channel", &channel);
        file.bytes("client-secret", &*x);
        file.bytes("host-secret", &*y);
        file.bytes("client-name", client_name.as_bytes());
        file.bytes("host-name", host_name.as_bytes());
        for (name, message) in [
            (
                "request",
                PairingMessage::Request {
                    share: pa,
                    name: client_name.to_owned(),
                },
            ),
            ("reply", PairingMessage::Reply { share: pb }),
            ("confirm", PairingMessage::Confirm { tag: ca }),
            (
                "done",
                PairingMessage::Done {
                    tag: cb,
                    host_name: host_name.to_owned(),
                },
            ),
        ] {
            let mut bytes = Vec::new();
            Message::Pairing(message).write(&mut bytes);
            file.bytes(name, &bytes);
        }
    }
    file.check("pairing.txt");
}
