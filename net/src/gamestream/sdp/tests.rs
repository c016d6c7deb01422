use proptest::prelude::*;

use super::*;
use crate::audio::{Quality, Speakers};

/// What a client sends, in its order and with its trailing blanks; the values are our own.
const ANNOUNCE: &str = "v=0\r\no=android 0 14 IN IPv4 10.0.0.2\r\ns=NVIDIA Streaming Client\r\n\
a=x-ml-general.featureFlags:3 \r\na=x-ss-general.encryptionEnabled:1 \r\n\
a=x-ss-video[0].chromaSamplingType:0 \r\na=x-nv-video[0].clientViewportWd:1280 \r\n\
a=x-nv-video[0].clientViewportHt:720 \r\na=x-nv-video[0].maxFPS:60 \r\n\
a=x-nv-video[0].packetSize:1392 \r\na=x-nv-video[0].rateControlMode:4 \r\n\
a=x-nv-video[0].timeoutLengthMs:7000 \r\na=x-nv-video[0].framesWithInvalidRefThreshold:0 \r\n\
a=x-nv-video[0].initialBitrateKbps:8000 \r\na=x-nv-video[0].initialPeakBitrateKbps:8000 \r\n\
a=x-nv-vqos[0].bw.minimumBitrateKbps:8000 \r\na=x-nv-vqos[0].bw.maximumBitrateKbps:8000 \r\n\
a=x-ml-video.configuredBitrateKbps:10000 \r\na=x-nv-vqos[0].fec.enable:1 \r\n\
a=x-nv-vqos[0].videoQualityScoreUpdateTime:5000 \r\na=x-nv-vqos[0].qosTrafficType:5 \r\n\
a=x-nv-aqos.qosTrafficType:4 \r\na=x-nv-general.featureFlags:167 \r\n\
a=x-nv-general.useReliableUdp:13 \r\na=x-nv-vqos[0].fec.minRequiredFecPackets:2 \r\n\
a=x-nv-vqos[0].bllFec.enable:0 \r\na=x-nv-vqos[0].drc.enable:0 \r\n\
a=x-nv-general.enableRecoveryMode:0 \r\na=x-nv-video[0].videoEncoderSlicesPerFrame:4 \r\n\
a=x-nv-clientSupportHevc:0 \r\na=x-nv-vqos[0].bitStreamFormat:0 \r\n\
a=x-nv-video[0].dynamicRangeMode:0 \r\na=x-nv-video[0].maxNumReferenceFrames:1 \r\n\
a=x-nv-video[0].clientRefreshRateX100:5994 \r\na=x-nv-audio.surround.numChannels:6 \r\n\
a=x-nv-audio.surround.channelMask:63 \r\na=x-nv-audio.surround.enable:1 \r\n\
a=x-nv-audio.surround.AudioQuality:1 \r\na=x-nv-aqos.packetDuration:5 \r\n\
a=x-nv-video[0].encoderCscMode:3 \r\nt=0 0\r\nm=video 47998  \r\n";

fn with(name: &str, value: &str) -> Result<StreamConfig, SdpError> {
    let at = ANNOUNCE.find(&format!("a={name}:")).expect("it is there");
    let end = at + ANNOUNCE[at..].find('\r').expect("lines end");
    let text = format!("{}a={name}:{value} {}", &ANNOUNCE[..at], &ANNOUNCE[end..]);
    StreamConfig::parse(text.as_bytes()).map(|announced| announced.config)
}

#[test]
fn a_clients_announce_is_understood_whole() {
    let announced = StreamConfig::parse(ANNOUNCE.as_bytes()).expect("valid");
    assert_eq!(announced.unknown, 0, "every attribute stands in the table");
    let expected = StreamConfig {
        mode: "1280x720@59.94".parse().expect("a mode"),
        bitrate: BitsPerSecond(10_000_000),
        packet_bytes: 1392,
        format: VideoFormat::H264,
        slices: SliceCount::new(4).expect("4"),
        parity_min: 2,
        reference_frames_max: 1,
        hdr: false,
        full_chroma: false,
        color_space: ColorSpace::Rec709,
        full_range: true,
        intra_refresh: false,
        audio: AudioConfig {
            channels: 6,
            mask: 0x3f,
            packet_ms: 5,
            high_quality: true,
        },
        encryption: Encryption {
            control_v2: true,
            video: false,
            audio: true,
        },
        fec_status: true,
        session_ids: true,
        video_qos: true,
        audio_qos: true,
    };
    assert_eq!(announced.config, expected);
}

#[test]
fn the_exact_refresh_counts_only_where_it_is_the_rate_asked_for() {
    let refresh = |x100: &str| {
        let config = with("x-nv-video[0].clientRefreshRateX100", x100).expect("valid");
        config.mode.refresh().get()
    };
    assert_eq!(refresh("0"), 60_000);
    assert_eq!(refresh("5994"), 59_940);
    assert_eq!(refresh("12000"), 60_000);
}

#[test]
fn without_the_users_figure_the_bitrate_follows_the_maximum() {
    let config = with("x-ml-video.configuredBitrateKbps", "0").expect("valid");
    assert_eq!(config.bitrate, BitsPerSecond(10_000_000));
    let config = with("x-ml-video.configuredBitrateKbps", "1").expect("valid");
    assert_eq!(config.bitrate, BitsPerSecond(BITRATE_MIN));
}

#[test]
fn absurd_values_are_refused_with_the_reason() {
    for (name, value) in [
        ("x-nv-video[0].clientViewportWd", "-1280"),
        ("x-nv-video[0].clientViewportWd", "0"),
        ("x-nv-video[0].clientViewportHt", "721"),
        ("x-nv-video[0].clientViewportHt", "4294967295"),
        ("x-nv-video[0].clientViewportHt", "99999999999999999999"),
        ("x-nv-video[0].maxFPS", "0"),
        ("x-nv-video[0].maxFPS", "5"),
        ("x-nv-video[0].maxFPS", "59.94"),
        ("x-nv-video[0].maxFPS", "601"),
        ("x-nv-video[0].packetSize", "0"),
        ("x-nv-video[0].packetSize", "1500"),
        ("x-nv-video[0].packetSize", "-1024"),
        ("x-nv-vqos[0].bw.maximumBitrateKbps", "0"),
        ("x-nv-vqos[0].bw.maximumBitrateKbps", "2147483647"),
        ("x-nv-video[0].videoEncoderSlicesPerFrame", "255"),
        ("x-nv-vqos[0].fec.minRequiredFecPackets", "200"),
        ("x-nv-vqos[0].bitStreamFormat", "3"),
        ("x-nv-audio.surround.numChannels", "3"),
        ("x-nv-audio.surround.numChannels", "8"),
        ("x-nv-audio.surround.channelMask", "0"),
        ("x-nv-aqos.packetDuration", "7"),
        ("x-nv-video[0].encoderCscMode", "6"),
        ("x-nv-general.useReliableUdp", "1"),
        ("x-nv-video[0].dynamicRangeMode", ""),
    ] {
        let error = with(name, value).expect_err("absurd").to_string();
        assert!(error.len() < 200, "{name}={value}: {error}");
    }
    assert_eq!(
        with("x-nv-video[0].packetSize", "1500")
            .expect_err("absurd")
            .to_string(),
        "x-nv-video[0].packetSize is 1500: it must lie between 512 and 1392"
    );
    let twice = format!("{ANNOUNCE}a=x-nv-video[0].maxFPS:30\r\n");
    let error = StreamConfig::parse(twice.as_bytes()).expect_err("twice");
    assert_eq!(
        error,
        SdpError::Twice {
            name: "x-nv-video[0].maxFPS"
        }
    );
    let none = StreamConfig::parse(b"v=0\r\na=x-nv-general.useReliableUdp:13\r\n");
    assert!(matches!(none, Err(SdpError::Missing { .. })), "{none:?}");
    assert!(matches!(
        StreamConfig::parse(b""),
        Err(SdpError::PlainControl { value: 1 })
    ));
    let long = vec![b'a'; SDP_BYTES_MAX + 1];
    assert!(matches!(
        StreamConfig::parse(&long),
        Err(SdpError::TooLong { .. })
    ));
    assert_eq!(StreamConfig::parse(&[0xff]), Err(SdpError::NotText));
}

#[test]
fn every_honoured_attribute_stands_in_the_table_once() {
    for field in 0..FIELDS {
        let count = ATTRIBUTES
            .iter()
            .filter(|(_, rule)| matches!(rule, Honoured(this, ..) if *this as usize == field))
            .count();
        assert_eq!(count, 1, "field {field}");
    }
    for (at, (name, _)) in ATTRIBUTES.iter().enumerate() {
        assert!(
            ATTRIBUTES[..at].iter().all(|(other, _)| other != name),
            "{name}"
        );
    }
}

/// The layout as a client computes it from the text.
#[test]
fn surround_parameters_come_back_as_they_are() {
    let sdp = Description::default().to_sdp();
    for channels in [6u8, 8] {
        let prefix = format!("a=fmtp:97 surround-params={channels}");
        let found: Vec<&str> = sdp.split(&prefix).skip(1).collect();
        assert_eq!(found.len(), 2);
        for (text, high) in found.into_iter().zip([false, true]) {
            let digits: Vec<u8> = text
                .bytes()
                .take_while(u8::is_ascii_digit)
                .map(|d| d - b'0')
                .collect();
            let layout = OpusLayout::of(channels, high);
            let speakers = Speakers::from_channels(channels).expect("they exist");
            let quality = if high { Quality::High } else { Quality::Normal };
            let made = crate::audio::OpusLayout::of(speakers, quality);
            let channels = usize::from(channels);
            assert_eq!(
                (made.streams, made.coupled, &made.mapping[..channels]),
                (layout.streams, layout.coupled, &layout.mapping[..channels]),
                "what is said is what Opus is told"
            );
            assert_eq!(digits[..2], [layout.streams, layout.coupled]);
            let mut mapping = digits[2..].to_vec();
            if !high {
                mapping[3..].rotate_right(1);
            }
            assert_eq!(mapping, layout.mapping[..channels]);
            assert_eq!(usize::from(layout.streams + layout.coupled), channels);
        }
    }
}

#[test]
fn the_description_in_full() {
    let all = Description {
        hevc: true,
        av1: true,
        invalidation: true,
        pen_touch: true,
        controller_touch: true,
        supported: Encryption {
            control_v2: true,
            video: true,
            audio: true,
        },
        requested: Encryption {
            control_v2: true,
            video: false,
            audio: false,
        },
    };
    let expected = "a=x-ss-general.featureFlags:3\r\na=x-ss-general.encryptionSupported:7\r\n\
        a=x-ss-general.encryptionRequested:1\r\na=x-nv-video[0].refPicInvalidation:1\r\n\
        sprop-parameter-sets=AAAAAU\r\na=rtpmap:98 AV1/90000\r\n\
        a=fmtp:97 surround-params=21101\r\na=fmtp:97 surround-params=642014235\r\n\
        a=fmtp:97 surround-params=660012345\r\na=fmtp:97 surround-params=85301623457\r\n\
        a=fmtp:97 surround-params=88001234567\r\n";
    assert_eq!(all.to_sdp(), expected);
    let none = Description::default().to_sdp();
    for word in ["AV1/90000", "AAAAAU", "refPicInvalidation"] {
        assert!(!none.contains(word));
    }
}

proptest! {
    /// Any value in any attribute: within the limits or refused.
    #[test]
    fn any_values(
        name in 0..ATTRIBUTES.len(),
        value in any::<i64>(),
        small in -3..3000i64,
        near in any::<bool>(),
    ) {
        let name = ATTRIBUTES[name].0;
        let value = if near { small } else { value };
        if ANNOUNCE.contains(name) && let Ok(config) = with(name, &value.to_string()) {
            prop_assert!(config.bitrate.0 <= BITRATE_MAX && config.bitrate.0 >= BITRATE_MIN);
            prop_assert!((PACKET_BYTES_MIN..=PACKET_BYTES_MAX).contains(&config.packet_bytes));
            prop_assert!(config.parity_min <= 32);
        }
    }
}
