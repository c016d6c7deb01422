//! Arbitrary datagrams: what parses is within the limits and is written back byte by byte; none
//! opens without the key.

use net::crypto::{Aead, EXPORTER_BYTES, MediaKeys, Opener};
use net::limits;
use net::media::{VideoHeader, is_media, open_video};

/// One datagram.
pub fn run(data: &[u8]) {
    if let Ok(header) = VideoHeader::parse(data) {
        assert!(is_media(data[0]));
        let mut written = [0; limits::MEDIA_HEADER_BYTES];
        header.write(&mut written);
        assert_eq!(written, data[..limits::MEDIA_HEADER_BYTES]);
        assert!(usize::from(header.shard) < header.total_shards());
        assert!(usize::from(header.data_shards) <= limits::GF16_DATA_SHARDS_MAX);
        assert!(usize::from(header.parity_shards) <= limits::GF16_PARITY_SHARDS_MAX);
        assert!(usize::from(header.shard_bytes) <= limits::SHARD_BYTES_MAX);
        assert!(header.padding_bytes < header.shard_bytes);
        assert!(header.block_bytes() > 0);
    }
    let keys = MediaKeys::from_exporter(Aead::Aes128Gcm, &mut [0x42; EXPORTER_BYTES]);
    let mut opener = Opener::new(keys);
    assert!(open_video(&mut opener, &mut data.to_vec()).is_err());
}
