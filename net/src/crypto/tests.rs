use super::ffi::{AeadContext, hkdf_expand_sha256};
use super::*;
use crate::limits::{MEDIA_HEADER_BYTES, REPLAY_WINDOW, TAG_BYTES};
use crate::media::sequence_of;

const P: u64 = DATAGRAMS_PER_PHASE;
const AEADS: [Aead; 2] = [Aead::Aes128Gcm, Aead::ChaCha20Poly1305];

fn hex(text: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).expect("a hexadecimal digit") as u8;
    let digits: Vec<u8> = text
        .bytes()
        .filter(|c| !c.is_ascii_whitespace())
        .map(digit)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] << 4 | pair[1])
        .collect()
}

fn keys(aead: Aead, fill: u8) -> MediaKeys {
    let mut exported = [0; EXPORTER_BYTES];
    for (i, byte) in exported.iter_mut().enumerate() {
        *byte = fill.wrapping_add(i as u8);
    }
    let keys = MediaKeys::from_exporter(aead, &mut exported);
    assert_eq!(
        exported, [0; EXPORTER_BYTES],
        "the exporter's output is erased"
    );
    keys
}

fn pair(aead: Aead) -> (Sealer, Opener) {
    (Sealer::new(keys(aead, 1)), Opener::new(keys(aead, 1)))
}

fn seal(sealer: &mut Sealer, plaintext: &[u8]) -> Vec<u8> {
    let mut header = [0x11; MEDIA_HEADER_BYTES];
    header[0] = 0x01;
    let mut out = vec![0; MEDIA_HEADER_BYTES + plaintext.len() + TAG_BYTES];
    let bytes = sealer
        .seal(&mut header, plaintext, &mut out)
        .expect("there is room");
    assert_eq!(bytes, out.len());
    assert_eq!(out[..MEDIA_HEADER_BYTES], header);
    out
}

#[test]
fn nist_and_rfc_vectors() {
    struct Vector {
        aead: Aead,
        key: &'static str,
        nonce: &'static str,
        aad: &'static str,
        plaintext: Vec<u8>,
        sealed: &'static str,
        tag: &'static str,
    }
    let vectors = [
        // NIST's "The Galois/Counter Mode of Operation", test case 4.
        Vector {
            aead: Aead::Aes128Gcm,
            key: "feffe9928665731c6d6a8f9467308308",
            nonce: "cafebabefacedbaddecaf888",
            aad: "feedfacedeadbeeffeedfacedeadbeefabaddad2",
            plaintext: hex(
                "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
                 1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
            ),
            sealed: "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e
                     21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091",
            tag: "5bc94fbc3221a5db94fae95ae7121a47",
        },
        // RFC 8439 section 2.8.2.
        Vector {
            aead: Aead::ChaCha20Poly1305,
            key: "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f",
            nonce: "070000004041424344454647",
            aad: "50515253c0c1c2c3c4c5c6c7",
            plaintext: b"Ladies and Gentlemen of the class of '99: If I could offer you \
                         only one tip for the future, sunscreen would be it."
                .to_vec(),
            sealed: "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6
                     3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36
                     92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc
                     3ff4def08e4b7a9de576d26586cec64b6116",
            tag: "1ae10b594f09e26a7e902ecbd0600691",
        },
    ];
    for vector in vectors {
        let context = AeadContext::new(vector.aead, &hex(vector.key));
        let nonce = hex(vector.nonce).try_into().expect("12 bytes");
        let mut out = vec![0; vector.plaintext.len()];
        let mut tag = [0; TAG_BYTES];
        context.seal(
            &nonce,
            &hex(vector.aad),
            &vector.plaintext,
            &mut out,
            &mut tag,
        );
        assert_eq!(out, hex(vector.sealed), "{:?}", vector.aead);
        assert_eq!(tag.to_vec(), hex(vector.tag), "{:?}", vector.aead);
        assert!(context.open(&nonce, &hex(vector.aad), &mut out, &tag));
        assert_eq!(out, vector.plaintext);
    }
}

/// RFC 5869 appendix A.1.
#[test]
fn hkdf_expand_vector() {
    let secret = hex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5");
    let mut out = [0; 42];
    let secret = secret.try_into().expect("32 bytes");
    hkdf_expand_sha256(&secret, &hex("f0f1f2f3f4f5f6f7f8f9"), &mut out);
    assert_eq!(
        out.to_vec(),
        hex(
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf
             34007208d5b887185865"
        )
    );
}

#[test]
fn what_is_sealed_is_opened() {
    for aead in AEADS {
        let (mut sealer, mut opener) = pair(aead);
        for sequence in 0..3u64 {
            assert_eq!(sealer.sequence(), sequence);
            let mut datagram = seal(&mut sealer, b"a shard");
            assert_ne!(&datagram[32..39], b"a shard");
            let (header, plaintext) = opener.open(&mut datagram).expect("authentic");
            assert_eq!(sequence_of(header), sequence);
            assert_eq!(plaintext, b"a shard");
        }
    }
}

#[test]
fn every_changed_byte_is_found_and_changes_nothing() {
    for aead in AEADS {
        let (mut sealer, mut opener) = pair(aead);
        seal(&mut sealer, b"");
        let good = seal(&mut sealer, b"a shard");
        for at in 0..good.len() {
            for bit in [0x01, 0x80] {
                let mut bad = good.clone();
                bad[at] ^= bit;
                assert!(opener.open(&mut bad).is_err(), "byte {at}");
            }
        }
        let mut short = good[..39].to_vec();
        assert_eq!(opener.open(&mut short), Err(OpenError::Short { bytes: 39 }));
        assert!(opener.open(&mut good.clone()).is_ok());
    }
}

#[test]
fn reordered_is_accepted_repeated_and_stale_are_not() {
    let (mut sealer, mut opener) = pair(Aead::Aes128Gcm);
    let old = seal(&mut sealer, b"old");
    let datagrams: Vec<_> = (0..REPLAY_WINDOW)
        .map(|i| seal(&mut sealer, &i.to_le_bytes()))
        .collect();
    for datagram in datagrams.iter().rev() {
        assert!(opener.open(&mut datagram.clone()).is_ok());
    }
    for datagram in &datagrams {
        let sequence = u64::from_le_bytes(datagram[8..16].try_into().expect("8 bytes"));
        assert_eq!(
            opener.open(&mut datagram.clone()),
            Err(OpenError::Replayed { sequence })
        );
    }
    assert_eq!(
        opener.open(&mut old.clone()),
        Err(OpenError::Stale { sequence: 0 })
    );
}

#[test]
fn key_phases_change_both_ways() {
    for aead in AEADS {
        let (mut sealer, mut opener) = pair(aead);
        for phase in 0..5 {
            // The last of this phase is late: it comes after the first of the next.
            sealer.skip_to((phase + 1) * P - 1);
            let mut late = seal(&mut sealer, b"late");
            let mut next = seal(&mut sealer, b"next");
            assert_eq!(u64::from(late[2] & 1), phase % 2);
            assert_eq!(u64::from(next[2] & 1), (phase + 1) % 2);
            assert_eq!(opener.open(&mut next).expect("the next phase").1, b"next");
            assert_eq!(opener.open(&mut late).expect("the phase before").1, b"late");
        }
    }
}

#[test]
fn phases_further_away_are_refused() {
    let (mut sealer, mut opener) = pair(Aead::Aes128Gcm);
    let mut first = seal(&mut sealer, b"0");
    sealer.skip_to(P);
    let mut second = seal(&mut sealer, b"1");
    sealer.skip_to(2 * P);
    let mut third = seal(&mut sealer, b"2");
    assert_eq!(
        opener.open(&mut third.clone()),
        Err(OpenError::Phase { sequence: 2 * P }),
        "two phases ahead"
    );
    assert!(opener.open(&mut second).is_ok());
    assert!(opener.open(&mut third).is_ok());
    assert_eq!(
        opener.open(&mut first),
        Err(OpenError::Phase { sequence: 0 }),
        "two behind"
    );
}

#[test]
fn each_phase_has_its_own_key() {
    let mut keys = keys(Aead::Aes128Gcm, 1);
    let sealed: Vec<_> = (0..3)
        .map(|_| {
            let context = keys.next_context();
            let (mut out, mut tag) = ([0; 16], [0; TAG_BYTES]);
            context.seal(&[0; 12], &[], &[0; 16], &mut out, &mut tag);
            out
        })
        .collect();
    assert!(sealed[0] != sealed[1] && sealed[1] != sealed[2] && sealed[0] != sealed[2]);
}

#[test]
fn directions_differ_by_their_context() {
    let session = [7; 16];
    let to_client = exporter_context(&session, Direction::HostToClient);
    let to_host = exporter_context(&session, Direction::ClientToHost);
    assert_eq!(to_client[..16], session);
    assert_eq!((to_client[16], to_host[16]), (0, 1));

    let mut sealer = Sealer::new(keys(Aead::Aes128Gcm, 1));
    let mut other = Opener::new(keys(Aead::Aes128Gcm, 2));
    let mut datagram = seal(&mut sealer, b"x");
    assert_eq!(
        other.open(&mut datagram),
        Err(OpenError::Forged { sequence: 0 })
    );
}

/// The wire: made with another implementation (Python's `cryptography`) from secret 1..=32 and
/// salt 33..=44, datagrams 2 (phase 0) and 2²² + 5 (phase 1).
#[test]
fn golden_datagrams() {
    let mut sealer = Sealer::new(keys(Aead::Aes128Gcm, 1));
    sealer.skip_to(2);
    assert_eq!(
        seal(&mut sealer, b"punktfunk")[MEDIA_HEADER_BYTES..],
        hex(GOLDEN_PHASE_0)
    );
    sealer.skip_to(P + 5);
    assert_eq!(
        seal(&mut sealer, b"punktfunk")[MEDIA_HEADER_BYTES..],
        hex(GOLDEN_PHASE_1)
    );
}

const GOLDEN_PHASE_0: &str = "a82bc13aa6baa6b9ce52044b4aa6664a6addb48a16a5721644";
const GOLDEN_PHASE_1: &str = "4f20666946681e8a0162e11d0a708d71c242c5d17bdc0f5e66";

#[test]
fn sealing_says_what_does_not_fit() {
    let (mut sealer, _) = pair(Aead::Aes128Gcm);
    let mut header = [0; MEDIA_HEADER_BYTES];
    for room in [0, 23, 24, 32, 40] {
        assert_eq!(
            sealer.seal(&mut header, &[1; 8], &mut vec![0; room]),
            Err(SealError::Room { needed: 48, room })
        );
    }
    sealer.skip_to(u64::MAX);
    assert_eq!(
        sealer.seal(&mut header, &[], &mut [0; 40]),
        Err(SealError::Exhausted)
    );
    assert_eq!(sealer.sequence(), u64::MAX);
}

#[test]
fn equal_compares_whole_secrets() {
    assert!(equal(b"abc", b"abc"));
    assert!(!equal(b"abc", b"abd") && !equal(b"abc", b"ab") && !equal(b"", b"a"));
}
