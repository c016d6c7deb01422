//! The answers, each as one HTTP response. The status that clients look at is in the XML; HTTP's
//! own is 200 wherever a client must read the XML to learn what is wrong.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::{AppId, RequestError};
use crate::gamestream::http::{Content, HttpError, HttpResponse};
use crate::gamestream::xml::Xml;

/// The version that makes clients use what Sunshine has added to GameStream: the -1 says so.
const APP_VERSION: &str = "7.1.431.-1";
/// Clients derive abilities from it.
const GFE_VERSION: &str = "3.23.0.74";
/// Largest HEVC picture times rate, luma samples; any number but 0 says that HEVC is there.
const MAX_LUMA_PIXELS_HEVC: u32 = 1_869_449_984;

/// Codecs as `ServerCodecModeSupport` tells them (`SCM_…` of moonlight-common-c's `Limelight.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CodecModes(u32);

impl CodecModes {
    /// H.264, 8 bits, 4:2:0.
    pub const H264: Self = Self(0x1);
    /// HEVC Main.
    pub const HEVC: Self = Self(0x100);
    /// HEVC Main 10.
    pub const HEVC_MAIN10: Self = Self(0x200);
    /// AV1 Main, 8 bits.
    pub const AV1_MAIN8: Self = Self(0x1_0000);
    /// AV1 Main, 10 bits.
    pub const AV1_MAIN10: Self = Self(0x2_0000);

    /// These and those.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// All of `other` are among these.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What `serverinfo` tells of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFacts {
    /// Name to show.
    pub name: String,
    /// The host's lasting identity.
    pub unique_id: String,
    /// Port of HTTP.
    pub http_port: u16,
    /// Port of HTTPS.
    pub https_port: u16,
    /// What can be encoded.
    pub codecs: CodecModes,
    /// Hardware address of the interface, for Wake-on-LAN. Told to paired clients only.
    pub mac: Option<[u8; 6]>,
}

/// An application as `applist` tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppEntry<'a> {
    /// Its number.
    pub id: AppId,
    /// Its name.
    pub name: &'a str,
    /// HDR can be had.
    pub hdr: bool,
}

/// `serverinfo`. `local` is the address that the client reached; `running` is the application of
/// this client's session, if it has one.
#[must_use]
pub fn server_info(
    facts: &HostFacts,
    local: IpAddr,
    paired: bool,
    running: Option<AppId>,
) -> HttpResponse {
    // Clients keep the IPv6 address that they used; this field is for IPv4 and they know to
    // pass over 127.0.0.1 in it.
    let local = match local {
        IpAddr::V4(v4) => v4,
        IpAddr::V6(v6) => v6.to_ipv4_mapped().unwrap_or(Ipv4Addr::LOCALHOST),
    };
    // Clients know an address of zeros as "not told".
    let mac = facts.mac.filter(|_| paired).unwrap_or_default();
    let luma = if facts.codecs.has(CodecModes::HEVC) {
        MAX_LUMA_PIXELS_HEVC
    } else {
        0
    };
    let state = match running {
        Some(_) => "SUNSHINE_SERVER_BUSY",
        None => "SUNSHINE_SERVER_FREE",
    };
    let xml = Xml::ok()
        .element("hostname", &facts.name)
        .element("appversion", APP_VERSION)
        .element("GfeVersion", GFE_VERSION)
        .element("uniqueid", &facts.unique_id)
        .element("HttpsPort", facts.https_port)
        .element("ExternalPort", facts.http_port)
        .element("MaxLumaPixelsHEVC", luma)
        .element("mac", mac.map(|byte| format!("{byte:02x}")).join(":"))
        .element("LocalIP", local)
        .element("ServerCodecModeSupport", facts.codecs.0)
        .element("PairStatus", u8::from(paired))
        .element("currentgame", running.map_or(0, AppId::get))
        .element("state", state);
    respond(xml)
}

/// `applist`
#[must_use]
pub fn app_list<'a>(apps: impl IntoIterator<Item = AppEntry<'a>>) -> HttpResponse {
    let add = |xml: Xml, app: AppEntry<'_>| {
        xml.nested("App", |xml| {
            xml.element("IsHdrSupported", u8::from(app.hdr))
                .element("AppTitle", app.name)
                .element("ID", app.id.get())
        })
    };
    respond(apps.into_iter().fold(Xml::ok(), add))
}

/// Pairing, first step: the host's certificate, PEM.
#[must_use]
pub fn server_certificate(pem: &[u8]) -> HttpResponse {
    respond(
        Xml::ok()
            .element("paired", 1)
            .element("plaincert", hex(pem)),
    )
}

/// Pairing, second step.
#[must_use]
pub fn challenge_response(encrypted: &[u8]) -> HttpResponse {
    let xml = Xml::ok()
        .element("paired", 1)
        .element("challengeresponse", hex(encrypted));
    respond(xml)
}

/// Pairing, third step.
#[must_use]
pub fn pairing_secret(secret_and_signature: &[u8]) -> HttpResponse {
    let xml = Xml::ok()
        .element("paired", 1)
        .element("pairingsecret", hex(secret_and_signature));
    respond(xml)
}

/// Pairing, fourth and fifth step.
#[must_use]
pub fn paired(yes: bool) -> HttpResponse {
    respond(Xml::ok().element("paired", u8::from(yes)))
}

/// `unpair`
#[must_use]
pub fn unpaired() -> HttpResponse {
    respond(Xml::ok())
}

/// `launch` was done; `rtsp` is where the client goes on.
#[must_use]
pub fn launched(rtsp: SocketAddr, encrypted: bool) -> HttpResponse {
    let xml = Xml::ok()
        .element("sessionUrl0", session_url(rtsp, encrypted))
        .element("gamesession", 1);
    respond(xml)
}

/// `resume` was done.
#[must_use]
pub fn resumed(rtsp: SocketAddr, encrypted: bool) -> HttpResponse {
    let xml = Xml::ok()
        .element("sessionUrl0", session_url(rtsp, encrypted))
        .element("resume", 1);
    respond(xml)
}

/// `cancel` was done.
#[must_use]
pub fn cancelled() -> HttpResponse {
    respond(Xml::ok().element("cancel", 1))
}

/// What is wrong, for the client's user. Every field that a client may look for says no.
#[must_use]
pub fn error(status: u16, message: &str) -> HttpResponse {
    let xml = Xml::error(status, message)
        .element("paired", 0)
        .element("gamesession", 0)
        .element("resume", 0)
        .element("cancel", 0);
    respond(xml)
}

/// The client is not paired. Clients go back to HTTP when they read this.
#[must_use]
pub fn unauthorised() -> HttpResponse {
    error(401, "this client is not paired with this host")
}

/// There is nothing at this path, or not that application.
#[must_use]
pub fn not_found(message: &str) -> HttpResponse {
    HttpResponse {
        status: 404,
        ..error(404, message)
    }
}

impl From<&RequestError> for HttpResponse {
    fn from(refused: &RequestError) -> Self {
        match refused {
            RequestError::NotFound => not_found(&refused.to_string()),
            _ => error(refused.status(), &refused.to_string()),
        }
    }
}

impl From<HttpError> for HttpResponse {
    fn from(refused: HttpError) -> Self {
        Self {
            status: refused.status(),
            ..error(refused.status(), &refused.to_string())
        }
    }
}

fn respond(xml: Xml) -> HttpResponse {
    HttpResponse {
        status: 200,
        content: Content::Xml,
        body: xml.finish(),
    }
}

fn session_url(rtsp: SocketAddr, encrypted: bool) -> String {
    let scheme = if encrypted { "rtspenc" } else { "rtsp" };
    let address = match rtsp.ip() {
        // An address that reached us over a socket of both families is the client's IPv4.
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(IpAddr::V6(v6), IpAddr::V4),
        v4 @ IpAddr::V4(_) => v4,
    };
    format!("{scheme}://{}", SocketAddr::new(address, rtsp.port()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}
