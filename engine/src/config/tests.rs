//! The configuration, as its users give it.

use super::*;

fn host(flags: &[(&'static str, &str)]) -> Result<HostConfig, ConfigError> {
    let mut all = vec![("state-dir", "/nowhere")];
    all.extend_from_slice(flags);
    HostConfig::from_settings(&Settings::of(&all))
}

#[test]
fn defaults_listen_on_loopback_only() {
    let config = host(&[]).expect("defaults are valid");
    assert_eq!(config.listen, "127.0.0.1:9777".parse().expect("address"));
    assert_eq!(config.app, App::TestCard);
}

#[test]
fn beyond_loopback_only_the_paired_are_served_unless_the_operator_says_so() {
    let admit = |flags: &[(&'static str, &str)]| host(flags).map(|config| config.admit);
    assert!(matches!(admit(&[]), Ok(Admit::Machine)));
    assert!(matches!(admit(&[("bind", "::1")]), Ok(Admit::Machine)));
    assert!(matches!(admit(&[("bind", "0.0.0.0")]), Ok(Admit::Paired)));
    assert!(matches!(admit(&[("bind", "::")]), Ok(Admit::Paired)));
    let open = ("open", "true");
    let required = ("require-pairing", "true");
    assert!(matches!(admit(&[("bind", "::"), open]), Ok(Admit::Anybody)));
    assert!(matches!(admit(&[required]), Ok(Admit::Paired)));
    assert!(matches!(
        admit(&[open, required]),
        Err(ConfigError::Contradiction)
    ));
}

#[test]
fn applications_have_names() {
    let name = |text| parse_app(text).map(|app| app.name());
    assert_eq!(name("testcard").as_deref(), Ok("testcard"));
    assert_eq!(name("none").as_deref(), Ok("none"));
    assert_eq!(name("/usr/bin/foot -e top").as_deref(), Ok("foot"));
}

#[test]
fn a_bad_value_names_its_flag() {
    let error = host(&[("mode", "0x0@60")])
        .expect_err("no such mode")
        .to_string();
    assert!(
        error.starts_with("--mode: \"0x0@60\" is not valid: "),
        "{error}"
    );
}

#[test]
fn the_kernel_keeps_departure_times_only_where_that_is_asked_for() {
    let pace = |text| host(&[("pace", text)]).map(|config| config.pace.wants_txtime());
    assert!(matches!(pace("auto"), Ok(false)));
    assert!(matches!(pace("timer"), Ok(false)));
    assert!(matches!(pace("txtime"), Ok(true)));
    assert!(matches!(pace("fq"), Err(ConfigError::Value { .. })));
    assert_eq!(host(&[]).expect("defaults are valid").pace, PaceBy::Auto);
}

#[test]
fn flags_win_over_the_file() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("config.toml");
    std::fs::write(&path, "port = 1234\nslices = 4\nstate_dir = \"/s\"\n").expect("write");
    let flags = [("port", Some("5678".to_owned())), ("slices", None)];
    let settings = Settings::gather(flags, Some(&path)).expect("valid");
    let config = HostConfig::from_settings(&settings).expect("valid");
    assert_eq!(config.listen.port(), 5678);
    assert_eq!(config.slices.map(SliceCount::get), Some(4));
    assert_eq!(config.state_dir, Path::new("/s"));
}

#[test]
fn gamestream_is_opt_in_and_listens_around_its_base() {
    assert!(host(&[]).expect("defaults are valid").gamestream.is_none());
    let config = host(&[("gamestream", "true"), ("gamestream-port", "50000")]);
    let config = config.expect("valid").gamestream.expect("asked for");
    assert_eq!(
        (config.ports.https(), config.ports.rtsp()),
        (49_995, 50_021)
    );
    assert_eq!(config.bind, None);
    assert!(host(&[("gamestream-port", "80")]).is_err());
    assert!(host(&[("gamestream-port", "65530")]).is_err());
}

#[test]
fn an_unknown_key_in_the_file_lists_the_known_ones() {
    let directory = tempfile::tempdir().expect("temporary directory");
    let path = directory.path().join("config.toml");
    std::fs::write(&path, "prot = 1234\n").expect("write");
    let Err(error) = Settings::gather([], Some(&path)) else {
        panic!("accepted")
    };
    let error = error.to_string();
    assert!(
        error.contains("\"prot\"") && error.contains("port"),
        "{error}"
    );
}

#[test]
fn bitrates_have_units() {
    assert_eq!(parse_bitrate("20M"), Ok(BitsPerSecond(20_000_000)));
    assert_eq!(parse_bitrate("2.5 M"), Ok(BitsPerSecond(2_500_000)));
    assert_eq!(parse_bitrate("8000"), Ok(BitsPerSecond(8_000_000)));
    assert!(parse_bitrate("1").is_err());
    assert!(parse_bitrate("20X").is_err());
}

#[test]
fn applications_are_split_into_words() {
    let words = |text| match parse_app(text) {
        Ok(App::Command(words)) => words,
        other => panic!("{other:?}"),
    };
    assert_eq!(words("foot -e 'top -d 1'"), ["foot", "-e", "top -d 1"]);
    assert_eq!(words("a \"\" b"), ["a", "", "b"]);
    assert!(parse_app("a 'b").is_err());
    assert!(parse_app("  ").is_err());
}
