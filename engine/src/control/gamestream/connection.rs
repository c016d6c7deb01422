//! One connection of a GameStream client: TCP or TLS, one request, one answer. Nothing here waits,
//! and nothing holds more than one request and one answer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use boring::error::ErrorStack;
use boring::ssl::{
    ErrorCode, Ssl, SslContext, SslContextBuilder, SslMethod, SslOptions, SslSessionCacheMode,
    SslStream, SslVerifyMode, SslVersion,
};
use mio::net::TcpStream;
use net::gamestream::http::{HttpError, HttpRequest, HttpResponse, RequestReader};
use net::gamestream::pairing::PairingIdentity;
use net::identity::Fingerprint;
use net::units::Timestamp;

/// A client has this long for handshake and request: several retransmissions on a bad path.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// And this long to take the answer: an image of the largest size at 2 Mbit/s.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// A client that has its answer closes; one that does not is closed.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes that a client may send after its request. They are thrown away; who sends more is
/// dropped.
const SURPLUS_BYTES_MAX: usize = 64 * 1024;

/// What stock clients can: OpenSSL and mbed TLS of ten years, Apple's, Android's, Schannel. TLS 1.3
/// has its own list. CBC for old Androids; without forward secrecy nothing.
const CIPHERS: &str = "ECDHE-RSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384:\
                       ECDHE-RSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES256-SHA";

/// The TLS server: it asks for a certificate and takes any, or none; who the client is, is looked
/// up when its request is there, so that it gets an answer instead of an alert. Sessions are not
/// resumed: a client that was unpaired must not come back with an old one.
pub(super) fn tls_context(identity: &PairingIdentity) -> Result<SslContext, ErrorStack> {
    let mut builder = SslContextBuilder::new(SslMethod::tls())?;
    builder.set_min_proto_version(Some(SslVersion::TLS1_2))?;
    builder.set_cipher_list(CIPHERS)?;
    builder.set_certificate(identity.certificate())?;
    builder.set_private_key(identity.key())?;
    builder.set_options(SslOptions::NO_TICKET);
    builder.set_session_cache_mode(SslSessionCacheMode::OFF);
    builder.set_custom_verify_callback(SslVerifyMode::PEER, |_| Ok(()));
    Ok(builder.build())
}

/// What became of a connection.
pub(super) enum Step {
    /// It waits for its client, or for us.
    Pending,
    /// Its request is there; answer it.
    Request(Result<HttpRequest, HttpError>),
    /// It is over.
    Gone,
}

enum Stream {
    Plain(TcpStream),
    Tls(SslStream<TcpStream>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Handshake,
    Reading,
    /// The request is being answered.
    Waiting,
    Writing,
    /// All is written; the client closes.
    Lingering,
}

pub(super) struct Connection {
    stream: Stream,
    state: State,
    reader: RequestReader,
    answer: Vec<u8>,
    written: usize,
    surplus_bytes: usize,
    /// The client.
    pub(super) peer: SocketAddr,
    /// Which address of ours it reached.
    pub(super) local: SocketAddr,
    /// When it has taken too long.
    pub(super) deadline: Timestamp,
}

impl Connection {
    pub(super) fn plain(now: Timestamp, stream: TcpStream, peer: SocketAddr) -> io::Result<Self> {
        let local = stream.local_addr()?;
        Ok(Self::new(now, Stream::Plain(stream), peer, local))
    }

    pub(super) fn tls(
        now: Timestamp,
        stream: TcpStream,
        peer: SocketAddr,
        context: &SslContext,
    ) -> io::Result<Self> {
        let local = stream.local_addr()?;
        let stream = SslStream::new(Ssl::new(context)?, stream)?;
        Ok(Self::new(now, Stream::Tls(stream), peer, local))
    }

    fn new(now: Timestamp, stream: Stream, peer: SocketAddr, local: SocketAddr) -> Self {
        Self {
            state: match stream {
                Stream::Plain(_) => State::Reading,
                Stream::Tls(_) => State::Handshake,
            },
            stream,
            reader: RequestReader::new(),
            answer: Vec::new(),
            written: 0,
            surplus_bytes: 0,
            peer: canonical(peer),
            local: canonical(local),
            deadline: now + REQUEST_TIMEOUT,
        }
    }

    /// For the reactor.
    pub(super) fn socket(&mut self) -> &mut TcpStream {
        match &mut self.stream {
            Stream::Plain(socket) => socket,
            Stream::Tls(stream) => stream.get_mut(),
        }
    }

    /// It came over HTTPS.
    pub(super) const fn is_secure(&self) -> bool {
        matches!(self.stream, Stream::Tls(_))
    }

    /// Its request waits for an answer of ours.
    pub(super) fn is_waiting(&self) -> bool {
        self.state == State::Waiting
    }

    /// The certificate that the client has shown, and proven to own in the handshake.
    pub(super) fn certificate(&self) -> Option<Fingerprint> {
        let Stream::Tls(stream) = &self.stream else {
            return None;
        };
        let certificate = stream.ssl().peer_certificate()?;
        Fingerprint::of(&certificate)
            .map_err(|error| log::warn!("a client's certificate: {error}"))
            .ok()
    }

    /// Goes as far as it can without waiting.
    pub(super) fn advance(&mut self, now: Timestamp, scratch: &mut [u8]) -> Step {
        loop {
            let done = match self.state {
                State::Handshake => self.shake_hands(),
                State::Reading => match self.stream.read(scratch) {
                    Ok(0) => return Step::Gone,
                    Ok(bytes) => match self.reader.handle_bytes(&scratch[..bytes]) {
                        Ok(None) => Ok(()),
                        whole => {
                            self.state = State::Waiting;
                            return Step::Request(whole.map(|it| it.expect("not None")));
                        }
                    },
                    Err(error) => Err(error),
                },
                State::Waiting | State::Lingering => match self.stream.read(scratch) {
                    Ok(0) => return Step::Gone,
                    Ok(bytes) => {
                        self.surplus_bytes += bytes;
                        if self.surplus_bytes > SURPLUS_BYTES_MAX {
                            return Step::Gone;
                        }
                        Ok(())
                    }
                    Err(error) => Err(error),
                },
                State::Writing => self.write(now),
            };
            match done {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Step::Pending,
                Err(error) => {
                    log::debug!("a connection of {}: {error}", self.peer);
                    return Step::Gone;
                }
            }
        }
    }

    /// Begins to answer; [`Self::advance`] does the rest.
    pub(super) fn answer(&mut self, now: Timestamp, response: &HttpResponse) {
        self.answer = response.to_bytes();
        self.state = State::Writing;
        self.deadline = now + ANSWER_TIMEOUT;
    }

    fn shake_hands(&mut self) -> io::Result<()> {
        let Stream::Tls(stream) = &mut self.stream else {
            unreachable!("a plain connection begins with reading");
        };
        match stream.accept() {
            Ok(()) => {
                self.state = State::Reading;
                Ok(())
            }
            Err(error) => match error.code() {
                ErrorCode::WANT_READ | ErrorCode::WANT_WRITE => Err(ErrorKind::WouldBlock.into()),
                _ => Err(io::Error::other(error)),
            },
        }
    }

    fn write(&mut self, now: Timestamp) -> io::Result<()> {
        let written = self.stream.write(&self.answer[self.written..])?;
        if written == 0 {
            return Err(ErrorKind::WriteZero.into());
        }
        self.written += written;
        if self.written == self.answer.len() {
            self.stream.end();
            self.answer = Vec::new();
            self.state = State::Lingering;
            self.deadline = now + LINGER;
        }
        Ok(())
    }
}

impl Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(bytes),
            Self::Tls(stream) => stream.read(bytes),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
        }
    }

    /// Says that nothing follows. A client that is gone does not have to hear it.
    fn end(&mut self) {
        let socket = match self {
            Self::Plain(socket) => socket,
            Self::Tls(stream) => {
                let _ = stream.shutdown();
                stream.get_mut()
            }
        };
        let _ = socket.shutdown(std::net::Shutdown::Write);
    }
}

/// A socket of both families shows IPv4 in IPv6's clothes.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
