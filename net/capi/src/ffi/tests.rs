use super::identity::*;
use super::input::punktfunk_send_touch;
use super::pair::punktfunk_pair;
use super::session::*;
use super::*;
use crate::types::PunktfunkIdentity;

fn last_error() -> String {
    // SAFETY: the text lives until this thread's next failure.
    let text = unsafe { CStr::from_ptr(punktfunk_last_error()) };
    text.to_str().expect("UTF-8").to_owned()
}

#[test]
fn a_panic_stops_at_the_border_and_is_told() {
    let status = guard(|| panic!("on purpose"));
    assert_eq!(status, PunktfunkStatus::Panic);
    assert!(
        last_error().contains("bug in punktfunk"),
        "{}",
        last_error()
    );
}

/// What a panic carries may itself panic when it is dropped.
#[test]
fn a_panic_that_carries_a_bomb_stops_too() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("once more");
        }
    }
    assert_eq!(
        guard(|| std::panic::panic_any(Bomb)),
        PunktfunkStatus::Panic
    );
}

#[test]
fn every_function_is_guarded() {
    for (file, text) in [
        ("clipboard.rs", include_str!("clipboard.rs")),
        ("identity.rs", include_str!("identity.rs")),
        ("input.rs", include_str!("input.rs")),
        ("microphone.rs", include_str!("microphone.rs")),
        ("pair.rs", include_str!("pair.rs")),
        ("session.rs", include_str!("session.rs")),
    ] {
        let functions: Vec<&str> = text.split("#[unsafe(no_mangle)]").skip(1).collect();
        let least = match file {
            "microphone.rs" | "pair.rs" => 1,
            "clipboard.rs" => 2,
            _ => 5,
        };
        assert!(functions.len() >= least, "{file}");
        for function in functions {
            let body = function.split_once("{\n").expect("a body").1;
            let first = body
                .lines()
                .map(str::trim)
                .find(|line| !line.starts_with("//") && *line != "unsafe {")
                .expect("a statement");
            let is_guarded = [
                "guard(||",
                "call(session",
                "unsafe { call(session",
                "unsafe { send(",
            ]
            .iter()
            .any(|guarded| first.starts_with(guarded));
            assert!(is_guarded, "{file}: {first}");
        }
    }
}

/// None of these reaches the network: a PIN is good for one try.
#[test]
fn pairing_without_what_it_needs_is_refused() {
    let identity = PunktfunkIdentity(net::identity::Identity::generate().expect("an identity"));
    let good = PunktfunkPairOptions {
        struct_size: size_of::<PunktfunkPairOptions>() as u32,
        reserved: 0,
        host: c"127.0.0.1:9".as_ptr(),
        identity: &raw const identity,
        pin: c"123456".as_ptr(),
        name: c"tablet".as_ptr(),
    };
    let long = CString::new([b'x'; 65]).expect("no zeros");
    for (wanted, what) in [
        (
            PunktfunkPairOptions {
                reserved: 1,
                ..good
            },
            "reserved",
        ),
        (
            PunktfunkPairOptions {
                host: ptr::null(),
                ..good
            },
            "host",
        ),
        (
            PunktfunkPairOptions {
                pin: c"12".as_ptr(),
                ..good
            },
            "PIN",
        ),
        (
            PunktfunkPairOptions {
                pin: c"\xff".as_ptr(),
                ..good
            },
            "pin",
        ),
        (
            PunktfunkPairOptions {
                name: long.as_ptr(),
                ..good
            },
            "name",
        ),
        (
            PunktfunkPairOptions {
                identity: ptr::null(),
                ..good
            },
            "identity",
        ),
    ] {
        // SAFETY: what the options point to lives here.
        let status = unsafe { punktfunk_pair(&wanted, ptr::null_mut()) };
        assert_eq!(status, PunktfunkStatus::InvalidArgument, "{what}");
        assert!(last_error().contains(what), "{what}: {}", last_error());
    }
    // SAFETY: likewise; a result too short for any version is not written to.
    let status = unsafe {
        let mut result = MaybeUninit::<PunktfunkPairResult>::zeroed().assume_init();
        punktfunk_pair(&good, &mut result)
    };
    assert_eq!(status, PunktfunkStatus::StructSize);
}

#[test]
fn each_thread_has_its_own_last_error() {
    guard(|| Err(Failure::argument("here")));
    std::thread::spawn(|| {
        assert_eq!(last_error(), "");
        guard(|| Err(Failure::argument("there\0and")));
        assert_eq!(last_error(), "there and");
    })
    .join()
    .expect("its assertions hold");
    assert_eq!(last_error(), "here");
}

const NO_MODE: PunktfunkMode = PunktfunkMode {
    struct_size: 0,
    width: 0,
    height: 0,
    refresh_millihz: 0,
    first_frame: 0,
    request: 0,
    outcome: 0,
    reserved: [0; 3],
};

#[repr(C)]
#[derive(Clone, Copy)]
struct NewerMode {
    mode: PunktfunkMode,
    later: [u32; 2],
}

fn newer(later: u32) -> NewerMode {
    NewerMode {
        mode: PunktfunkMode {
            struct_size: size_of::<NewerMode>() as u32,
            width: 1,
            height: 2,
            refresh_millihz: 3,
            ..NO_MODE
        },
        later: [0, later],
    }
}

#[test]
fn structures_of_older_and_newer_programs() {
    // A newer program that does not use what it has more.
    let unused = newer(0);
    // SAFETY: `struct_size` is that of the whole.
    let read_back = unsafe { read((&raw const unused).cast::<PunktfunkMode>()) };
    assert_eq!(read_back.expect("zeros beyond").refresh_millihz, 3);
    // One that does.
    let used = newer(7);
    // SAFETY: as above.
    let refused = unsafe { read((&raw const used).cast::<PunktfunkMode>()) }.err();
    assert_eq!(
        refused.expect("refused").status,
        PunktfunkStatus::StructSize
    );
    // What is written leaves alone what the library does not know.
    let mut place = newer(7);
    let value = PunktfunkMode {
        struct_size: 0,
        width: 4,
        height: 5,
        refresh_millihz: 6,
        ..NO_MODE
    };
    // SAFETY: as above.
    unsafe { write((&raw mut place).cast::<PunktfunkMode>(), &value) }.expect("written");
    assert_eq!((place.mode.width, place.mode.refresh_millihz), (4, 6));
    assert_eq!(place.mode.struct_size as usize, size_of::<NewerMode>());
    assert_eq!(place.later, [0, 7]);
    for wrong in [0, 27, 5000, u32::MAX] {
        let mode = PunktfunkMode {
            struct_size: wrong,
            ..value
        };
        // SAFETY: wrong sizes are refused before anything else is read.
        let refused = unsafe { read(&raw const mode) }.expect_err("refused");
        assert_eq!(refused.status, PunktfunkStatus::StructSize, "{wrong}");
    }
    // SAFETY: null is refused.
    let refused = unsafe { read(ptr::null::<PunktfunkMode>()) }.err();
    assert_eq!(
        refused.expect("refused").status,
        PunktfunkStatus::InvalidArgument
    );
}

#[test]
fn an_identity_goes_out_as_pem_and_comes_back() {
    let mut identity = ptr::null_mut();
    // SAFETY: pointers to locals, lengths that are theirs.
    unsafe {
        assert_eq!(
            punktfunk_identity_generate(&raw mut identity),
            PunktfunkStatus::Ok
        );
        let mut texts = Vec::new();
        for get in [punktfunk_identity_certificate, punktfunk_identity_key] {
            let mut length = 0;
            let asked = get(identity, ptr::null_mut(), &raw mut length);
            assert_eq!(asked, PunktfunkStatus::BufferTooSmall);
            let mut pem = vec![0; length];
            assert_eq!(
                get(identity, pem.as_mut_ptr(), &raw mut length),
                PunktfunkStatus::Ok
            );
            assert!(pem.starts_with(b"-----BEGIN "));
            texts.push(pem);
        }
        let (mut one, mut other) = ([0; 32], [0; 32]);
        punktfunk_identity_fingerprint(identity, one.as_mut_ptr());
        punktfunk_identity_free(identity);
        let load = |cert: &[u8], key: &[u8], place: *mut *mut _| {
            punktfunk_identity_load(cert.as_ptr(), cert.len(), key.as_ptr(), key.len(), place)
        };
        let mut again = ptr::null_mut();
        assert_eq!(
            load(&texts[0], &texts[1], &raw mut again),
            PunktfunkStatus::Ok
        );
        punktfunk_identity_fingerprint(again, other.as_mut_ptr());
        assert_eq!(one, other);
        assert_eq!(
            load(&texts[1], &texts[0], &raw mut again),
            PunktfunkStatus::Identity
        );
        assert_eq!(load(b"", b"", &raw mut again), PunktfunkStatus::Identity);
        let nothing = punktfunk_identity_load(ptr::null(), 5, ptr::null(), 5, &raw mut again);
        assert_eq!(nothing, PunktfunkStatus::InvalidArgument);
        punktfunk_identity_free(again);
        punktfunk_identity_free(ptr::null_mut());
    }
}

#[test]
fn null_is_an_answer_and_not_a_crash() {
    // SAFETY: null is allowed everywhere, and answered.
    unsafe {
        let mut session = ptr::null_mut();
        for status in [
            punktfunk_connect(ptr::null(), ptr::null_mut(), &raw mut session),
            punktfunk_connect(ptr::null(), ptr::null_mut(), ptr::null_mut()),
            punktfunk_identity_generate(ptr::null_mut()),
            punktfunk_identity_fingerprint(ptr::null(), ptr::null_mut()),
            punktfunk_end(ptr::null()),
            punktfunk_mode(ptr::null(), ptr::null_mut()),
            punktfunk_next_unit(ptr::null(), 0, ptr::null_mut()),
            punktfunk_send_touch(ptr::null(), ptr::null()),
        ] {
            assert_eq!(status, PunktfunkStatus::InvalidArgument);
        }
        assert_eq!(punktfunk_close(ptr::null_mut()), PunktfunkStatus::Ok);
    }
}
