//! Arbitrary bytes, arbitrarily cut, as a GameStream client's request, down to its types.

use net::gamestream::http::{HttpResponse, REQUEST_BYTES_MAX, RequestReader};
use net::gamestream::nvhttp::{CERTIFICATE_BYTES_MAX, PairStep, Request, SIGNATURE_BYTES_MAX};

/// The first byte says how the rest is cut. True if it was a request that a host would act on.
pub fn run(data: &[u8]) -> bool {
    let [cut, stream @ ..] = data else {
        return false;
    };
    let mut reader = RequestReader::new();
    for chunk in stream.chunks(1 + usize::from(*cut)) {
        let read = reader.handle_bytes(chunk);
        assert!(reader.held_bytes() <= REQUEST_BYTES_MAX);
        let http = match read {
            Ok(None) => continue,
            Ok(Some(http)) => http,
            Err(refused) => {
                assert!((400..=499).contains(&refused.status()));
                check(&HttpResponse::from(refused));
                return false;
            }
        };
        assert!(http.path.starts_with('/'));
        match Request::parse(&http) {
            Ok(Request::Pair { step, .. }) => check_step(&step),
            Ok(_) => {}
            Err(refused) => {
                check(&HttpResponse::from(&refused));
                return false;
            }
        }
        return true;
    }
    false
}

fn check_step(step: &PairStep) {
    match step {
        PairStep::GetServerCert { certificate, .. } => {
            assert!(certificate.len() <= CERTIFICATE_BYTES_MAX);
        }
        PairStep::ClientPairingSecret { signature, .. } => {
            assert!(signature.len() <= SIGNATURE_BYTES_MAX);
        }
        _ => {}
    }
}

/// Whatever was in the request, the answer is one well-formed element.
fn check(response: &HttpResponse) {
    let text = std::str::from_utf8(&response.body).expect("UTF-8");
    let root = text.find("<root ").expect("a root element");
    let (tag, rest) = text[root..].split_once('>').expect("its end");
    assert_eq!(tag.matches('"').count(), 4, "two attributes: {tag}");
    assert!(
        !tag[1..].contains('<') && rest.ends_with("</root>\n"),
        "{text}"
    );
}
