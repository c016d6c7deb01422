//! The listeners over real sockets, with clients whose certificates are paired beforehand. What
//! pairing itself does is tested in `net`, and with a stock client in the harness.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU16, Ordering};

use boring::ssl::{
    SslConnector, SslMethod, SslSessionCacheMode, SslStream, SslVerifyMode, SslVersion,
};
use net::gamestream::nvhttp::AppId;
use net::gamestream::pairing::{ClientCertificate, PairingIdentity};

use super::sessions::MemorySessions;
use super::*;

/// Beyond this a test has failed; nothing is measured with it.
const PATIENCE: Duration = Duration::from_secs(5);
const LAUNCH: &str = "/launch?uniqueid=1&appid=2&mode=1280x720x60&sops=0&localAudioPlayMode=0\
    &rikey=000102030405060708090a0b0c0d0e0f&rikeyid=1&corever=1";
const RESUME: &str = "/resume?uniqueid=1&rikey=000102030405060708090a0b0c0d0e0f&rikeyid=1";

struct Rig {
    gamestream: GameStream,
    sessions: Arc<MemorySessions>,
    store: Store,
    directory: tempfile::TempDir,
}

impl Rig {
    /// A host with these clients paired.
    fn new(clients: &[&PairingIdentity]) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let store = Store::open(directory.path()).expect("open");
        let mut paired = PairedClients::open(&store).expect("none yet");
        for client in clients {
            paired.add(certificate(client), "client").expect("added");
        }
        let sessions = Arc::new(MemorySessions::new(1));
        let gamestream = start(
            &store,
            Arc::clone(&sessions) as Arc<dyn Sessions>,
            &directory,
        );
        Self {
            gamestream,
            sessions,
            store,
            directory,
        }
    }

    fn http(&self, target: &str) -> String {
        ask(self.connect(self.gamestream.ports().http()), target)
    }

    fn https(&self, client: Option<&PairingIdentity>, target: &str) -> String {
        ask(self.tls(client, None), target)
    }

    fn connect(&self, port: u16) -> TcpStream {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
        stream
    }

    fn tls(
        &self,
        client: Option<&PairingIdentity>,
        only: Option<SslVersion>,
    ) -> SslStream<TcpStream> {
        let mut builder = SslConnector::builder(SslMethod::tls()).expect("a builder");
        builder.set_verify(SslVerifyMode::NONE);
        builder.set_session_cache_mode(SslSessionCacheMode::OFF);
        builder.set_min_proto_version(only).expect("a version");
        builder.set_max_proto_version(only).expect("a version");
        if let Some(client) = client {
            builder.set_certificate(client.certificate()).expect("ours");
            builder.set_private_key(client.key()).expect("ours");
        }
        let stream = self.connect(self.gamestream.ports().https());
        let mut configuration = builder.build().configure().expect("a configuration");
        configuration.set_verify_hostname(false);
        configuration.connect("host", stream).expect("a handshake")
    }
}

/// On the first ports that are free: other tests run beside, and other programs.
fn start(store: &Store, sessions: Arc<dyn Sessions>, directory: &tempfile::TempDir) -> GameStream {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let base = 20_000 + (std::process::id() as u16 % 200) * 100 + step % 100;
        let config = GameStreamConfig {
            bind: Some(Ipv4Addr::LOCALHOST.into()),
            ports: Ports::new(base).expect("within bounds"),
            name: "host <1>".to_owned(),
            apps: Some(directory.path().join("apps.json")),
        };
        match GameStream::start(
            config,
            store,
            CodecModes::H264,
            Arc::clone(&sessions),
            native(store),
        ) {
            Ok(gamestream) => return gamestream,
            Err(
                GameStreamError::Bind { .. }
                | GameStreamError::Management(ManagementError::Bind { .. }),
            ) if step < 1000 => {}
            Err(error) => panic!("{error}"),
        }
    }
}

fn native(store: &Store) -> Arc<NativeTrust> {
    Arc::new(NativeTrust::open(store).expect("none yet"))
}

fn identity() -> PairingIdentity {
    PairingIdentity::generate().expect("an identity")
}

fn certificate(identity: &PairingIdentity) -> ClientCertificate {
    ClientCertificate::from_pem(identity.certificate_pem()).expect("a certificate")
}

fn ask(mut stream: impl Read + Write, target: &str) -> String {
    write!(stream, "GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").expect("it listens");
    read(stream)
}

fn read(mut stream: impl Read) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> u16 {
    let (_, rest) = answer
        .split_once("status_code=\"")
        .unwrap_or_else(|| panic!("no status in {answer:?}"));
    let (status, _) = rest.split_once('"').expect("the attribute's end");
    status.parse().expect("a number")
}

#[test]
fn the_unpaired_reach_serverinfo_and_pairing_only() {
    let rig = Rig::new(&[]);
    let info = rig.http("/serverinfo?uniqueid=1");
    assert_eq!(status(&info), 200);
    assert!(info.contains("<PairStatus>0</PairStatus>"), "{info}");
    assert!(
        info.contains("<hostname>host &lt;1&gt;</hostname>"),
        "{info}"
    );
    let stranger = identity();
    let beyond = [
        "/applist",
        "/appasset?appid=1",
        LAUNCH,
        RESUME,
        "/cancel",
        "/pair?uniqueid=1&phrase=pairchallenge",
    ];
    for target in beyond {
        assert_eq!(status(&rig.http(target)), 401, "{target}");
    }
    for target in beyond
        .into_iter()
        .chain(["/serverinfo", "/unpair?uniqueid=1"])
    {
        assert_eq!(status(&rig.https(None, target)), 401, "{target}");
        assert_eq!(status(&rig.https(Some(&stranger), target)), 401, "{target}");
    }
    assert!(rig.http("/other").starts_with("HTTP/1.1 404 "));
    assert!(
        rig.sessions
            .current(certificate(&stranger).fingerprint())
            .is_none()
    );
}

#[test]
fn a_paired_client_launches_resumes_and_ends() {
    let client = identity();
    let fingerprint = certificate(&client).fingerprint();
    let rig = Rig::new(&[&client]);
    let apps = rig.https(Some(&client), "/applist");
    assert!(
        apps.contains("<AppTitle>Test card</AppTitle><ID>2</ID>"),
        "{apps}"
    );
    let paired = rig.https(Some(&client), "/pair?uniqueid=1&phrase=pairchallenge");
    assert!(paired.contains("<paired>1</paired>"), "{paired}");
    let picture = rig.https(Some(&client), "/appasset?appid=1&AssetType=2&AssetIdx=0");
    assert!(picture.contains("Content-Type: image/png"), "{picture}");

    assert_eq!(
        status(&rig.https(Some(&client), RESUME)),
        503,
        "nothing to resume"
    );
    let launched = rig.https(Some(&client), LAUNCH);
    let url = format!("rtspenc://127.0.0.1:{}<", rig.gamestream.ports().rtsp());
    assert!(launched.contains(&url), "{launched}");
    assert!(
        launched.contains("<gamesession>1</gamesession>"),
        "{launched}"
    );
    let request = rig.sessions.launched(fingerprint).expect("launched");
    assert_eq!(request.mode.to_string(), "1280x720@60");

    let info = rig.https(Some(&client), "/serverinfo");
    assert!(info.contains("<currentgame>2</currentgame>"), "{info}");
    assert!(info.contains("_SERVER_BUSY</state>"), "{info}");
    assert_eq!(
        status(&rig.https(Some(&client), LAUNCH)),
        400,
        "it runs already"
    );
    let resumed = rig.https(Some(&client), RESUME);
    assert!(resumed.contains("<resume>1</resume>"), "{resumed}");
    assert!(resumed.contains(">rtsp://"), "without corever: {resumed}");

    let ended = rig.https(Some(&client), "/cancel");
    assert!(ended.contains("<cancel>1</cancel>"), "{ended}");
    let info = rig.https(Some(&client), "/serverinfo");
    assert!(info.contains("<currentgame>0</currentgame>"), "{info}");
}

#[test]
fn clients_have_sessions_of_their_own() {
    let (one, two) = (identity(), identity());
    let rig = Rig::new(&[&one, &two]);
    assert_eq!(status(&rig.https(Some(&one), LAUNCH)), 200);
    let info = rig.https(Some(&two), "/serverinfo");
    assert!(info.contains("<currentgame>0</currentgame>"), "{info}");
    assert_eq!(
        status(&rig.https(Some(&two), LAUNCH)),
        503,
        "one place only"
    );
    assert_eq!(status(&rig.https(Some(&two), "/cancel")), 200);
    let running = rig.sessions.current(certificate(&one).fingerprint());
    assert_eq!(running, AppId::new(2), "another client's session goes on");
}

#[test]
fn an_unpaired_client_is_refused_at_once_and_loses_its_session() {
    let (one, two) = (identity(), identity());
    let rig = Rig::new(&[&one, &two]);
    let first = certificate(&one).fingerprint();
    assert_eq!(status(&rig.https(Some(&one), LAUNCH)), 200);
    // Over HTTP, where anybody could ask, nothing is forgotten.
    assert_eq!(status(&rig.http("/unpair?uniqueid=1")), 200);
    assert_eq!(
        rig.gamestream
            .operator()
            .clients()
            .expect("an answer")
            .len(),
        2
    );

    assert!(rig.gamestream.operator().unpair(first).expect("an answer"));
    assert!(!rig.gamestream.operator().unpair(first).expect("an answer"));
    assert_eq!(rig.sessions.current(first), None);
    assert_eq!(status(&rig.https(Some(&one), "/applist")), 401);
    // And by itself.
    assert_eq!(status(&rig.https(Some(&two), "/unpair?uniqueid=1")), 200);
    assert_eq!(status(&rig.https(Some(&two), "/applist")), 401);
    let kept = PairedClients::open(&rig.store).expect("read");
    assert!(kept.list().is_empty(), "on disk too");
}

#[test]
fn idle_and_slow_connections_keep_nobody_waiting() {
    let client = identity();
    let rig = Rig::new(&[&client]);
    let https = rig.gamestream.ports().https();
    // Silent ones, and such as stop in the middle of a handshake, of a request, of a pairing.
    let mut held: Vec<TcpStream> = (0..20).map(|_| rig.connect(https)).collect();
    for stream in &mut held[..10] {
        stream
            .write_all(b"\x16\x03\x01\x02\x00\x01")
            .expect("written");
    }
    let mut slow = rig.tls(Some(&client), None);
    slow.write_all(b"GET /applist HTTP/1.1\r\nA: ")
        .expect("written");
    let mut half = rig.connect(rig.gamestream.ports().http());
    half.write_all(b"GET /serverinfo").expect("written");
    let mut pairing = rig.connect(rig.gamestream.ports().http());
    pairing
        .write_all(begin_pairing(&client).as_bytes())
        .expect("written");

    for _ in 0..3 {
        assert_eq!(status(&rig.https(Some(&client), "/applist")), 200);
        assert_eq!(status(&rig.http("/serverinfo")), 200);
    }
    // The slow one gets its answer too.
    slow.write_all(b"b\r\n\r\n").expect("written");
    assert_eq!(status(&read(slow)), 200);
    drop(held);
}

#[test]
fn a_neighbour_cannot_take_all_places() {
    let rig = Rig::new(&[]);
    let port = rig.gamestream.ports().http();
    let mut held: Vec<TcpStream> = (0..http::CONNECTIONS_PER_ADDRESS_MAX)
        .map(|_| rig.connect(port))
        .collect();
    // All are taken, so this one is closed without a word.
    let mut refused = rig.connect(port);
    let mut word = [0; 1];
    assert!(matches!(refused.read(&mut word), Ok(0) | Err(_)));
    // Another address has its place.
    assert_eq!(
        status(&ask(
            connect_from(Ipv4Addr::new(127, 0, 0, 2), port),
            "/serverinfo"
        )),
        200
    );
    held.truncate(held.len() / 2);
    let answer = std::iter::repeat_with(|| {
        let mut stream = rig.connect(port);
        // A place is free once the host has seen the others go.
        let asked = write!(stream, "GET /serverinfo HTTP/1.1\r\n\r\n");
        let mut answer = String::new();
        asked
            .and_then(|()| stream.read_to_string(&mut answer))
            .map(|_| answer)
    });
    let mut answers = answer.take(1000).flatten();
    let answer = answers.find(|answer| !answer.is_empty()).expect("a place");
    assert_eq!(status(&answer), 200);
}

#[test]
fn a_pairing_ends_with_its_connection() {
    let client = identity();
    let rig = Rig::new(&[]);
    let operator = rig.gamestream.operator();
    let mut stream = rig.connect(rig.gamestream.ports().http());
    stream
        .write_all(begin_pairing(&client).as_bytes())
        .expect("written");
    let waiting = until(
        || operator.waiting().expect("an answer"),
        |it| !it.is_empty(),
    );
    assert_eq!(waiting[0].fingerprint, certificate(&client).fingerprint());
    drop(stream);
    until(|| operator.waiting().expect("an answer"), Vec::is_empty);
    let pin = "1234".parse().expect("a PIN");
    assert!(matches!(
        operator.enter_pin(None, pin, None),
        Err(OperatorError::Pin(PinError::NobodyWaits))
    ));
}

#[test]
fn both_versions_of_tls_are_spoken() {
    let client = identity();
    let rig = Rig::new(&[&client]);
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let stream = rig.tls(Some(&client), Some(version));
        assert_eq!(status(&ask(stream, "/applist")), 200, "{version:?}");
    }
}

#[test]
fn nonsense_is_answered_and_does_no_harm() {
    let rig = Rig::new(&[]);
    let port = rig.gamestream.ports().http();
    for (bytes, expected) in [
        (&b"POST /pair HTTP/1.1\r\n\r\n"[..], "HTTP/1.1 405 "),
        (b"\r\n\r\n\x16\x03\x01\r\n\r\n", "HTTP/1.1 400 "),
        (b"GET /?a=%zz HTTP/1.1\r\n\r\n", "HTTP/1.1 400 "),
    ] {
        let mut stream = rig.connect(port);
        stream.write_all(bytes).expect("written");
        let answer = read(stream);
        assert!(answer.starts_with(expected), "{answer}");
    }
    let mut stream = rig.connect(port);
    stream
        .write_all(&vec![b'x'; 16 * 1024 + 1])
        .expect("written");
    assert!(read(stream).starts_with("HTTP/1.1 431 "));
    // HTTP spoken to HTTPS.
    let mut stream = rig.connect(rig.gamestream.ports().https());
    stream
        .write_all(b"GET / HTTP/1.1\r\n\r\n")
        .expect("written");
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(status(&rig.http("/serverinfo")), 200);
}

#[test]
fn taken_ports_are_named_and_nothing_is_left_running() {
    let rig = Rig::new(&[]);
    let config = GameStreamConfig {
        bind: Some(Ipv4Addr::LOCALHOST.into()),
        ports: rig.gamestream.ports(),
        name: String::new(),
        apps: None,
    };
    let sessions = Arc::clone(&rig.sessions) as Arc<dyn Sessions>;
    let second = GameStream::start(
        config,
        &rig.store,
        CodecModes::H264,
        sessions,
        native(&rig.store),
    );
    let Err(error) = second else {
        panic!("two hosts on one port");
    };
    let error = error.to_string();
    let port = rig.gamestream.ports().http().to_string();
    assert!(
        error.contains(&port) && error.contains("--gamestream-port"),
        "{error}"
    );
    assert_eq!(status(&rig.http("/serverinfo")), 200, "the first goes on");
}

#[test]
fn the_list_of_applications_follows_its_file() {
    let client = identity();
    let rig = Rig::new(&[&client]);
    let file = rig.directory.path().join("apps.json");
    std::fs::write(&file, r#"{"apps": [{"id": 9, "name": "A & B"}]}"#).expect("written");
    let apps = rig.https(Some(&client), "/applist");
    assert!(
        apps.contains("<AppTitle>A &amp; B</AppTitle><ID>9</ID>"),
        "{apps}"
    );
    assert_eq!(
        status(&rig.https(Some(&client), LAUNCH)),
        404,
        "number 2 is gone"
    );
}

/// From another of this machine's addresses.
fn connect_from(ip: Ipv4Addr, port: u16) -> TcpStream {
    use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    bind(&socket, &SocketAddr::from((ip, 0))).expect("an address of loopback");
    connect(&socket, &SocketAddr::from((Ipv4Addr::LOCALHOST, port))).expect("it listens");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    stream
}

fn begin_pairing(client: &PairingIdentity) -> String {
    let pem = client.certificate_pem().iter();
    let pem: String = pem.map(|byte| format!("{byte:02x}")).collect();
    let salt = "00".repeat(16);
    format!(
        "GET /pair?uniqueid=1&phrase=getservercert&salt={salt}&clientcert={pem} HTTP/1.1\r\n\r\n"
    )
}

/// Asks until the answer is as it should be.
fn until<T>(mut ask: impl FnMut() -> T, good: impl Fn(&T) -> bool) -> T {
    for _ in 0..100_000 {
        let answer = ask();
        if good(&answer) {
            return answer;
        }
        std::thread::yield_now();
    }
    panic!("it never came to that");
}
