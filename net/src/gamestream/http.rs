//! HTTP/1.1 as GameStream clients speak it: a GET with a query, no body, one request for each
//! connection.
//!
//! Bytes go into a [`RequestReader`] as they come; [`HttpResponse::to_bytes`] makes the answer,
//! after which the connection is closed. The syntax of the head is `httparse`'s, the bounds are
//! ours: nothing larger than [`REQUEST_BYTES_MAX`] is ever held.

/// Longest head of a request, bytes. The longest one that clients send carries a certificate of
/// about 1.3 KB of PEM text in hexadecimal digits; RSA-4096 would take 4.2 KB.
pub const REQUEST_BYTES_MAX: usize = 16 * 1024;
/// Header lines of a request. Browsers send about 20.
pub const HEADERS_MAX: usize = 64;
/// Fields of a query. A launch has about 25.
pub const FIELDS_MAX: usize = 64;
const _: () = assert!(FIELDS_MAX * 4 <= REQUEST_BYTES_MAX);

/// A request is refused before anybody looked at what it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpError {
    /// Longer than we hold.
    #[error("the request is longer than {REQUEST_BYTES_MAX} bytes")]
    TooLong,
    /// Not HTTP/1.x.
    #[error("this is not an HTTP/1.1 request: {0}")]
    Syntax(&'static str),
    /// Nothing but GET is served.
    #[error("only GET is served here")]
    Method,
    /// Nothing here takes a body.
    #[error("requests with a body are not served here")]
    Body,
}

impl HttpError {
    /// The status code of the answer (RFC 9110 section 15.5).
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::TooLong => 431,
            Self::Syntax(_) => 400,
            Self::Method => 405,
            Self::Body => 413,
        }
    }
}

/// A request whose form is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// The path, `/` included; not decoded, since no path of GameStream needs it.
    pub path: String,
    /// What follows the question mark.
    pub query: Query,
}

/// The fields of a query, decoded, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    fields: Vec<(String, String)>,
}

/// A field is there more than once, and nobody can say which is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Repeated;

/// Collects the head of one request.
#[derive(Debug, Default)]
pub struct RequestReader {
    bytes: Vec<u8>,
}

impl RequestReader {
    /// An empty one.
    #[must_use]
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// Bytes held, at most [`REQUEST_BYTES_MAX`].
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Takes what has come. `None` asks for more. What follows the head is not read: there is one
    /// request for each connection.
    ///
    /// # Errors
    /// [`HttpError`]; answer with its status and close.
    pub fn handle_bytes(&mut self, bytes: &[u8]) -> Result<Option<HttpRequest>, HttpError> {
        let room = REQUEST_BYTES_MAX - self.bytes.len();
        let fits = bytes.len() <= room;
        // The end of the head may lie across what was there before.
        let looked_at = self.bytes.len().saturating_sub(3);
        self.bytes
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        // Parsed once, when it is whole: a head that comes byte by byte costs no more.
        let tail = &self.bytes[looked_at..];
        let ended = tail.windows(2).any(|two| two == b"\n\n")
            || tail.windows(3).any(|three| three == b"\n\r\n");
        if !ended {
            return if fits {
                Ok(None)
            } else {
                Err(HttpError::TooLong)
            };
        }
        parse_head(&self.bytes)
    }
}

impl Query {
    /// Decodes `a=b&c=d`.
    ///
    /// # Errors
    /// [`HttpError::Syntax`] for a wrong escape, text that is not UTF-8, too many fields.
    pub fn parse(text: &str) -> Result<Self, HttpError> {
        let mut fields = Vec::new();
        for field in text.split('&').filter(|field| !field.is_empty()) {
            if fields.len() == FIELDS_MAX {
                return Err(HttpError::Syntax("the query has too many fields"));
            }
            let (name, value) = field.split_once('=').unwrap_or((field, ""));
            fields.push((decode(name)?, decode(value)?));
        }
        Ok(Self { fields })
    }

    /// The value of a field; names are case-sensitive.
    ///
    /// # Errors
    /// [`Repeated`].
    pub fn get(&self, name: &str) -> Result<Option<&str>, Repeated> {
        let mut values = self.fields.iter().filter(|(field, _)| field == name);
        match (values.next(), values.next()) {
            (_, Some(_)) => Err(Repeated),
            (first, None) => Ok(first.map(|(_, value)| value.as_str())),
        }
    }
}

fn parse_head(bytes: &[u8]) -> Result<Option<HttpRequest>, HttpError> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(HttpError::Syntax("it has too many headers"));
        }
        Err(_) => return Err(HttpError::Syntax("its head cannot be read")),
    }
    if request.method != Some("GET") {
        return Err(HttpError::Method);
    }
    let has_body = request.headers.iter().any(|header| {
        header.name.eq_ignore_ascii_case("transfer-encoding")
            || header.name.eq_ignore_ascii_case("content-length") && header.value != b"0"
    });
    if has_body {
        return Err(HttpError::Body);
    }
    let target = request.path.unwrap_or_default();
    if !target.starts_with('/') {
        return Err(HttpError::Syntax("its target is not a path"));
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok(Some(HttpRequest {
        path: path.to_owned(),
        query: Query::parse(query)?,
    }))
}

/// Undoes `%41` and `+` (WHATWG URL section 5.1).
fn decode(text: &str) -> Result<String, HttpError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || char::from(rest.next()?).to_digit(16);
                match (digit(), digit()) {
                    (Some(high), Some(low)) => (high << 4 | low) as u8,
                    _ => return Err(HttpError::Syntax("the query has a wrong escape")),
                }
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| HttpError::Syntax("the query is not UTF-8"))
}

/// What a body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// `text/xml`, as all answers but pictures are.
    Xml,
    /// `image/png`
    Png,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// Status code of HTTP. GameStream's own code is in the XML.
    pub status: u16,
    /// What the body is.
    pub content: Content,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpResponse {
    /// Head and body. The connection is to be closed after it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let content = match self.content {
            Content::Xml => "text/xml; charset=utf-8",
            Content::Png => "image/png",
        };
        let mut bytes = format!(
            "HTTP/1.1 {} {}\r\nContent-Type: {content}\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            self.status,
            reason(self.status),
            self.body.len()
        )
        .into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

const fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        431 => "Request Header Fields Too Large",
        503 => "Service Unavailable",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] =
        b"GET /pair?uniqueid=0123456789ABCDEF&phrase=pairchallenge&a=%41+b HTTP/1.1\r\n\
        Host: h\r\n\r\n";

    #[test]
    fn a_request_is_read_however_it_is_cut() {
        for cut in 0..HEAD.len() {
            let mut reader = RequestReader::new();
            assert_eq!(reader.handle_bytes(&HEAD[..cut]), Ok(None));
            let request = reader
                .handle_bytes(&HEAD[cut..])
                .expect("valid")
                .expect("whole");
            assert_eq!(request.path, "/pair");
            assert_eq!(request.query.get("uniqueid"), Ok(Some("0123456789ABCDEF")));
            assert_eq!(request.query.get("a"), Ok(Some("A b")));
            assert_eq!(request.query.get("none"), Ok(None));
        }
    }

    #[test]
    fn a_head_without_end_is_refused_at_the_bound() {
        let mut reader = RequestReader::new();
        let mut held = 0;
        let refused = loop {
            match reader.handle_bytes(&[b'x'; 100]) {
                Ok(None) => held += 100,
                other => break other,
            }
            assert_eq!(reader.held_bytes(), held);
        };
        assert_eq!(refused, Err(HttpError::TooLong));
        assert!(held <= REQUEST_BYTES_MAX && reader.held_bytes() <= REQUEST_BYTES_MAX);
    }

    #[test]
    fn what_is_not_served_is_named() {
        let read = |text: &str| RequestReader::new().handle_bytes(text.as_bytes());
        for (text, status) in [
            ("POST / HTTP/1.1\r\n\r\n", 405),
            ("GET / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 413),
            ("GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 413),
            ("GET http://h/ HTTP/1.1\r\n\r\n", 400),
            ("GET /?a=%4 HTTP/1.1\r\n\r\n", 400),
            ("GET /?a=%ff HTTP/1.1\r\n\r\n", 400),
            ("GET / HTTP/2\r\n\r\n", 400),
            ("\x16\x03\x01\n\n", 400),
        ] {
            assert_eq!(read(text).map_err(HttpError::status), Err(status), "{text}");
        }
        let many = "a: b\r\n".repeat(HEADERS_MAX + 1);
        assert!(read(&format!("GET / HTTP/1.1\r\n{many}\r\n")).is_err());
        let many = "a&".repeat(FIELDS_MAX + 1);
        assert!(read(&format!("GET /?{many} HTTP/1.1\r\n\r\n")).is_err());
    }

    #[test]
    fn a_repeated_field_is_nobodys() {
        let query = Query::parse("a=1&b=2&a=1").expect("valid");
        assert_eq!(query.get("a"), Err(Repeated));
        assert_eq!(query.get("b"), Ok(Some("2")));
    }

    #[test]
    fn an_answer_closes_the_connection() {
        let response = HttpResponse {
            status: 200,
            content: Content::Xml,
            body: b"<root/>".to_vec(),
        };
        assert_eq!(
            response.to_bytes(),
            b"HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\n\
              Content-Length: 7\r\nConnection: close\r\n\r\n<root/>"
        );
    }
}
