use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::*;
use crate::gamestream::http::{HttpResponse, Query};

/// As moonlight-qt asks for a launch.
const LAUNCH: &str = "uniqueid=0123456789ABCDEF&uuid=5dd6ac7ac1c3444bb5e8f6cb4ce8d0ab&appid=7\
    &mode=2560x1440x120&additionalStates=1&sops=1&rikey=000102030405060708090a0b0c0d0e0f\
    &rikeyid=-2&hdrMode=1&clientHdrCapVersion=0&localAudioPlayMode=0\
    &surroundAudioInfo=4128774&remoteControllersBitmap=3&gcmap=3&gcpersist=1&corever=1";

fn parse(path: &str, query: &str) -> Result<Request, RequestError> {
    Request::parse(&HttpRequest {
        path: path.to_owned(),
        query: Query::parse(query).expect("a query"),
    })
}

fn body(response: &HttpResponse) -> &str {
    std::str::from_utf8(&response.body).expect("UTF-8")
}

#[test]
fn a_launch_is_read_field_by_field() {
    let Ok(Request::Launch(launch)) = parse("/launch", LAUNCH) else {
        panic!("{:?}", parse("/launch", LAUNCH));
    };
    let key: [u8; 16] = std::array::from_fn(|i| i as u8);
    let expected = LaunchRequest {
        app: AppId(7),
        mode: Mode::new(2560, 1440, 120_000).expect("a mode"),
        optimise: true,
        stream: StreamRequest {
            client: UniqueId::new("0123456789ABCDEF"),
            key: key.into(),
            key_id: 0xffff_fffe,
            surround: SurroundInfo {
                channels: 6,
                mask: 0x3f,
            },
            surround_params: None,
            continuous_audio: false,
            local_audio: Some(false),
            controllers: 3,
            controllers_persist: true,
            hdr: true,
            core_version: 1,
        },
    };
    assert_eq!(launch, expected);
    assert!(!format!("{launch:?}").contains("0a0b"), "no key in the log");
}

#[test]
fn a_resume_needs_less() {
    let query = "rikey=000102030405060708090a0b0c0d0e0f&rikeyid=4294967295&surroundParams=21101";
    let Ok(Request::Resume(resume)) = parse("/resume", query) else {
        panic!("{:?}", parse("/resume", query));
    };
    assert_eq!(resume.mode, None);
    assert_eq!(resume.stream.key_id, u32::MAX);
    assert_eq!(resume.stream.surround, SurroundInfo::STEREO);
    assert_eq!(resume.stream.surround_params.as_deref(), Some("21101"));
    assert_eq!(resume.stream.local_audio, None);
}

#[test]
fn absurd_values_are_refused_by_name() {
    for (field, value) in [
        ("appid", "0"),
        ("appid", "-1"),
        ("appid", "2147483648"),
        ("mode", "1920x1080"),
        ("mode", "1920x1080x60x1"),
        ("mode", "-1920x1080x60"),
        ("mode", "99999x1080x60"),
        ("mode", "1921x1080x60"),
        ("mode", "1920x1080x4294967295"),
        ("mode", "1920x1080x0"),
        ("rikey", "0001"),
        ("rikey", "zz0102030405060708090a0b0c0d0e0f"),
        ("rikeyid", "4294967296"),
        ("rikeyid", "-2147483649"),
        ("surroundAudioInfo", "0"),
        ("surroundAudioInfo", "9"),
        ("gcmap", "-1"),
        ("sops", "yes"),
        ("uniqueid", ""),
        ("uniqueid", "../../etc/passwd"),
    ] {
        let replaced: Vec<String> = LAUNCH
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((name, _)) if name == field => format!("{field}={value}"),
                _ => pair.to_owned(),
            })
            .collect();
        match parse("/launch", &replaced.join("&")) {
            Err(RequestError::Invalid { field: named, .. }) => assert_eq!(named, field),
            other => panic!("{field}={value}: {other:?}"),
        }
        let doubled = format!("{LAUNCH}&{field}=1");
        assert_eq!(
            parse("/launch", &doubled),
            Err(RequestError::Repeated(field))
        );
    }
    assert_eq!(
        parse("/launch", "appid=1"),
        Err(RequestError::Missing("mode"))
    );
    assert_eq!(parse("/applist/", ""), Err(RequestError::NotFound));
}

#[test]
fn every_step_of_pairing_is_told_from_the_others() {
    let step = |query: &str| {
        parse(
            "/pair",
            &format!("uniqueid=1&devicename=roth&updateState=1&{query}"),
        )
        .map(|request| match request {
            Request::Pair { step, .. } => step,
            other => panic!("{other:?}"),
        })
    };
    let digits = "00112233445566778899aabbccddeeFF";
    assert!(matches!(
        step(&format!("phrase=getservercert&salt={digits}&clientcert=2d2d")),
        Ok(PairStep::GetServerCert { salt: [0, .., 0xff], certificate }) if certificate == b"--"
    ));
    assert_eq!(step("phrase=pairchallenge"), Ok(PairStep::PairChallenge));
    assert!(matches!(
        step(&format!("clientchallenge={digits}")),
        Ok(PairStep::ClientChallenge([0, .., 0xff]))
    ));
    assert!(matches!(
        step(&format!("serverchallengeresp={digits}{digits}")),
        Ok(PairStep::ServerChallengeResponse([0, .., 0xff]))
    ));
    assert!(matches!(
        step(&format!("clientpairingsecret={digits}0102")),
        Ok(PairStep::ClientPairingSecret { secret: [0, .., 0xff], signature })
            if signature == [1, 2]
    ));
    // A challenge of another length would have the host decrypt what it should not.
    assert!(step(&format!("clientchallenge={digits}{digits}")).is_err());
    assert!(step("clientpairingsecret=00").is_err());
    assert!(step("phrase=nonsense").is_err());
    assert!(step("").is_err());
    assert!(step(&format!("clientpairingsecret={}", "00".repeat(529))).is_err());
}

#[test]
fn server_info_is_what_clients_know() {
    let facts = HostFacts {
        name: "a&b".to_owned(),
        unique_id: "id".to_owned(),
        http_port: 47989,
        https_port: 47984,
        codecs: CodecModes::H264,
        mac: Some([2, 0, 0xab, 0, 0, 1]),
    };
    let v4 = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let response = server_info(&facts, v4, true, AppId::new(5));
    assert_eq!(
        body(&response),
        "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<root status_code=\"200\">\
         <hostname>a&amp;b</hostname><appversion>7.1.431.-1</appversion>\
         <GfeVersion>3.23.0.74</GfeVersion><uniqueid>id</uniqueid><HttpsPort>47984</HttpsPort>\
         <ExternalPort>47989</ExternalPort><MaxLumaPixelsHEVC>0</MaxLumaPixelsHEVC>\
         <mac>02:00:ab:00:00:01</mac><LocalIP>192.0.2.1</LocalIP>\
         <ServerCodecModeSupport>1</ServerCodecModeSupport><PairStatus>1</PairStatus>\
         <currentgame>5</currentgame><state>SUNSHINE_SERVER_BUSY</state></root>\n"
    );
    let v6 = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let response = server_info(&facts, v6, false, None);
    for text in [
        "<mac>00:00:00:00:00:00</mac>",
        "<LocalIP>127.0.0.1</LocalIP>",
        "<PairStatus>0</PairStatus>",
        "<state>SUNSHINE_SERVER_FREE</state>",
    ] {
        assert!(body(&response).contains(text), "{text}");
    }
}

#[test]
fn session_addresses_fit_their_family() {
    let url = |address: &str, encrypted| {
        let address: SocketAddr = address.parse().expect("an address");
        let response = launched(address, encrypted);
        let text = body(&response);
        let (_, rest) = text.split_once("<sessionUrl0>").expect("an address");
        rest.split_once('<').expect("its end").0.to_owned()
    };
    assert_eq!(url("192.0.2.1:48010", false), "rtsp://192.0.2.1:48010");
    assert_eq!(url("[fe80::1]:48010", true), "rtspenc://[fe80::1]:48010");
    assert_eq!(
        url("[::ffff:192.0.2.1]:48010", false),
        "rtsp://192.0.2.1:48010"
    );
}

#[test]
fn refusals_carry_their_code_in_the_xml() {
    let response = unauthorised();
    assert_eq!(response.status, 200);
    assert!(body(&response).contains("<root status_code=\"401\" status_message="));
    assert_eq!(HttpResponse::from(&RequestError::NotFound).status, 404);
    assert_eq!(HttpResponse::from(&RequestError::Missing("x")).status, 200);
}
