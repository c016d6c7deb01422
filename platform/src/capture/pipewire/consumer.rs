//! The stream's own thread: it runs PipeWire's loop, takes buffers in and gives them back.

use std::cell::{Cell, RefCell};
use std::os::fd::AsRawFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::pipewire as pw;
use gpu::frame::{Rect, Surface};
use net::clock;
use net::units::Timestamp;
use pw::context::ContextRc;
use pw::core::{CoreRc, PW_ID_CORE};
use pw::loop_::{Loop, Timeout};
use pw::main_loop::MainLoopRc;
use pw::properties::properties;
use pw::spa;
use pw::stream::{Stream, StreamBox, StreamFlags, StreamState};
use pw::types::ObjectType;
use spa::param::ParamType;
use spa::pod::Pod;
use spa::support::system::IoFlags;

use super::address::{Memory, NodeName, Shape, VideoNode};
use super::format::{self, Format};
use super::meta::{self, Header};
use super::picture::{Copies, Picture};
use super::stream::{NEGOTIATION_TIMEOUT, Shared};
use super::sys::{Key, Pixels, Table};

/// A producer's time that is older tells something else than when the picture was made.
const AGE_MAX: Duration = Duration::from_secs(1);

/// Runs until the stream's owner is gone, or until there is nothing more to come.
pub(super) fn run(shared: &Arc<Shared>, node: &VideoNode) {
    let mut node = node.clone();
    let reason = loop {
        let consumer = Consumer::new(shared, &node);
        let Err(reason) = consumer.serve(&node) else {
            break "it was closed".to_owned();
        };
        shared.set_streaming(false);
        let Some(next) = node.heir.as_ref().and_then(|heir| heir.next()) else {
            break reason;
        };
        log::info!("capture pipewire: {reason}; it goes on with {next:?}");
        node.node = next;
        (node.shape, node.memory) = consumer.offer.get();
    };
    log::debug!("capture pipewire: {reason}");
    shared.end(reason);
}

/// What the callbacks and the loop share.
struct Consumer {
    shared: Arc<Shared>,
    table: Rc<RefCell<Table>>,
    copies: RefCell<Copies>,
    format: Cell<Option<Format>>,
    /// What is offered.
    offer: Cell<(Shape, Memory)>,
    /// The producer tells of the pointer.
    tells_cursor: bool,
    /// Why it is over.
    fault: RefCell<Option<String>>,
    /// When it must stream; `None` while it does.
    deadline: Cell<Option<Instant>>,
    /// Our node's number and serial, once seen.
    target: Cell<Option<(u32, u64)>>,
    answered: Cell<bool>,
}

impl Consumer {
    fn new(shared: &Arc<Shared>, node: &VideoNode) -> Rc<Self> {
        Rc::new(Self {
            shared: Arc::clone(shared),
            table: Rc::default(),
            copies: RefCell::default(),
            format: Cell::new(None),
            offer: Cell::new((node.shape, node.memory)),
            tells_cursor: node.tells_cursor,
            fault: RefCell::new(None),
            deadline: Cell::new(Some(Instant::now() + NEGOTIATION_TIMEOUT)),
            target: Cell::new(None),
            answered: Cell::new(false),
        })
    }

    /// `Ok` when its owner is gone.
    fn serve(self: &Rc<Self>, node: &VideoNode) -> Result<(), String> {
        let failed = |error: pw::Error| format!("PipeWire cannot be reached ({error})");
        let main_loop = MainLoopRc::new(None).map_err(failed)?;
        let properties = properties! {
            // Pictures are taken in on this thread (PipeWire 1.2; before, a thread of its own wakes
            // this one). A cycle takes one buffer back to the producer, and only one that was given
            // back by then: what comes later waits behind, for good.
            "context.num-data-loops" => "0",
        };
        let context = ContextRc::new(&main_loop, Some(properties)).map_err(failed)?;
        let core = match &node.remote {
            Some(remote) => {
                let remote = remote.try_clone().map_err(|error| error.to_string())?;
                context.connect_fd_rc(remote, None).map_err(failed)?
            }
            None => context.connect_rc(None).map_err(failed)?,
        };
        let turns = main_loop.loop_();
        let _core_listener = self.listen_to_core(&core);
        let registry = core.get_registry_rc().map_err(failed)?;
        let _registry_listener = self.listen_to_registry(&registry, node.node);
        // Everything that stands is told before the answer.
        core.sync(0).map_err(failed)?;
        while !self.answered.get() {
            self.turn(turns)?;
        }
        let Some((_, serial)) = self.target.get() else {
            return Err(format!("there is no video node {:?}", node.node));
        };
        let stream = make_stream(&core, serial).map_err(failed)?;
        let listener = self.listen_to_stream(&stream).map_err(failed)?;
        self.connect(&stream).map_err(failed)?;
        let waker = Arc::clone(&self.shared.returns);
        let fd = waker.waker.fd().as_raw_fd();
        let _wakes = turns.add_io(fd, IoFlags::IN, move |_| {
            let _ = waker.waker.take();
        });
        let served = loop {
            match self.turn(turns).and_then(|()| self.obey(&stream)) {
                Ok(true) => {}
                Ok(false) => break Ok(()),
                Err(fault) => break Err(fault),
            }
        };
        // Pictures that are still read have their own mappings.
        drop(listener);
        let _ = stream.disconnect();
        served
    }

    /// One turn of the loop, until something happens or the deadline passes.
    fn turn(&self, turns: &Loop) -> Result<(), String> {
        let timeout = self.deadline.get().map_or(Timeout::Infinite, |deadline| {
            // Whole milliseconds; rounded up, so that the last one is not spun away.
            let left = deadline.saturating_duration_since(Instant::now());
            Timeout::Finite(left + Duration::from_millis(1))
        });
        turns.iterate(timeout);
        if let Some(fault) = self.fault.borrow_mut().take() {
            return Err(fault);
        }
        match self.deadline.get() {
            Some(deadline) if Instant::now() >= deadline => Err(format!(
                "the node did not stream within {NEGOTIATION_TIMEOUT:?}{}",
                if self.format.get().is_none() {
                    "; is a session manager (wireplumber) running?"
                } else {
                    ""
                }
            )),
            _ => Ok(()),
        }
    }

    /// What the other threads want; false when they want nothing any more.
    fn obey(&self, stream: &Stream) -> Result<bool, String> {
        while let Some(key) = self.shared.returns.pop() {
            self.table.borrow_mut().give_back(stream, key);
        }
        let mut state = self.shared.lock();
        let (stop, offer) = (state.stop, state.offer.take());
        drop(state);
        let mut offer = offer;
        if let Some(reason) = self.table.borrow_mut().unusable.take() {
            let (shape, memory) = self.offer.get();
            if memory == Memory::Shared {
                return Err(reason);
            }
            log::info!("capture pipewire: {reason}; shared memory instead");
            offer.get_or_insert((shape, Memory::Shared)).1 = Memory::Shared;
        }
        if let Some(offer) = offer {
            self.offer.set(offer);
            self.deadline
                .set(Some(Instant::now() + NEGOTIATION_TIMEOUT));
            self.update(stream, &format::offers(offer.0, offer.1))
                .map_err(|error| format!("PipeWire takes no other format ({error})"))?;
            self.look_at_state(&stream.state());
        }
        Ok(!stop)
    }

    fn fail(&self, reason: String) {
        self.fault.borrow_mut().get_or_insert(reason);
    }

    fn listen_to_core(self: &Rc<Self>, core: &CoreRc) -> pw::core::Listener {
        let (failed, answered) = (Rc::clone(self), Rc::clone(self));
        core.add_listener_local()
            .done(move |id, _| {
                if id == PW_ID_CORE {
                    answered.answered.set(true);
                }
            })
            .error(move |id, _, code, message| {
                // Errors of single objects show in their own states.
                if id == PW_ID_CORE {
                    failed.fail(format!("PipeWire is gone ({message}, {code})"));
                }
            })
            .register()
    }

    fn listen_to_registry(
        self: &Rc<Self>,
        registry: &pw::registry::Registry,
        wanted: NodeName,
    ) -> pw::registry::Listener {
        let (seen, gone) = (Rc::clone(self), Rc::clone(self));
        registry
            .add_listener_local()
            .global(move |global| {
                let serial = global.props.and_then(|it| it.get("object.serial"));
                let serial = serial.and_then(|serial| serial.parse().ok());
                let is_it = match wanted {
                    NodeName::Id(id) => global.id == id,
                    NodeName::Serial(wanted) => serial == Some(wanted),
                };
                // A later node of the same number is another one.
                if is_it && global.type_ == ObjectType::Node && seen.target.get().is_none() {
                    // Without a serial the number serves (PipeWire before 0.3.45).
                    let serial = serial.unwrap_or_else(|| global.id.into());
                    seen.target.set(Some((global.id, serial)));
                }
            })
            .global_remove(move |id| {
                if gone.target.get().is_some_and(|(target, _)| target == id) {
                    gone.fail("the node was removed".to_owned());
                }
            })
            .register()
    }

    fn listen_to_stream(
        self: &Rc<Self>,
        stream: &Stream,
    ) -> Result<pw::stream::StreamListener<()>, pw::Error> {
        let (states, params, pictures) = (Rc::clone(self), Rc::clone(self), Rc::clone(self));
        let builder = stream
            .add_local_listener::<()>()
            .state_changed(move |_, (), _, new| states.look_at_state(&new))
            .param_changed(move |stream, (), id, pod| {
                if id == ParamType::Format.as_raw() {
                    params.take_format(stream, pod);
                }
            })
            .process(move |stream, ()| pictures.take_in(stream));
        Table::follow(&self.table, builder).register()
    }

    fn look_at_state(&self, state: &StreamState) {
        let streams = *state == StreamState::Streaming && self.format.get().is_some();
        if let StreamState::Error(message) = state {
            self.fail(format!("the node cannot be captured ({message})"));
        }
        self.shared.set_streaming(streams);
        // From one state that is no streaming to another the time goes on.
        if streams {
            self.deadline.set(None);
        } else if self.deadline.get().is_none() {
            self.deadline
                .set(Some(Instant::now() + NEGOTIATION_TIMEOUT));
        }
    }

    fn connect(&self, stream: &Stream) -> Result<(), pw::Error> {
        let (shape, memory) = self.offer.get();
        let offers = format::offers(shape, memory);
        let mut pods = pods(&offers);
        // Called on the loop's thread, not the data thread: the callback may wait for a reader.
        let flags = StreamFlags::AUTOCONNECT | StreamFlags::DONT_RECONNECT;
        stream.connect(spa::utils::Direction::Input, None, flags, &mut pods)
    }

    fn update(&self, stream: &Stream, params: &[Vec<u8>]) -> Result<(), pw::Error> {
        stream.update_params(&mut pods(params))
    }

    fn take_format(&self, stream: &Stream, pod: Option<&Pod>) {
        let format = pod.and_then(Format::parse);
        if pod.is_some() && format.is_none() {
            self.fail("the producer chose a format that was not offered".to_owned());
        }
        self.format.set(format);
        self.shared.set_format(format);
        let Some(format) = format else {
            return;
        };
        log::debug!("capture pipewire: {format:?}");
        if let Err(error) = self.update(stream, &format::buffers(&format, self.tells_cursor)) {
            self.fail(format!("PipeWire makes no buffers ({error})"));
        }
        self.look_at_state(&stream.state());
    }

    /// Everything that has come.
    fn take_in(&self, stream: &Stream) {
        let now = clock::now();
        let mut table = self.table.borrow_mut();
        while let Some(key) = table.take(stream) {
            if !self.look_at(&table, key, now) {
                table.give_back(stream, key);
            }
        }
        // Also the one of the picture that was displaced: in time for this very cycle.
        while let Some(key) = self.shared.returns.pop() {
            table.give_back(stream, key);
        }
    }

    /// True if the buffer is lent to a picture.
    fn look_at(&self, table: &Table, key: Key, now: Timestamp) -> bool {
        let Some(format) = self.format.get() else {
            return false;
        };
        let cursor = table.meta(key, spa::sys::SPA_META_Cursor);
        if let Some(cursor) = cursor.and_then(meta::cursor) {
            self.shared.lock().cursor.take(cursor, format.size);
        }
        let header = table.meta(key, spa::sys::SPA_META_Header);
        let header = header.and_then(Header::parse);
        let damage = table.meta(key, spa::sys::SPA_META_VideoDamage);
        let damage = damage.and_then(|bytes| meta::damage(bytes, format.size));
        let Some((pixels, chunk)) = table.picture(key) else {
            return false;
        };
        if chunk.is_corrupted || header.is_some_and(|it| it.is_corrupted) {
            // Mutter tells the cursor's moves so, with a chunk of no size and without damage.
            if let Some(damage) = damage {
                self.shared.damaged(damage);
            }
            return false;
        }
        let (surface, is_lent): (Option<Arc<dyn Surface>>, bool) = match pixels {
            Pixels::Shared(memory) => {
                let returns = &self.shared.returns;
                let picture = Picture::new(&format, (memory, chunk), key, returns);
                let is_lent = picture.is_some();
                (picture.map(|it| Arc::new(it) as Arc<dyn Surface>), is_lent)
            }
            Pixels::Lent(bytes) => {
                let copy = self.copies.borrow_mut().copy(&format, (bytes, chunk));
                (copy.map(|it| it as Arc<dyn Surface>), false)
            }
        };
        let Some(surface) = surface else {
            self.shared.damaged(Rect::whole(format.size));
            return false;
        };
        let made = header.and_then(|header| header.pts_ns);
        let captured = captured(made, now);
        let damage = damage.unwrap_or_else(|| Rect::whole(format.size));
        self.shared.publish(surface, damage, captured);
        is_lent
    }
}

/// The producer's time, where it is one of the clock that all processes share; else now.
fn captured(made_ns: Option<u64>, now: Timestamp) -> Timestamp {
    match made_ns.map(Timestamp::from_ns) {
        Some(made) if made <= now && now.since(made) <= AGE_MAX => made,
        _ => now,
    }
}

fn make_stream(core: &CoreRc, serial: u64) -> Result<StreamBox<'_>, pw::Error> {
    StreamBox::new(
        core,
        "punktfunk-capture",
        properties! {
            *pw::keys::MEDIA_TYPE => "Video",
            *pw::keys::MEDIA_CATEGORY => "Capture",
            *pw::keys::MEDIA_ROLE => "Screen",
            *pw::keys::NODE_NAME => "punktfunk-capture",
            *pw::keys::TARGET_OBJECT => serial.to_string(),
            // Should the node go, no camera comes in its place.
            *pw::keys::NODE_DONT_RECONNECT => "true",
        },
    )
}

fn pods(params: &[Vec<u8>]) -> Vec<&Pod> {
    params
        .iter()
        .map(|bytes| Pod::from_bytes(bytes).expect("they were made to be pods"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_of_another_clock_is_not_believed() {
        let now = Timestamp::from_ns(5_000_000_000);
        assert_eq!(captured(None, now), now);
        let recent = 4_900_000_000;
        assert_eq!(captured(Some(recent), now), Timestamp::from_ns(recent));
        assert_eq!(captured(Some(5_000_000_001), now), now, "of the future");
        assert_eq!(captured(Some(1_000_000_000), now), now, "of long ago");
    }
}
