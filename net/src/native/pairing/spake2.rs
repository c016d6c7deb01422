//! SPAKE2 over P-256 with SHA-256, HKDF and HMAC (RFC 9382, the suite `SPAKE2-P256-SHA256-HKDF-HMAC`
//! of section 6), on BoringSSL's curve.
//!
//! Own, over the crate `spake2`: that one speaks a dialect of before the RFC over edwards25519,
//! without key confirmation and without published vectors; this is what another implementer finds
//! in the RFC, and it needs no second curve library beside BoringSSL's.
//!
//! Multiplications of P-256 points in BoringSSL take the same time for every scalar, and what it
//! frees it erases.

use boring::bn::{BigNum, BigNumContext};
use boring::ec::{EcGroup, EcPoint, EcPointRef, PointConversionForm};
use boring::error::ErrorStack;
use boring::hash::hmac_sha256;
use boring::hkdf::HkdfSuite;
use boring::nid::Nid;
use boring::sha::sha256;
use zeroize::Zeroizing;

/// A point, uncompressed (SEC 1 section 2.3.3): 0x04, x, y.
pub(super) const SHARE_BYTES: usize = 65;
/// An HMAC-SHA-256.
pub(super) const TAG_BYTES: usize = 32;
/// What a scalar is reduced from: 16 bytes more than the group's order (RFC 9382 section 3.2).
pub(super) const WIDE_BYTES: usize = 48;
/// A scalar, big-endian.
const SCALAR_BYTES: usize = 32;
const UNCOMPRESSED: u8 = 0x04;

/// RFC 9382 section 6: what A's share is blinded with, compressed.
const M: [u8; 33] = [
    0x02, 0x88, 0x6e, 0x2f, 0x97, 0xac, 0xe4, 0x6e, 0x55, 0xba, 0x9d, 0xd7, 0x24, 0x25, 0x79, 0xf2,
    0x99, 0x3b, 0x64, 0xe1, 0x6e, 0xf3, 0xdc, 0xab, 0x95, 0xaf, 0xd4, 0x97, 0x33, 0x3d, 0x8f, 0xa1,
    0x2f,
];
/// The same for B.
const N: [u8; 33] = [
    0x03, 0xd8, 0xbb, 0xd6, 0xc6, 0x39, 0xc6, 0x29, 0x37, 0xb0, 0x4d, 0x99, 0x7f, 0x38, 0xc3, 0x77,
    0x07, 0x19, 0xc6, 0x29, 0xd7, 0x01, 0x4d, 0x49, 0xa2, 0x4b, 0x4f, 0x98, 0xba, 0xa1, 0x29, 0x2b,
    0x49,
];

/// Which of the two a side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    A,
    B,
}

/// A number below the group's order. Never printed.
pub(super) struct Scalar(BigNum);

impl Scalar {
    /// Big-endian bytes, reduced.
    pub(super) fn reduce(bytes: &[u8]) -> Result<Self, ErrorStack> {
        let mut context = BigNumContext::new()?;
        let (mut order, mut reduced) = (BigNum::new()?, BigNum::new()?);
        p256()?.order(&mut order, &mut context)?;
        reduced.nnmod(&*BigNum::from_slice(bytes)?, &order, &mut context)?;
        Ok(Self(reduced))
    }
}

/// A share cannot be used.
pub(super) enum Refusal {
    /// It is no point of the curve, or one that gives the key away.
    Share,
    /// The library failed.
    Library(ErrorStack),
}

impl From<ErrorStack> for Refusal {
    fn from(error: ErrorStack) -> Self {
        Self::Library(error)
    }
}

/// What each side proves that it has the key with.
pub(super) struct Tags {
    /// A's (`cA` of the RFC).
    pub(super) a: Zeroizing<[u8; TAG_BYTES]>,
    /// B's (`cB`).
    pub(super) b: Zeroizing<[u8; TAG_BYTES]>,
}

/// One side of one exchange, once its share is made.
pub(super) struct Exchange {
    role: Role,
    password: Scalar,
    secret: Scalar,
    share: [u8; SHARE_BYTES],
}

impl Exchange {
    /// `secret` is random and used once.
    pub(super) fn begin(role: Role, password: Scalar, secret: Scalar) -> Result<Self, ErrorStack> {
        let group = p256()?;
        let mut context = BigNumContext::new()?;
        let blind = blind(role, &group, &mut context)?;
        let mut share = EcPoint::new(&group)?;
        share.mul_full(&group, &secret.0, &blind, &password.0, &mut context)?;
        let share = encode(&share, &group, &mut context)?;
        Ok(Self {
            role,
            password,
            secret,
            share,
        })
    }

    /// For the peer.
    pub(super) const fn share(&self) -> &[u8; SHARE_BYTES] {
        &self.share
    }

    /// With the peer's share both sides come to the same tags if they had the same password,
    /// identities and `associated` data.
    pub(super) fn finish(
        self,
        peer: &[u8; SHARE_BYTES],
        [a, b]: [&[u8]; 2],
        associated: &[u8],
    ) -> Result<Tags, Refusal> {
        let key = self.key(peer)?;
        let password = self.password.0.to_vec_padded(SCALAR_BYTES)?;
        let (share_a, share_b) = match self.role {
            Role::A => (&self.share, peer),
            Role::B => (peer, &self.share),
        };
        let mut transcript = Zeroizing::new(Vec::with_capacity(512));
        for part in [a, b, share_a, share_b, &*key, &*Zeroizing::new(password)] {
            transcript.extend_from_slice(&(part.len() as u64).to_le_bytes());
            transcript.extend_from_slice(part);
        }
        tags(&transcript, associated)
    }

    /// `K`: the peer's share without its blind, times our secret. P-256 has cofactor 1.
    fn key(&self, peer: &[u8; SHARE_BYTES]) -> Result<Zeroizing<[u8; SHARE_BYTES]>, Refusal> {
        let group = p256()?;
        let mut context = BigNumContext::new()?;
        if peer[0] != UNCOMPRESSED {
            return Err(Refusal::Share);
        }
        // It fails for what does not lie on the curve.
        let peer = EcPoint::from_bytes(&group, peer, &mut context).map_err(|_| Refusal::Share)?;
        let peers_role = match self.role {
            Role::A => Role::B,
            Role::B => Role::A,
        };
        let blind = blind(peers_role, &group, &mut context)?;
        let mut point = EcPoint::new(&group)?;
        point.mul(&group, &blind, &self.password.0, &mut context)?;
        point.invert(&group, &context)?;
        let mut bare = EcPoint::new(&group)?;
        bare.add(&group, &peer, &point, &mut context)?;
        let mut key = EcPoint::new(&group)?;
        key.mul(&group, &bare, &self.secret.0, &mut context)?;
        if key.is_infinity(&group) {
            return Err(Refusal::Share);
        }
        Ok(Zeroizing::new(encode(&key, &group, &mut context)?))
    }
}

/// RFC 9382 section 4: the second half of the transcript's hash keys the confirmations.
fn tags(transcript: &[u8], associated: &[u8]) -> Result<Tags, Refusal> {
    let hash = Zeroizing::new(sha256(transcript));
    let info = [b"ConfirmationKeys", associated].concat();
    let hkdf = HkdfSuite::new(boring::hash::MessageDigest::sha256());
    let extracted = hkdf.extract(&[], &hash[16..])?;
    let mut keys = Zeroizing::new([0; 32]);
    hkdf.expand(&extracted, &info, &mut *keys)?;
    Ok(Tags {
        a: Zeroizing::new(hmac_sha256(&keys[..16], transcript)?),
        b: Zeroizing::new(hmac_sha256(&keys[16..], transcript)?),
    })
}

fn p256() -> Result<EcGroup, ErrorStack> {
    EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)
}

fn blind(role: Role, group: &EcGroup, context: &mut BigNumContext) -> Result<EcPoint, ErrorStack> {
    let bytes = match role {
        Role::A => &M,
        Role::B => &N,
    };
    EcPoint::from_bytes(group, bytes, context)
}

fn encode(
    point: &EcPointRef,
    group: &EcGroup,
    context: &mut BigNumContext,
) -> Result<[u8; SHARE_BYTES], ErrorStack> {
    // It fails for the point at infinity, which has no coordinates.
    let bytes = point.to_bytes(group, PointConversionForm::UNCOMPRESSED, context)?;
    Ok(bytes.try_into().expect("a point of P-256 has 65 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        let digit = |at: usize| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hex");
        assert_eq!(hex.len(), 2 * N);
        std::array::from_fn(digit)
    }

    fn scalar(hex: &str) -> Scalar {
        Scalar::reduce(&bytes::<32>(hex)).expect("a scalar")
    }

    /// RFC 9382 appendix B, the first vector.
    const W: &str = "2ee57912099d31560b3a44b1184b9b4866e904c49d12ac5042c97dca461b1a5f";
    const X: &str = "43dd0fd7215bdcb482879fca3220c6a968e66d70b1356cac18bb26c84a78d729";
    const Y: &str = "dcb60106f276b02606d8ef0a328c02e4b629f84f89786af5befb0bc75b6e66be";
    const PA: &str = "04a56fa807caaa53a4d28dbb9853b9815c61a411118a6fe516a8798434751470f9\
                      010153ac33d0d5f2047ffdb1a3e42c9b4e6be662766e1eeb4116988ede5f912c";
    const PB: &str = "0406557e482bd03097ad0cbaa5df82115460d951e3451962f1eaf4367a420676d0\
                      9857ccbc522686c83d1852abfa8ed6e4a1155cf8f1543ceca528afb591a1e0b7";
    const K: &str = "0412af7e89717850671913e6b469ace67bd90a4df8ce45c2af19010175e37eed69\
                     f75897996d539356e2fa6a406d528501f907e04d97515fbe83db277b715d3325";
    const CA: &str = "58ad4aa88e0b60d5061eb6b5dd93e80d9c4f00d127c65b3b35b1b5281fee38f0";
    const CB: &str = "d3e2e547f1ae04f2dbdbf0fc4b79f8ecff2dff314b5d32fe9fcef2fb26dc459b";

    fn exchange(role: Role) -> Exchange {
        let secret = if role == Role::A { X } else { Y };
        Exchange::begin(role, scalar(W), scalar(secret)).expect("a share")
    }

    #[test]
    fn the_vector_of_the_rfc_holds_for_both_sides() {
        let (a, b) = (exchange(Role::A), exchange(Role::B));
        assert_eq!(a.share(), &bytes(PA));
        assert_eq!(b.share(), &bytes(PB));
        for side in [&a, &b] {
            let peer = if side.role == Role::A { PB } else { PA };
            let key = side.key(&bytes(peer)).ok().expect("a key");
            assert_eq!(*key, bytes(K));
        }
        let names: [&[u8]; 2] = [b"server", b"client"];
        for (side, peer) in [(a, PB), (b, PA)] {
            let tags = side.finish(&bytes(peer), names, &[]).ok().expect("tags");
            assert_eq!(*tags.a, bytes(CA));
            assert_eq!(*tags.b, bytes(CB));
        }
    }

    #[test]
    fn shares_that_are_no_points_or_give_the_key_away_are_refused() {
        let refused =
            |share: [u8; SHARE_BYTES]| matches!(exchange(Role::A).key(&share), Err(Refusal::Share));
        assert!(!refused(bytes(PB)));
        let mut off_the_curve = bytes::<SHARE_BYTES>(PB);
        off_the_curve[64] ^= 1;
        assert!(refused(off_the_curve));
        assert!(refused([0; SHARE_BYTES]));
        assert!(refused([0xff; SHARE_BYTES]));
        let mut hybrid = bytes::<SHARE_BYTES>(PB);
        hybrid[0] = 0x07;
        assert!(refused(hybrid));
        // w × N: without its blind it is the point at infinity, whatever the secret.
        let group = p256().expect("the curve");
        let mut context = BigNumContext::new().expect("a context");
        let blind = blind(Role::B, &group, &mut context).expect("N");
        let mut point = EcPoint::new(&group).expect("a point");
        let w = scalar(W);
        point
            .mul(&group, &blind, &w.0, &mut context)
            .expect("w × N");
        let naked = encode(&point, &group, &mut context).expect("a point");
        assert!(refused(naked));
    }

    #[test]
    fn wide_numbers_are_reduced() {
        let n = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
        let reduced = |hex: &str| scalar(hex).0.to_vec();
        assert_eq!(reduced(n), Vec::<u8>::new());
        let more = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632553";
        assert_eq!(reduced(more), [2]);
    }
}
