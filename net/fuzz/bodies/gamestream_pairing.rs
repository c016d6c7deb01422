//! Commands for the pairing machine: clients that do not know the PIN do what they like, while an
//! operator enters PINs and time passes.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::OnceLock;
use std::time::Duration;

use net::gamestream::nvhttp::{PairStep, UniqueId};
use net::gamestream::pairing::{
    Asker, PAIRINGS_MAX, PairError, PairingEnd, PairingId, PairingIdentity, PairingRandom,
    Pairings, STEPS_TIMEOUT, StepAnswer,
};
use net::units::Timestamp;

/// What was reached, so that tests can tell that something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    pub begun: usize,
    pub answered: usize,
    pub wrong: usize,
    pub timed_out: usize,
}

/// Four bytes are a command: what, who, which, when.
pub fn run(data: &[u8]) -> Reached {
    let [host, certificates @ ..] = identities();
    let mut pairings = Pairings::new(host.clone());
    let mut reached = Reached::default();
    let mut now = Timestamp::from_ns(1);
    let mut begun = BTreeSet::new();
    let mut ended = BTreeSet::new();
    for command in data.chunks_exact(4) {
        let &[what, who, which, when] = command else {
            unreachable!("chunks of four")
        };
        now = now + Duration::from_millis(u64::from(when) * u64::from(when));
        let asker = Asker {
            client: UniqueId::new(["a", "b"][usize::from(who & 1)]).expect("valid"),
            address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, who >> 1 & 3)),
        };
        let id = PairingId(u32::from(which));
        match what % 7 {
            0 => {
                let pem = certificates[usize::from(which) % certificates.len()].certificate_pem();
                let random = PairingRandom {
                    secret: [which; 16],
                    challenge: [when; 16],
                };
                let result = pairings.handle_begin(now, asker, [who; 16], pem, random);
                if let Ok(id) = result {
                    assert!(begun.insert(id), "a number is never used twice");
                    reached.begun += 1;
                }
            }
            1 => {
                let pin = format!("{:04}", u32::from(which) * 37 % 10_000);
                let named = (who & 8 != 0).then_some(id);
                // Whoever was not waiting is told so.
                let _ = pairings.enter_pin(now, named, &pin.parse().expect("four digits"));
            }
            what @ 2..=4 => {
                let step = match what {
                    2 => PairStep::ClientChallenge([which; 16]),
                    3 => PairStep::ServerChallengeResponse([which; 32]),
                    _ => PairStep::ClientPairingSecret {
                        secret: [which; 16],
                        signature: vec![when; usize::from(which)],
                    },
                };
                match pairings.handle_step(now, &asker, &step) {
                    Ok(StepAnswer::Paired { .. }) => panic!("a stranger is paired"),
                    Ok(_) => reached.answered += 1,
                    Err(PairError::WrongPin) => reached.wrong += 1,
                    Err(_) => {}
                }
            }
            5 => pairings.handle_unpair(now, &asker),
            _ => pairings.handle_abandoned(now, id),
        }
        pairings.handle_timeout(now);
        assert!(pairings.waiting().count() <= PAIRINGS_MAX);
        assert!(pairings.poll_timeout().is_none_or(|at| at > now));
        while let Some(event) = pairings.poll_event() {
            assert!(
                begun.contains(&event.id) && ended.insert(event.id),
                "one end each"
            );
            assert_ne!(event.end, PairingEnd::Paired);
            reached.timed_out += usize::from(event.end == PairingEnd::TimedOut);
        }
        assert!(begun.len() - ended.len() <= PAIRINGS_MAX);
    }
    // Nothing outlives its time.
    pairings.handle_timeout(now + Duration::from_secs(3600) + STEPS_TIMEOUT);
    assert_eq!(pairings.poll_timeout(), None);
    reached
}

/// A host's and three clients'; RSA keys take their time.
fn identities() -> &'static [PairingIdentity; 4] {
    static IDENTITIES: OnceLock<[PairingIdentity; 4]> = OnceLock::new();
    IDENTITIES
        .get_or_init(|| std::array::from_fn(|_| PairingIdentity::generate().expect("an identity")))
}
