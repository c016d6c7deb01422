//! The machine against a client written here, from the clients' side of the protocol.

use std::net::Ipv4Addr;

use boring::asn1::Asn1Time;
use boring::hash::MessageDigest;
use boring::pkey::{PKey, Private};
use boring::rsa::Rsa;
use boring::sha::sha256;
use boring::sign::{Signer, Verifier};
use boring::symm::{Cipher, Crypter, Mode};
use boring::x509::{X509, X509NameBuilder};

use super::*;
use crate::seeded::Seeded;

/// A Moonlight: its certificate, and what it remembers of the pairing under way.
struct Client {
    asker: Asker,
    certificate: X509,
    key: PKey<Private>,
    random: Seeded,
    salt: [u8; 16],
    pin: String,
    challenge: [u8; 16],
    secret: [u8; 16],
    host_hash: Vec<u8>,
}

impl Client {
    fn new(seed: u64, address: u8) -> Self {
        Self::with_key(seed, address, Rsa::generate(2048).expect("a key"))
    }

    fn with_key(seed: u64, address: u8, key: Rsa<Private>) -> Self {
        let key = PKey::from_rsa(key).expect("a key");
        let mut name = X509NameBuilder::new().expect("a name");
        name.append_entry_by_text("CN", "NVIDIA GameStream Client")
            .expect("a name");
        let name = name.build();
        let mut builder = X509::builder().expect("a builder");
        builder.set_subject_name(&name).expect("a name");
        builder.set_issuer_name(&name).expect("a name");
        builder.set_pubkey(&key).expect("a key");
        let ever = |days| Asn1Time::days_from_now(days).expect("a time");
        builder.set_not_before(&ever(0)).expect("a time");
        builder.set_not_after(&ever(7300)).expect("a time");
        builder
            .sign(&key, MessageDigest::sha256())
            .expect("a signature");
        Self {
            asker: Asker {
                client: UniqueId::new("0123456789ABCDEF").expect("valid"),
                address: IpAddr::V4(Ipv4Addr::new(192, 0, 2, address)),
            },
            certificate: builder.build(),
            key,
            random: Seeded(seed),
            salt: [0; 16],
            pin: String::new(),
            challenge: [0; 16],
            secret: [0; 16],
            host_hash: Vec::new(),
        }
    }

    fn pem(&self) -> Vec<u8> {
        self.certificate.to_pem().expect("PEM")
    }

    fn bytes(&mut self) -> [u8; 16] {
        (u128::from(self.random.bits()) << 64 | u128::from(self.random.bits())).to_be_bytes()
    }

    fn crypt<const N: usize>(&self, mode: Mode, input: [u8; N]) -> [u8; N] {
        let digest = sha256(&[&self.salt[..], self.pin.as_bytes()].concat());
        let mut crypter =
            Crypter::new(Cipher::aes_128_ecb(), mode, &digest[..16], None).expect("a cipher");
        crypter.pad(false);
        let mut output = vec![0; N + 16];
        let mut written = crypter.update(&input, &mut output).expect("whole blocks");
        written += crypter
            .finalize(&mut output[written..])
            .expect("no padding");
        output[..written].try_into().expect("as long as before")
    }

    /// Step 1. The PIN is what its screen shows.
    fn begin(&mut self, host: &mut Pairings, at: Timestamp, pin: &str) -> PairingId {
        self.try_begin(host, at, pin).expect("begun")
    }

    fn try_begin(
        &mut self,
        host: &mut Pairings,
        at: Timestamp,
        pin: &str,
    ) -> Result<PairingId, PairError> {
        self.salt = self.bytes();
        pin.clone_into(&mut self.pin);
        let random = PairingRandom {
            secret: self.bytes(),
            challenge: self.bytes(),
        };
        host.handle_begin(at, self.asker.clone(), self.salt, &self.pem(), random)
    }

    fn challenge(&mut self) -> PairStep {
        self.challenge = self.bytes();
        PairStep::ClientChallenge(self.crypt(Mode::Encrypt, self.challenge))
    }

    fn respond(&mut self, answer: &StepAnswer) -> PairStep {
        let StepAnswer::ChallengeResponse(sealed) = answer else {
            panic!("{answer:?}");
        };
        let opened = self.crypt(Mode::Decrypt, *sealed);
        self.host_hash = opened[..32].to_vec();
        self.secret = self.bytes();
        let signature = self.certificate.signature().as_slice().to_vec();
        let hash = sha256(&[&opened[32..], &signature, &self.secret].concat());
        PairStep::ServerChallengeResponse(self.crypt(Mode::Encrypt, hash))
    }

    /// What it has learned from the host's secret: does the host own its certificate, and does it
    /// know the PIN?
    fn judge(&self, answer: &StepAnswer, host_pem: &[u8]) -> (bool, bool) {
        let StepAnswer::Secret(bytes) = answer else {
            panic!("{answer:?}");
        };
        let (secret, signature) = bytes.split_at(16);
        let host = X509::from_pem(host_pem).expect("a certificate");
        let key = host.public_key().expect("a key");
        let mut verifier = Verifier::new(MessageDigest::sha256(), &key).expect("a verifier");
        verifier.update(secret).expect("bytes");
        let owned = verifier.verify(signature).expect("a signature");
        let signature = host.signature().as_slice();
        let hash = sha256(&[&self.challenge[..], signature, secret].concat());
        (owned, hash.as_slice() == self.host_hash)
    }

    fn prove(&self) -> PairStep {
        let mut signer = Signer::new(MessageDigest::sha256(), &self.key).expect("a signer");
        signer.update(&self.secret).expect("bytes");
        PairStep::ClientPairingSecret {
            secret: self.secret,
            signature: signer.sign_to_vec().expect("a signature"),
        }
    }

    /// Steps 2 to 4; gives up where stock clients do.
    fn finish(&mut self, host: &mut Pairings, at: Timestamp) -> Result<StepAnswer, PairError> {
        let step = self.challenge();
        let answer = host.handle_step(at, &self.asker, &step)?;
        let step = self.respond(&answer);
        let answer = host.handle_step(at, &self.asker, &step)?;
        let (owned, known) = self.judge(&answer, host.certificate_pem());
        assert!(owned, "a host owns its certificate");
        if !known {
            host.handle_unpair(at, &self.asker);
            return Err(PairError::WrongPin);
        }
        host.handle_step(at, &self.asker, &self.prove())
    }
}

fn host() -> Pairings {
    Pairings::new(PairingIdentity::generate().expect("an identity"))
}

fn at(ms: u64) -> Timestamp {
    Timestamp::from_ns(1 + ms * 1_000_000)
}

fn pin(text: &str) -> Pin {
    text.parse().expect("a PIN")
}

fn ends(host: &mut Pairings) -> Vec<(PairingId, PairingEnd)> {
    std::iter::from_fn(|| host.poll_event())
        .map(|ended| (ended.id, ended.end))
        .collect()
}

fn assert_paired(result: Result<StepAnswer, PairError>, client: &Client) {
    match result {
        Ok(StepAnswer::Paired { certificate, .. }) => assert_eq!(certificate.pem(), client.pem()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_key_is_that_of_every_client() {
    // SHA-256 and AES of Python's hashlib and cryptography.
    let salt = std::array::from_fn(|i| i as u8);
    let key = crypto::key(&salt, b"1234");
    assert_eq!(hex(&*key), "bad0b4f7cae08eb7c1b5acc763a8ed25");
    let plain: [u8; 32] = std::array::from_fn(|i| i as u8);
    let sealed = crypto::encrypt(&key, &plain).expect("sealed");
    assert_eq!(
        hex(&sealed),
        "8d56172f328d219f60ce0e37f39538425febcdc985b2baddd65925da162380eb"
    );
    assert_eq!(crypto::decrypt(&key, &sealed).expect("opened"), plain);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn fifty_pairings_in_a_row_succeed() {
    let mut host = host();
    let mut client = Client::new(1, 1);
    for n in 0..50 {
        let pin_text = format!("{:04}", n * 197 % 10_000);
        let id = client.begin(&mut host, at(n), &pin_text);
        assert_eq!(host.waiting().map(|it| it.id).collect::<Vec<_>>(), [id]);
        assert_eq!(host.enter_pin(at(n), None, &pin(&pin_text)), Ok(id));
        let result = client.finish(&mut host, at(n));
        assert_paired(result, &client);
        assert_eq!(ends(&mut host), [(id, PairingEnd::Paired)]);
        assert_eq!(host.poll_timeout(), None);
    }
}

#[test]
fn a_wrong_pin_is_one_guess() {
    let mut host = host();
    let mut client = Client::new(2, 1);
    let id = client.begin(&mut host, at(0), "1234");
    host.enter_pin(at(0), Some(id), &pin("1235"))
        .expect("taken");
    assert_eq!(client.finish(&mut host, at(0)), Err(PairError::WrongPin));
    assert_eq!(ends(&mut host), [(id, PairingEnd::WrongPin)]);
    // The PIN of a pairing cannot be entered again, and no step goes on.
    assert_eq!(
        host.enter_pin(at(0), Some(id), &pin("1234")),
        Err(PinError::NotWaiting(id))
    );
    let step = client.challenge();
    assert_eq!(
        host.handle_step(at(0), &client.asker, &step),
        Err(PairError::OutOfOrder)
    );
}

/// A client that goes on although it knows that the PIN was wrong.
#[test]
fn a_guesser_is_found_out_at_the_last_step() {
    let mut host = host();
    let mut client = Client::new(3, 1);
    client.begin(&mut host, at(0), "1234");
    host.enter_pin(at(0), None, &pin("9999")).expect("taken");
    let step = client.challenge();
    let answer = host
        .handle_step(at(0), &client.asker, &step)
        .expect("answered");
    let step = client.respond(&answer);
    host.handle_step(at(0), &client.asker, &step)
        .expect("answered");
    assert_eq!(
        host.handle_step(at(0), &client.asker, &client.prove()),
        Err(PairError::WrongPin)
    );
}

#[test]
fn a_stolen_certificate_does_not_pair() {
    let mut host = host();
    let mut client = Client::new(4, 1);
    client.begin(&mut host, at(0), "1234");
    // It knows the PIN, but signs with another key than its certificate's.
    client.key = PKey::from_rsa(Rsa::generate(2048).expect("a key")).expect("a key");
    host.enter_pin(at(0), None, &pin("1234")).expect("taken");
    assert_eq!(client.finish(&mut host, at(0)), Err(PairError::WrongPin));
}

#[test]
fn replayed_and_early_steps_end_the_pairing() {
    // How many steps are done in order before the wrong one comes, and which comes.
    for done in 0..4 {
        for wrong in 0..3 {
            if wrong == done {
                continue;
            }
            let mut host = host();
            let mut client = Client::new(5, 1);
            client.begin(&mut host, at(0), "1234");
            host.enter_pin(at(0), None, &pin("1234")).expect("taken");
            let mut steps = vec![
                client.challenge(),
                PairStep::ServerChallengeResponse([7; 32]),
                PairStep::ClientPairingSecret {
                    secret: [7; 16],
                    signature: vec![7; 256],
                },
            ];
            for step in 0..done {
                let answer = host.handle_step(at(0), &client.asker, &steps[step]);
                match step {
                    0 => steps[1] = client.respond(&answer.expect("answered")),
                    1 => steps[2] = client.prove(),
                    _ => drop(answer.expect("paired")),
                }
            }
            let paired = done == 3;
            assert_eq!(
                host.handle_step(at(0), &client.asker, &steps[wrong]),
                Err(PairError::OutOfOrder),
                "{wrong} after {done}"
            );
            let expected = if paired {
                PairingEnd::Paired
            } else {
                PairingEnd::OutOfOrder
            };
            assert_eq!(ends(&mut host), [(PairingId(1), expected)]);
            for step in &steps {
                assert_eq!(
                    host.handle_step(at(0), &client.asker, step),
                    Err(PairError::OutOfOrder)
                );
            }
        }
    }
}

#[test]
fn nothing_goes_on_before_the_pin() {
    let mut host = host();
    let mut client = Client::new(6, 1);
    let id = client.begin(&mut host, at(0), "1234");
    let step = client.challenge();
    assert_eq!(
        host.handle_step(at(0), &client.asker, &step),
        Err(PairError::OutOfOrder)
    );
    // A step from anybody at that address does not end what still waits.
    assert_eq!(ends(&mut host), []);
    host.enter_pin(at(1), Some(id), &pin("1234"))
        .expect("taken");
    let result = client.finish(&mut host, at(1));
    assert_paired(result, &client);
}

#[test]
fn clients_of_two_addresses_do_not_disturb_each_other() {
    let mut host = host();
    let (mut one, mut two) = (Client::new(7, 1), Client::new(8, 2));
    let first = one.begin(&mut host, at(0), "1111");
    let second = two.begin(&mut host, at(0), "2222");
    assert_eq!(
        host.enter_pin(at(0), None, &pin("1111")),
        Err(PinError::Ambiguous(2))
    );
    host.enter_pin(at(0), Some(first), &pin("1111"))
        .expect("taken");
    host.enter_pin(at(0), Some(second), &pin("2222"))
        .expect("taken");
    let step = one.challenge();
    let answer = host
        .handle_step(at(0), &one.asker, &step)
        .expect("answered");
    let result = two.finish(&mut host, at(0));
    assert_paired(result, &two);
    let step = one.respond(&answer);
    host.handle_step(at(0), &one.asker, &step)
        .expect("answered");
    let result = host.handle_step(at(0), &one.asker, &one.prove());
    assert_paired(result, &one);
}

/// Stock clients behind one address call themselves the same.
#[test]
fn clients_of_one_address_take_turns() {
    let mut host = host();
    let (mut one, mut two) = (Client::new(9, 1), Client::new(10, 1));
    let first = one.begin(&mut host, at(0), "1111");
    let second = two.begin(&mut host, at(0), "2222");
    host.enter_pin(at(0), Some(second), &pin("2222"))
        .expect("taken");
    assert_eq!(
        host.enter_pin(at(0), Some(first), &pin("1111")),
        Err(PinError::Completing)
    );
    let result = two.finish(&mut host, at(0));
    assert_paired(result, &two);
    host.enter_pin(at(0), Some(first), &pin("1111"))
        .expect("taken");
    let result = one.finish(&mut host, at(0));
    assert_paired(result, &one);
}

#[test]
fn a_client_that_begins_anew_replaces_itself() {
    let mut host = host();
    let mut client = Client::new(11, 1);
    let first = client.begin(&mut host, at(0), "1111");
    pairs_anew(&mut host, &mut client, first);
}

/// It was ended between two steps: the next attempt waits for nothing.
#[test]
fn a_client_that_broke_off_may_begin_at_once() {
    let mut host = host();
    let mut client = Client::new(17, 1);
    let first = client.begin(&mut host, at(0), "1111");
    host.enter_pin(at(0), None, &pin("1111")).expect("taken");
    let step = client.challenge();
    host.handle_step(at(0), &client.asker, &step)
        .expect("answered");
    pairs_anew(&mut host, &mut client, first);
}

/// A second attempt replaces the `first` and succeeds.
fn pairs_anew(host: &mut Pairings, client: &mut Client, first: PairingId) {
    let second = client.begin(host, at(1), "2222");
    assert_eq!(ends(host), [(first, PairingEnd::Replaced)]);
    assert_eq!(host.enter_pin(at(1), None, &pin("2222")), Ok(second));
    let result = client.finish(host, at(1));
    assert_paired(result, client);
}

#[test]
fn places_are_bounded_and_come_back() {
    let mut host = host();
    let key = Rsa::generate(2048).expect("a key");
    let mut waiting = Vec::new();
    for address in 1..=3 {
        for n in 0..PAIRINGS_PER_ADDRESS_MAX as u64 {
            let mut client = Client::with_key(n, address, key.clone());
            client.asker.client = UniqueId::new(&format!("{n}")).expect("valid");
            match client.try_begin(&mut host, at(0), "1111") {
                Ok(id) => waiting.push(id),
                Err(error) => assert_eq!((address, error), (3, PairError::Busy)),
            }
        }
        let mut client = Client::with_key(99, address, key.clone());
        assert_eq!(
            client.try_begin(&mut host, at(0), "1111"),
            Err(PairError::Busy)
        );
    }
    assert_eq!(waiting.len(), PAIRINGS_MAX);
    host.handle_abandoned(at(1), waiting[0]);
    assert_eq!(ends(&mut host), [(waiting[0], PairingEnd::Abandoned)]);
    Client::with_key(99, 1, key).begin(&mut host, at(1), "1111");
}

#[test]
fn time_ends_what_waits() {
    let mut host = host();
    let mut client = Client::new(12, 1);
    let id = client.begin(&mut host, at(0), "1234");
    assert_eq!(host.poll_timeout(), Some(at(0) + PIN_TIMEOUT));
    host.handle_timeout(at(0) + PIN_TIMEOUT);
    assert_eq!(ends(&mut host), [(id, PairingEnd::TimedOut)]);
    assert_eq!(
        host.enter_pin(at(0), None, &pin("1234")),
        Err(PinError::NobodyWaits)
    );

    let id = client.begin(&mut host, at(0), "1234");
    host.enter_pin(at(5), None, &pin("1234")).expect("taken");
    assert_eq!(host.poll_timeout(), Some(at(5) + STEPS_TIMEOUT));
    let step = client.challenge();
    assert_eq!(
        host.handle_step(at(5) + STEPS_TIMEOUT, &client.asker, &step),
        Err(PairError::OutOfOrder)
    );
    assert_eq!(ends(&mut host), [(id, PairingEnd::TimedOut)]);
}

#[test]
fn wrong_guesses_are_counted_and_forgotten() {
    let mut host = host();
    let mut client = Client::new(13, 1);
    for _ in 0..GUESSES_PER_ADDRESS_MAX {
        client.begin(&mut host, at(0), "1234");
        host.enter_pin(at(0), None, &pin("0000")).expect("taken");
        assert_eq!(client.finish(&mut host, at(0)), Err(PairError::WrongPin));
    }
    assert_eq!(
        client.try_begin(&mut host, at(1), "1234"),
        Err(PairError::TooManyGuesses)
    );
    // Somebody else may still pair.
    let mut other = Client::new(14, 2);
    other.begin(&mut host, at(1), "1234");
    host.enter_pin(at(1), None, &pin("1234")).expect("taken");
    let result = other.finish(&mut host, at(1));
    assert_paired(result, &other);
    let later = at(0) + GUESS_MEMORY;
    client.try_begin(&mut host, later, "1234").expect("begun");
}

#[test]
fn certificates_are_looked_into() {
    let mut host = host();
    let mut client = Client::new(15, 1);
    let random = PairingRandom {
        secret: [0; 16],
        challenge: [0; 16],
    };
    let mut begin = |pem: &[u8]| {
        let asker = client.asker.clone();
        host.handle_begin(at(0), asker, [0; 16], pem, random)
    };
    assert!(matches!(
        begin(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        Err(PairError::Certificate(CryptoError::NotACertificate))
    ));
    // A native identity has an elliptic curve's key.
    let native = crate::identity::Identity::generate().expect("an identity");
    let pem = native.certificate_pem().expect("PEM");
    assert!(matches!(
        begin(&pem),
        Err(PairError::Certificate(CryptoError::Key))
    ));
    client = Client::with_key(16, 1, Rsa::generate(1024).expect("a key"));
    let result = client.try_begin(&mut host, at(0), "1234");
    assert_eq!(result, Err(PairError::Certificate(CryptoError::Key)));
}

#[test]
fn an_identity_survives_its_pem_texts() {
    let one = PairingIdentity::generate().expect("an identity");
    let key = one.key_pem().expect("PEM");
    let again = PairingIdentity::from_pem(one.certificate_pem(), &key).expect("read back");
    assert_eq!(again.certificate_pem(), one.certificate_pem());
    let other = PairingIdentity::generate().expect("an identity");
    assert!(PairingIdentity::from_pem(other.certificate_pem(), &key).is_err());
}

#[test]
fn pins_are_four_digits() {
    for text in ["", "123", "12345", "12a4", "１２"] {
        assert!(text.parse::<Pin>().is_err(), "{text}");
    }
    assert_eq!(format!("{:?}", pin("1234")), "Pin(..)");
}
