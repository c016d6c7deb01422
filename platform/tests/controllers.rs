//! Controllers as devices of the kernel: seen by others as what they pretend to be, pressed, shaken
//! and pulled. Needs `/dev/uinput`; where there is none, `scripts/lab/controllers` runs these in a
//! virtual machine.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use evdev::{
    AbsoluteAxisCode, Device, EventType, FFEffectData, FFEffectKind, FFReplay, FFTrigger, KeyCode,
};
use net::input::{
    CONTROLLERS_MAX, ControllerArrival, ControllerKind, ControllerState, InputEvent, PadOutput,
};
use platform::display::OutputAddress;
use platform::inject::uinput::{Uinput, probe};
use platform::inject::{InjectBackend, Injected, Injector};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

const PATIENCE: Duration = Duration::from_secs(30);
const A: u32 = 0x1000;

/// The backend, or `None` where the kernel has none; in the lab it must be there.
fn injector() -> Option<Box<dyn Injector>> {
    if let Err(refusal) = probe() {
        assert!(std::env::var_os("PUNKTFUNK_LAB").is_none(), "{refusal}");
        eprintln!("not tested here: {refusal}; scripts/lab/controllers tests it in a machine");
        return None;
    }
    let address = OutputAddress::default();
    assert!(Uinput.probe(Some(&address)).is_ok());
    Some(Uinput.open(Some(&address)).expect("opens"))
}

fn arrive(injector: &mut dyn Injector, controller: u8, kind: ControllerKind) {
    let arrival = ControllerArrival {
        controller,
        kind,
        capabilities: 3,
        buttons: 0xFFFF,
    };
    let injected = injector.inject(&InputEvent::ControllerArrival(arrival));
    assert_eq!(injected.expect("plugged in"), Injected::Done);
}

fn state(injector: &mut dyn Injector, state: ControllerState) {
    let injected = injector.inject(&InputEvent::ControllerState(state));
    assert_eq!(injected.expect("applied"), Injected::Done);
}

/// Devices with this vendor and product; a node may come a moment after the device.
fn devices(vendor: u16, product: u16) -> Vec<Device> {
    let all = evdev::enumerate().map(|(_, device)| device);
    all.filter(|device| {
        let id = device.input_id();
        (id.vendor(), id.product()) == (vendor, product)
    })
    .collect()
}

fn wait_for_devices(vendor: u16, product: u16, count: usize) -> Vec<Device> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = devices(vendor, product);
        if found.len() == count {
            return found;
        }
        assert!(
            Instant::now() < deadline,
            "{} of {count} devices",
            found.len()
        );
        std::thread::yield_now();
    }
}

/// The next event of a device that is not the end of a report.
fn next_event(device: &mut Device) -> (EventType, u16, i32) {
    loop {
        let mut fds = [PollFd::from_borrowed_fd(device.as_fd(), PollFlags::IN)];
        let timeout = Timespec {
            tv_sec: PATIENCE.as_secs().cast_signed(),
            tv_nsec: 0,
        };
        assert_eq!(poll(&mut fds, Some(&timeout)), Ok(1), "no event came");
        for event in device.fetch_events().expect("readable") {
            if event.event_type() != EventType::SYNCHRONIZATION {
                return (event.event_type(), event.code(), event.value());
            }
        }
    }
}

/// Serves the injector until an application's word to a controller comes.
fn output(injector: &mut dyn Injector) -> PadOutput {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(output) = injector.poll_output().expect("alive") {
            return output;
        }
        assert!(Instant::now() < deadline, "no output came");
        let mut descriptors = Vec::new();
        injector.descriptors(&mut descriptors);
        let mut fds: Vec<_> = descriptors
            .into_iter()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let timeout = Timespec {
            tv_sec: 0,
            tv_nsec: 8_000_000,
        };
        poll(&mut fds, Some(&timeout)).expect("polls");
    }
}

#[test]
fn controllers_look_like_those_that_games_know() {
    let Some(mut injector) = injector() else {
        return;
    };
    let injector = injector.as_mut();
    for (number, kind, vendor, product) in [
        (0, ControllerKind::Xbox, 0x045e, 0x02ea),
        (1, ControllerKind::PlayStation, 0x054c, 0x0ce6),
        (2, ControllerKind::Nintendo, 0x057e, 0x2009),
    ] {
        arrive(injector, number, kind);
        let mut device = wait_for_devices(vendor, product, 1).remove(0);
        eprintln!("{number}: {:?} {:?}", device.name(), device.input_id());
        let keys = device.supported_keys().expect("it has buttons");
        assert!(keys.contains(KeyCode::BTN_SOUTH) && keys.contains(KeyCode::BTN_MODE));
        let axes = device.supported_absolute_axes().expect("it has axes");
        assert!(
            axes.contains(AbsoluteAxisCode::ABS_RX) && axes.contains(AbsoluteAxisCode::ABS_HAT0X)
        );
        assert!(
            device
                .supported_ff()
                .is_some_and(|it| it.contains(evdev::FFEffectCode::FF_RUMBLE))
        );
        state(
            injector,
            ControllerState {
                controller: number,
                present: 7,
                buttons: A,
                ..ControllerState::default()
            },
        );
        let pressed = (EventType::KEY, KeyCode::BTN_SOUTH.0, 1);
        assert_eq!(next_event(&mut device), pressed);
        injector.release_all().expect("alive");
        let released = (EventType::KEY, KeyCode::BTN_SOUTH.0, 0);
        assert_eq!(next_event(&mut device), released);
    }
}

#[test]
fn rumble_comes_back_and_ends() {
    let Some(mut injector) = injector() else {
        return;
    };
    let injector = injector.as_mut();
    // A kind of its own, so that tests beside this one do not meet it.
    arrive(injector, 3, ControllerKind::PlayStation);
    let device = wait_for_devices(0x054c, 0x0ce6, 1).remove(0);
    let (done, is_done) = std::sync::mpsc::channel::<()>();
    let application = std::thread::spawn(move || {
        let mut device = device;
        let effect = FFEffectData {
            direction: 0,
            trigger: FFTrigger::default(),
            replay: FFReplay {
                length: 60_000,
                delay: 0,
            },
            kind: FFEffectKind::Rumble {
                strong_magnitude: 0x8000,
                weak_magnitude: 0x4000,
            },
        };
        // Returns once the injector has answered.
        let mut effect = device.upload_ff_effect(effect).expect("uploaded");
        effect.play(1).expect("played");
        is_done.recv().expect("the test tells");
        effect.stop().expect("stopped");
        // Erased by the drop, which waits for the injector too.
        drop(effect);
    });
    let begin = output(injector);
    let rumble = |strong, weak| PadOutput::Rumble {
        controller: 3,
        strong,
        weak,
    };
    assert_eq!(begin, rumble(0x8000, 0x4000));
    done.send(()).expect("it waits");
    assert_eq!(output(injector), rumble(0, 0));
    while !application.is_finished() {
        assert_eq!(injector.poll_output().expect("alive"), None);
        std::thread::yield_now();
    }
    application.join().expect("no panic");
}

#[test]
fn sixteen_are_plugged_in_and_out_while_it_runs() {
    let Some(mut injector) = injector() else {
        return;
    };
    let injector = injector.as_mut();
    for controller in 0..CONTROLLERS_MAX {
        arrive(injector, controller, ControllerKind::Nintendo);
    }
    wait_for_devices(0x057e, 0x2009, usize::from(CONTROLLERS_MAX));
    let only = |controller: u8| ControllerState {
        controller,
        present: 1 << controller,
        ..ControllerState::default()
    };
    state(injector, only(5));
    wait_for_devices(0x057e, 0x2009, 1);
    state(
        injector,
        ControllerState {
            present: 0,
            ..only(5)
        },
    );
    wait_for_devices(0x057e, 0x2009, 0);
}
