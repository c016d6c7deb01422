//! The client's sound on its way to the session's microphone, on a thread of its own (`pf-mic`):
//! datagrams come through a bounded channel, wait in the jitter buffer for their turn, are decoded
//! and given to the source. What is missing Opus conceals. What a full queue leaves out, here and
//! behind the source, is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crossbeam::channel::{Receiver, RecvTimeoutError, Sender, TrySendError, bounded};
use net::audio::microphone::MICROPHONE_DATAGRAM_BYTES_MAX;
use net::audio::{MicrophoneReceiver, Playout, SAMPLE_RATE};
use net::clock;
use opus::{Channels, Decoder};
use platform::audio::microphone::Microphone;
use platform::thread::{Role, RoleThread};

use crate::metrics::{SessionMetrics, add};

/// Datagrams that the thread has not taken: 160 ms. Full: the newest is left out and counted, and
/// Opus conceals it.
const DATAGRAMS: usize = 32;
/// Samples of a packet: 5 ms.
const SAMPLES: usize = SAMPLE_RATE as usize / 200;
/// How often the thread looks whether it is wanted while nobody speaks.
const PATIENCE: Duration = Duration::from_millis(100);
const JOIN_TIMEOUT: Duration = Duration::from_millis(500);

/// The microphone has no thread or no decoder.
#[derive(Debug, thiserror::Error)]
pub enum MicrophoneError {
    /// Opus refused.
    #[error("the microphone's decoder cannot be opened: {0}")]
    Opus(#[from] opus::Error),
    /// No thread.
    #[error("the thread for the microphone cannot be started: {0}")]
    Thread(std::io::Error),
}

struct Datagram {
    length: usize,
    bytes: [u8; MICROPHONE_DATAGRAM_BYTES_MAX],
}

/// Control's end. Clones are the same.
#[derive(Clone)]
pub struct MicrophoneQueue {
    datagrams: Sender<Datagram>,
    metrics: Arc<SessionMetrics>,
}

impl MicrophoneQueue {
    fn new(metrics: Arc<SessionMetrics>) -> (Self, Receiver<Datagram>) {
        let (datagrams, taken) = bounded(DATAGRAMS);
        (Self { datagrams, metrics }, taken)
    }

    /// Takes a datagram; never waits. What is longer than any is none.
    pub fn push(&self, datagram: &[u8]) {
        let mut bytes = [0; MICROPHONE_DATAGRAM_BYTES_MAX];
        let Some(place) = bytes.get_mut(..datagram.len()) else {
            return;
        };
        place.copy_from_slice(datagram);
        let length = datagram.len();
        // Gone: so is the session.
        if let Err(TrySendError::Full(_)) = self.datagrams.try_send(Datagram { length, bytes }) {
            add(&self.metrics.counters.microphone_dropped, 1);
        }
    }
}

/// The thread. Dropping it ends it and removes the source.
pub struct MicrophoneThread {
    queue: MicrophoneQueue,
    stop: Arc<AtomicBool>,
    thread: Option<RoleThread<()>>,
}

impl MicrophoneThread {
    /// Starts it.
    ///
    /// # Errors
    /// [`MicrophoneError`].
    pub fn spawn(
        microphone: Box<dyn Microphone>,
        metrics: Arc<SessionMetrics>,
    ) -> Result<Self, MicrophoneError> {
        let (queue, datagrams) = MicrophoneQueue::new(Arc::clone(&metrics));
        let stop = Arc::new(AtomicBool::new(false));
        let stage = Stage {
            datagrams,
            receiver: MicrophoneReceiver::default(),
            decoder: Decoder::new(SAMPLE_RATE, Channels::Mono)?,
            microphone,
            metrics,
            unheard_before: 0,
            stop: Arc::clone(&stop),
        };
        let thread = platform::thread::spawn(Role::Audio, "pf-mic", move || stage.run())
            .map_err(MicrophoneError::Thread)?;
        Ok(Self {
            queue,
            stop,
            thread: Some(thread),
        })
    }

    /// Where datagrams go in.
    #[must_use]
    pub fn queue(&self) -> MicrophoneQueue {
        self.queue.clone()
    }
}

impl Drop for MicrophoneThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            && let Err(error) = thread.join_within(JOIN_TIMEOUT)
        {
            log::error!("{error}");
        }
    }
}

/// The thread's own half.
struct Stage {
    datagrams: Receiver<Datagram>,
    receiver: MicrophoneReceiver,
    decoder: Decoder,
    microphone: Box<dyn Microphone>,
    metrics: Arc<SessionMetrics>,
    /// What of the source's count is in ours.
    unheard_before: u64,
    stop: Arc<AtomicBool>,
}

impl Stage {
    fn run(mut self) {
        while !self.stop.load(Ordering::Acquire) {
            let due = self.receiver.poll_timeout();
            let wait = due.map_or(PATIENCE, |due| due.since(clock::now()).min(PATIENCE));
            match self.datagrams.recv_timeout(wait) {
                Ok(datagram) => {
                    let bytes = &datagram.bytes[..datagram.length];
                    if let Err(error) = self.receiver.handle(clock::now(), bytes) {
                        log::trace!("{error}");
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            self.play();
        }
    }

    fn play(&mut self) {
        let mut samples = [0.0; SAMPLES];
        loop {
            let now = clock::now();
            let packet = match self.receiver.poll(now) {
                Playout::Wait(_) => return,
                Playout::Play { packet, .. } => packet,
                Playout::Conceal(_) => &[],
            };
            let counters = &self.metrics.counters;
            let mut whole = !packet.is_empty();
            // A packet of another length than 5 ms has no place here: it counts as missing.
            let decoded = match self.decoder.decode_float(packet, &mut samples, false) {
                Ok(count) if count == SAMPLES => Ok(count),
                _ => {
                    whole = false;
                    self.decoder.decode_float(&[], &mut samples, false)
                }
            };
            if decoded.is_err() {
                samples.fill(0.0);
            }
            self.microphone.write(&samples);
            add(&counters.microphone_packets, 1);
            add(&counters.microphone_concealed, u64::from(!whole));
            let unheard = self.microphone.dropped();
            let more = unheard.saturating_sub(self.unheard_before);
            add(&counters.microphone_unheard, more);
            self.unheard_before = unheard;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::Instant;

    use net::audio::MicrophoneSender;
    use opus::{Application, Encoder};

    use super::*;

    struct Kept(Arc<Mutex<Vec<f32>>>);

    impl Microphone for Kept {
        fn environment(&self) -> Vec<(&'static str, String)> {
            Vec::new()
        }

        fn write(&mut self, samples: &[f32]) {
            self.0.lock().expect("no panic").extend_from_slice(samples);
        }

        fn dropped(&self) -> u64 {
            self.0.lock().expect("no panic").len() as u64 / 2
        }
    }

    #[test]
    fn what_a_full_queue_leaves_out_is_counted() {
        let metrics = Arc::new(SessionMetrics::default());
        let (queue, taken) = MicrophoneQueue::new(Arc::clone(&metrics));
        let dropped = || metrics.counters.snapshot().microphone_dropped;
        for _ in 0..DATAGRAMS {
            queue.push(&[1]);
        }
        assert_eq!(dropped(), 0);
        queue.push(&[2]);
        queue.clone().push(&[2]);
        // Is no datagram, and has no room to lack.
        queue.push(&[0; MICROPHONE_DATAGRAM_BYTES_MAX + 1]);
        assert_eq!(dropped(), 2);
        assert!(taken.try_iter().all(|it| it.bytes[0] == 1), "the newest go");
        drop(taken);
        queue.push(&[3]);
        assert_eq!(dropped(), 2, "a session that is gone has no queue");
    }

    #[test]
    fn what_is_no_packet_of_5_ms_is_concealed_and_the_others_are_heard() {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let metrics = Arc::new(SessionMetrics::default());
        let thread =
            MicrophoneThread::spawn(Box::new(Kept(Arc::clone(&kept))), Arc::clone(&metrics));
        let thread = thread.expect("spawns");
        let queue = thread.queue();
        let mut encoder =
            Encoder::new(SAMPLE_RATE, Channels::Stereo, Application::LowDelay).expect("an encoder");
        // 1 kHz: Opus lets nothing through that does not change.
        let loud: [f32; 2 * SAMPLES * 4] =
            std::array::from_fn(|index| [0.5, -0.5][index / 2 / 24 % 2]);
        let long = encoder.encode_vec_float(&loud, 1000).expect("20 ms");
        let mut sender = MicrophoneSender::default();
        let mut datagram = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        let is_loud = |sample: &f32| sample.abs() > 0.2;
        for number in 0u64.. {
            let short = encoder.encode_vec_float(&loud[..2 * SAMPLES], 1000);
            // Seldom, because Opus tells how loud it is by the difference to the packet before.
            let packet = match number % 20 {
                0 => long.clone(),
                10 => vec![0xff; 50],
                _ => short.expect("5 ms"),
            };
            sender.send(&packet, &mut datagram).expect("short");
            queue.push(&datagram);
            queue.push(&[0; 5000]);
            queue.push(&[]);
            if kept
                .lock()
                .expect("no panic")
                .iter()
                .filter(|it| is_loud(it))
                .count()
                > 1000
            {
                break;
            }
            assert!(Instant::now() < deadline, "nothing is heard");
            platform::thread::wait_until(clock::now() + Duration::from_millis(5));
        }
        drop(thread);
        let samples = kept.lock().expect("no panic").len();
        assert!(samples.is_multiple_of(SAMPLES), "{samples}");
        let counted = metrics.counters.snapshot();
        assert_eq!(counted.microphone_packets, (samples / SAMPLES) as u64);
        assert_eq!(counted.microphone_unheard, samples as u64 / 2);
        let concealed = counted.microphone_concealed;
        assert!(
            (1..counted.microphone_packets).contains(&concealed),
            "{concealed}"
        );
    }
}
