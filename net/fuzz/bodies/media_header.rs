//! Arbitrary datagrams: what parses is within the limits and is written back byte by byte; none
//! opens without the key.

use net::crypto::{Aead, EXPORTER_BYTES, MediaKeys, Opener};
use net::limits;
use net::media::{ParityBody, VideoHeader, is_media, open_video};

/// One datagram.
pub fn run(data: &[u8]) {
    if let Ok(header) = VideoHeader::parse(data) {
        assert!(is_media(data[0]));
        let mut written = [0; limits::MEDIA_HEADER_BYTES];
        let payload = data.len() - limits::MEDIA_HEADER_BYTES - limits::TAG_BYTES;
        match header {
            VideoHeader::Data(header) => {
                header.write(&mut written);
                assert_eq!(usize::from(header.descriptor.bytes), payload);
                assert!(payload > 0 && payload <= usize::from(header.shard_bytes));
                assert!(usize::from(header.shard_bytes) <= limits::SHARD_BYTES_MAX);
                assert!(usize::from(header.column) < limits::COLUMNS_PER_FRAME_MAX);
            }
            VideoHeader::Parity(header) => {
                header.write(&mut written);
                let body = &data[limits::MEDIA_HEADER_BYTES..][..payload];
                if let Ok(body) = ParityBody::parse(&header, body) {
                    assert!(usize::from(body.data_shards) <= limits::GF16_DATA_SHARDS_MAX);
                    assert!(usize::from(body.parity_shards) <= limits::GF16_PARITY_SHARDS_MAX);
                    assert!(header.index < body.parity_shards);
                    assert!(body.shard.len() <= limits::SHARD_BYTES_MAX);
                }
            }
        }
        // Sequence and key phase are the sealer's.
        let mut expected = [0; limits::MEDIA_HEADER_BYTES];
        expected.copy_from_slice(&data[..limits::MEDIA_HEADER_BYTES]);
        expected[2] &= !1;
        expected[8..16].fill(0);
        assert_eq!(written, expected);
    }
    let keys = MediaKeys::from_exporter(Aead::Aes128Gcm, &mut [0x42; EXPORTER_BYTES]);
    let mut opener = Opener::new(keys);
    assert!(open_video(&mut opener, &mut data.to_vec()).is_err());
}
