//! Arbitrary feedback: what parses is within the limits and is written back byte by byte.

use net::feedback::{FEEDBACK_BYTES_MAX, Feedback};

/// One plaintext.
pub fn run(data: &[u8]) {
    let Ok(feedback) = Feedback::parse(data) else {
        return;
    };
    let mut out = [0; FEEDBACK_BYTES_MAX];
    let bytes = feedback.write(&mut out);
    assert_eq!(out[..bytes], *data, "there is one way to say it");
    assert_eq!(bytes, feedback.wire_bytes());
    for receipt in feedback.receipts.as_slice() {
        assert!(receipt.count > 0);
        assert!(
            receipt
                .first
                .checked_add(u64::from(receipt.count))
                .is_some()
        );
    }
    if let Some(damage) = feedback.damage {
        assert!(damage.first_lost <= damage.newest_lost);
    }
}
