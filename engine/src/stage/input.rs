//! Input: what a client's person does, from control to the session's display, on a thread of its
//! own (`pf-input`). A compositor that hangs holds up neither control nor the pictures.
//!
//! The queue between is bounded and never waits:
//!
//! * What adds up or is replaced by the next of its kind (motion, wheel, position, sticks, sensors)
//!   is merged with the last event that waits, if that is of its kind: order is kept.
//! * Everything else takes a place. When all are taken, the queue is cut down to the last word on
//!   each thing (a slot): a press and a release that nobody has seen become a release. So no key
//!   and no button is ever left in the wrong state. Only text is dropped, and counted.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use net::clock;
use net::input::{
    CONTROLLERS_MAX, ContactKind, InputEvent, MotionSensor, PadOutput, PointerButton, ScrollAxis,
};
use net::units::Timestamp;
use platform::inject::{Injected, Injectors};
use platform::thread::{Role, RoleThread};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use crate::metrics::{SessionMetrics, add};

/// Things that an event can be the last word on: keys, buttons, motion, position, two wheels, ten
/// fingers and as many that a hostile client adds, a pen; for each controller its arrival, state,
/// battery, two sensors and two contacts on each of two touchpads.
const SLOTS_MAX: usize = 256 + 5 + 4 + 20 + 1 + CONTROLLERS_MAX as usize * (5 + 4);
/// Events that wait. Twice the slots, so that a cut frees at least half of the places.
const WAITING_MAX: usize = 2 * SLOTS_MAX;
/// While a motor runs its end must be noticed: half a frame of a display is soon enough.
const RUMBLE_INTERVAL: Duration = Duration::from_millis(8);
/// Otherwise a wait ends by what happens; this only bounds what a lost wake-up could cost.
const PATIENCE: Duration = Duration::from_secs(1);
/// The thread ends within a call of an injector; lifting all that is down waits 300 ms at most for
/// a compositor that hangs.
const JOIN_TIMEOUT: Duration = Duration::from_millis(500);

/// What an event is the last word on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Key(u8),
    Button(PointerButton),
    Motion,
    Position,
    Wheel(ScrollAxis),
    Finger(u32),
    Pen,
    Arrival(u8),
    State(u8),
    PadFinger(u8, u8, u32),
    Sensor(u8, MotionSensor),
    Battery(u8),
    /// Every one counts.
    Text,
}

impl Slot {
    const fn of(event: &InputEvent) -> Self {
        match event {
            InputEvent::Key(key) => Self::Key(key.virtual_key),
            InputEvent::Text(_) => Self::Text,
            InputEvent::PointerMotion { .. } => Self::Motion,
            InputEvent::PointerPosition(_) => Self::Position,
            InputEvent::PointerButton { button, .. } => Self::Button(*button),
            InputEvent::Scroll { axis, .. } => Self::Wheel(*axis),
            InputEvent::Touch(touch) => Self::Finger(touch.id),
            InputEvent::Pen(_) => Self::Pen,
            InputEvent::ControllerArrival(arrival) => Self::Arrival(arrival.controller),
            InputEvent::ControllerState(state) => Self::State(state.controller),
            InputEvent::ControllerTouch(it) => Self::PadFinger(it.controller, it.touchpad, it.id),
            InputEvent::ControllerMotion(it) => Self::Sensor(it.controller, it.sensor),
            InputEvent::ControllerBattery(battery) => Self::Battery(battery.controller),
        }
    }
}

/// An event that waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    event: InputEvent,
    arrived: Timestamp,
}

/// What was done with an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    Queued,
    Merged,
    /// The queue was cut down by so many, then it was queued.
    Cut(usize),
    /// It was text, and there is no room.
    Dropped,
}

/// The bounded queue; see the module for its policy.
#[derive(Debug)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Lift everything first.
    release: bool,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            waiting: VecDeque::with_capacity(WAITING_MAX),
            release: false,
        }
    }
}

impl Queue {
    fn push(&mut self, new: Waiting) -> Taken {
        if let Some(last) = self.waiting.back_mut()
            && let Some(merged) = merge(&last.event, &new.event)
        {
            // The older arrival stays: the figure is about who waits longest.
            last.event = merged;
            return Taken::Merged;
        }
        let mut taken = Taken::Queued;
        if self.waiting.len() == WAITING_MAX {
            let cut = self.cut();
            taken = Taken::Cut(cut);
        }
        if self.waiting.len() == WAITING_MAX {
            // Texts, or more fingers than a person has.
            if matches!(
                Slot::of(&new.event),
                Slot::Text | Slot::Finger(_) | Slot::PadFinger(..)
            ) {
                return Taken::Dropped;
            }
            self.waiting
                .retain(|waiting| Slot::of(&waiting.event) != Slot::Text);
        }
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push_back(new);
            taken
        } else {
            Taken::Dropped
        }
    }

    /// Leaves the last word on each thing; motion and wheels are summed up. Returns how many went.
    fn cut(&mut self) -> usize {
        let before = self.waiting.len();
        let mut place = before;
        while place > 0 {
            place -= 1;
            let older = self.waiting[place];
            let slot = Slot::of(&older.event);
            if slot == Slot::Text {
                continue;
            }
            let later = self.waiting.range_mut(place + 1..);
            let mut later = later.filter(|waiting| Slot::of(&waiting.event) == slot);
            if let Some(newer) = later.next() {
                if let Some(merged) = merge(&older.event, &newer.event) {
                    newer.event = merged;
                }
                self.waiting.remove(place);
            }
        }
        before - self.waiting.len()
    }
}

/// Both as one, if nothing is lost by it.
fn merge(older: &InputEvent, newer: &InputEvent) -> Option<InputEvent> {
    if Slot::of(older) != Slot::of(newer) {
        return None;
    }
    match (older, newer) {
        (
            InputEvent::PointerMotion { dx, dy },
            InputEvent::PointerMotion {
                dx: more_x,
                dy: more_y,
            },
        ) => Some(InputEvent::PointerMotion {
            dx: dx.checked_add(*more_x)?,
            dy: dy.checked_add(*more_y)?,
        }),
        (InputEvent::Scroll { axis, amount }, InputEvent::Scroll { amount: more, .. }) => {
            let amount = amount.checked_add(*more)?;
            Some(InputEvent::Scroll {
                axis: *axis,
                amount,
            })
        }
        (InputEvent::PointerPosition(_) | InputEvent::ControllerMotion(_), _)
        | (InputEvent::ControllerBattery(_), _) => Some(*newer),
        (InputEvent::ControllerState(older), InputEvent::ControllerState(state)) => {
            let same = (older.present, older.buttons) == (state.present, state.buttons);
            same.then_some(*newer)
        }
        (InputEvent::Touch(older), InputEvent::Touch(touch)) => {
            let moves = [older.contact.kind, touch.contact.kind] == [ContactKind::Move; 2];
            moves.then_some(*newer)
        }
        (InputEvent::Pen(older), InputEvent::Pen(pen)) => {
            let moves = [older.contact.kind, pen.contact.kind] == [ContactKind::Move; 2];
            (moves && older.buttons == pen.buttons).then_some(*newer)
        }
        (InputEvent::ControllerTouch(older), InputEvent::ControllerTouch(touch)) => {
            ([older.kind, touch.kind] == [ContactKind::Move; 2]).then_some(*newer)
        }
        _ => None,
    }
}

/// What both ends share.
struct Shared {
    queue: Mutex<Queue>,
    wake: OwnedFd,
    stop: AtomicBool,
    /// The last word to each controller that control has not taken.
    outputs: Mutex<[Option<PadOutput>; CONTROLLERS_MAX as usize]>,
    metrics: Arc<SessionMetrics>,
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn outputs(&self) -> MutexGuard<'_, [Option<PadOutput>; CONTROLLERS_MAX as usize]> {
        self.outputs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        match rustix::io::write(&self.wake, &1u64.to_ne_bytes()) {
            // Full: 2^64 - 2 wake-ups wait already.
            Ok(_) | Err(Errno::AGAIN) => {}
            Err(error) => log::error!("the input thread cannot be woken: {error}"),
        }
    }
}

/// Control's end: events go in here. Clones are the same.
#[derive(Clone)]
pub struct InputQueue(Arc<Shared>);

impl InputQueue {
    /// Takes an event that came at `arrived`; never waits.
    pub fn push(&self, arrived: Timestamp, event: InputEvent) {
        let counters = &self.0.metrics.counters;
        let taken = self.0.queue().push(Waiting { event, arrived });
        match taken {
            Taken::Queued => {}
            Taken::Merged => add(&counters.input_merged, 1),
            Taken::Cut(count) => add(&counters.input_cut, count as u64),
            Taken::Dropped => add(&counters.input_dropped, 1),
        }
        self.0.wake();
    }

    /// Its client is gone: lifts all that is down. What waits was the client's, and is dropped.
    pub fn release(&self) {
        {
            let mut queue = self.0.queue();
            queue.waiting.clear();
            queue.release = true;
        }
        self.0.wake();
    }

    /// The last word of an application to a controller, if it is news.
    #[must_use]
    pub fn poll_output(&self) -> Option<PadOutput> {
        self.0.outputs().iter_mut().find_map(Option::take)
    }
}

/// A session's input thread. Dropping it lifts all that is down and ends the thread.
pub struct InputThread {
    shared: Arc<Shared>,
    thread: Option<RoleThread<()>>,
}

impl InputThread {
    /// Starts it. `on_output` is called from the thread when [`InputQueue::poll_output`] has news.
    ///
    /// # Errors
    /// The system's.
    pub fn spawn(
        injectors: Injectors,
        metrics: Arc<SessionMetrics>,
        on_output: Box<dyn Fn() + Send>,
    ) -> std::io::Result<Self> {
        let wake = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake,
            stop: AtomicBool::new(false),
            outputs: Mutex::default(),
            metrics,
        });
        let stage = InputStage {
            shared: Arc::clone(&shared),
            injectors,
            batch: VecDeque::with_capacity(WAITING_MAX),
            arrivals: Vec::with_capacity(WAITING_MAX),
            is_rumbling: [false; CONTROLLERS_MAX as usize],
            on_output,
        };
        let thread = platform::thread::spawn(Role::Control, "pf-input", move || stage.run())?;
        Ok(Self {
            shared,
            thread: Some(thread),
        })
    }

    /// Where events go in.
    #[must_use]
    pub fn queue(&self) -> InputQueue {
        InputQueue(Arc::clone(&self.shared))
    }
}

impl Drop for InputThread {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.wake();
        if let Some(thread) = self.thread.take()
            && let Err(error) = thread.join_within(JOIN_TIMEOUT)
        {
            log::error!("{error}");
        }
    }
}

/// The thread's own half.
struct InputStage {
    shared: Arc<Shared>,
    injectors: Injectors,
    batch: VecDeque<Waiting>,
    arrivals: Vec<Timestamp>,
    is_rumbling: [bool; CONTROLLERS_MAX as usize],
    on_output: Box<dyn Fn() + Send>,
}

impl InputStage {
    fn run(mut self) {
        while !self.shared.stop.load(Ordering::Acquire) {
            self.inject_what_waits();
            self.pass_output();
            self.wait();
        }
        self.inject_what_waits();
        self.injectors.release_all();
    }

    fn inject_what_waits(&mut self) {
        let release = {
            let mut queue = self.shared.queue();
            std::mem::swap(&mut queue.waiting, &mut self.batch);
            std::mem::take(&mut queue.release)
        };
        if release {
            self.injectors.release_all();
            self.injectors.flush();
        }
        if self.batch.is_empty() {
            return;
        }
        let metrics = &self.shared.metrics;
        self.arrivals.clear();
        while let Some(Waiting { event, arrived }) = self.batch.pop_front() {
            match self.injectors.inject(&event) {
                Injected::Done => self.arrivals.push(arrived),
                Injected::Unsupported => add(&metrics.counters.input_unsupported, 1),
            }
        }
        self.injectors.flush();
        let now = clock::now();
        add(&metrics.counters.input_events, self.arrivals.len() as u64);
        for arrived in &self.arrivals {
            metrics.input_to_injected.record(now.since(*arrived));
        }
    }

    fn pass_output(&mut self) {
        while let Some(output) = self.injectors.poll_output() {
            let PadOutput::Rumble {
                controller,
                strong,
                weak,
            } = output;
            if let Some(is_rumbling) = self.is_rumbling.get_mut(usize::from(controller)) {
                *is_rumbling = (strong, weak) != (0, 0);
            }
            if let Some(place) = self.shared.outputs().get_mut(usize::from(controller)) {
                *place = Some(output);
            }
            (self.on_output)();
        }
    }

    fn wait(&self) {
        // Descriptors come and go with controllers; the list is short and made only when idle.
        let mut descriptors = Vec::with_capacity(2 + usize::from(CONTROLLERS_MAX));
        descriptors.push(self.shared.wake.as_fd());
        self.injectors.descriptors(&mut descriptors);
        let mut fds: Vec<_> = descriptors
            .into_iter()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let patience = if self.is_rumbling.contains(&true) {
            RUMBLE_INTERVAL
        } else {
            PATIENCE
        };
        let timeout = Timespec {
            tv_sec: patience.as_secs().cast_signed(),
            tv_nsec: patience.subsec_nanos().into(),
        };
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => log::error!("the input thread cannot wait: {error}"),
        }
        let mut count = [0; 8];
        // Nothing to read: somebody else woke us.
        let _ = rustix::io::read(&self.shared.wake, &mut count);
    }
}

#[cfg(test)]
mod tests {
    use net::input::{ControllerState, KeyEvent, Modifiers, Text};
    use platform::inject::synthetic::SyntheticInjector;

    use super::*;

    fn key(virtual_key: u8, pressed: bool) -> InputEvent {
        InputEvent::Key(KeyEvent {
            virtual_key,
            pressed,
            modifiers: Modifiers::default(),
            is_layout_dependent: false,
        })
    }

    fn waiting(event: InputEvent) -> Waiting {
        Waiting {
            event,
            arrived: Timestamp::ZERO,
        }
    }

    #[test]
    fn motion_is_merged_only_with_its_neighbour() {
        let mut queue = Queue::default();
        let step = InputEvent::PointerMotion { dx: 1, dy: -1 };
        assert_eq!(queue.push(waiting(step)), Taken::Queued);
        assert_eq!(queue.push(waiting(step)), Taken::Merged);
        assert_eq!(queue.push(waiting(key(1, true))), Taken::Queued);
        assert_eq!(queue.push(waiting(step)), Taken::Queued);
        let events: Vec<_> = queue.waiting.iter().map(|it| it.event).collect();
        let both = InputEvent::PointerMotion { dx: 2, dy: -2 };
        assert_eq!(events, [both, key(1, true), step]);
    }

    #[test]
    fn a_full_queue_keeps_the_last_word_on_every_key() {
        let mut queue = Queue::default();
        let mut down = [false; 256];
        for count in 0..WAITING_MAX * 3 {
            let virtual_key = (count * 7 % 256) as u8;
            let pressed = !down[usize::from(virtual_key)];
            down[usize::from(virtual_key)] = pressed;
            let taken = queue.push(waiting(key(virtual_key, pressed)));
            assert_ne!(taken, Taken::Dropped);
        }
        assert!(queue.waiting.len() <= WAITING_MAX);
        let mut seen = [false; 256];
        for it in &queue.waiting {
            let InputEvent::Key(key) = it.event else {
                panic!("only keys went in")
            };
            seen[usize::from(key.virtual_key)] = key.pressed;
        }
        assert_eq!(seen, down);
    }

    #[test]
    fn text_gives_way_to_keys() {
        let mut queue = Queue::default();
        let text = InputEvent::Text(Text::new("x").expect("short"));
        for _ in 0..WAITING_MAX {
            assert_eq!(queue.push(waiting(text)), Taken::Queued);
        }
        assert_eq!(queue.push(waiting(text)), Taken::Dropped);
        assert_ne!(queue.push(waiting(key(1, false))), Taken::Dropped);
    }

    #[test]
    fn events_reach_the_injector_in_order_and_the_end_lifts_everything() {
        let injector = SyntheticInjector::default();
        let record = injector.record();
        let metrics = Arc::new(SessionMetrics::default());
        let injectors = Injectors::new(Some(Box::new(injector)), None);
        let (said, says) = crossbeam::channel::bounded(4);
        record.say(PadOutput::Rumble {
            controller: 0,
            strong: 7,
            weak: 0,
        });
        let on_output = Box::new(move || said.send(()).expect("room"));
        let thread =
            InputThread::spawn(injectors, Arc::clone(&metrics), on_output).expect("spawns");
        let queue = thread.queue();
        for virtual_key in 0..100 {
            queue.push(clock::now(), key(virtual_key, true));
        }
        says.recv_timeout(Duration::from_secs(20))
            .expect("control is told");
        drop(thread);
        let keys: Vec<_> = (0..100).map(|virtual_key| key(virtual_key, true)).collect();
        assert_eq!(record.events(), keys);
        assert_eq!(record.releases(), 2, "by the thread's end and by the drop");
        assert_eq!(metrics.input_to_injected.snapshot().count(), 100);
        assert!(queue.poll_output().is_some() && queue.poll_output().is_none());
    }

    /// Numbers of controllers are each session's own.
    #[test]
    fn the_first_controllers_of_two_sessions_do_not_meet() {
        let sessions = [1, 2].map(|motor| {
            let injector = SyntheticInjector::default();
            let record = injector.record();
            record.say(PadOutput::Rumble {
                controller: 0,
                strong: motor,
                weak: 0,
            });
            let injectors = Injectors::new(Some(Box::new(injector)), None);
            let (said, says) = crossbeam::channel::bounded(4);
            let on_output = Box::new(move || said.send(()).expect("room"));
            let thread = InputThread::spawn(injectors, Arc::default(), on_output);
            (motor, thread.expect("spawns"), record, says)
        });
        for (motor, thread, record, says) in sessions {
            let queue = thread.queue();
            let state = ControllerState {
                present: 1,
                buttons: motor.into(),
                ..ControllerState::default()
            };
            queue.push(clock::now(), InputEvent::ControllerState(state));
            says.recv_timeout(Duration::from_secs(20))
                .expect("control is told");
            drop(thread);
            assert_eq!(record.events(), [InputEvent::ControllerState(state)]);
            let rumble = PadOutput::Rumble {
                controller: 0,
                strong: motor,
                weak: 0,
            };
            assert_eq!(queue.poll_output(), Some(rumble));
        }
    }

    #[test]
    fn a_client_that_goes_leaves_nothing_down_and_nothing_waiting() {
        let metrics = Arc::new(SessionMetrics::default());
        let injector = SyntheticInjector::default();
        let record = injector.record();
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd"),
            stop: AtomicBool::new(false),
            outputs: Mutex::default(),
            metrics,
        });
        let queue = InputQueue(Arc::clone(&shared));
        let mut stage = InputStage {
            shared,
            injectors: Injectors::new(Some(Box::new(injector)), None),
            batch: VecDeque::new(),
            arrivals: Vec::new(),
            is_rumbling: [false; CONTROLLERS_MAX as usize],
            on_output: Box::new(|| ()),
        };
        queue.push(clock::now(), key(1, true));
        stage.inject_what_waits();
        assert_eq!(record.releases(), 0);
        queue.push(clock::now(), key(2, true));
        queue.release();
        queue.push(clock::now(), key(3, true));
        stage.inject_what_waits();
        assert_eq!(record.releases(), 1, "at once, and once");
        assert_eq!(record.events(), [key(1, true), key(3, true)]);
        stage.inject_what_waits();
        assert_eq!(record.releases(), 1);
    }
}
