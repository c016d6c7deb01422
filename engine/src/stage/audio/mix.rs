//! From the channels that a session's sink has to those that its client wants.
//!
//! The sink is made at launch and stays, because applications play into it; a client may come back
//! with other speakers. A speaker that the client has too is passed on, another is shared among its
//! neighbours at 3 dB less (ITU-R BS.775-3, annex 4), low frequencies are left out. All is turned
//! down so far that full scale on every channel stays full scale. Pure, no allocation.

use std::f32::consts::FRAC_1_SQRT_2;

use net::audio::{CHANNELS_MAX, Speakers};

/// Where a speaker's sound goes where that speaker is missing, and, where that is missing too,
/// from there.
const NEIGHBOURS: [(&str, &[&str]); 6] = [
    ("SL", &["RL"]),
    ("SR", &["RR"]),
    ("FC", &["FL", "FR"]),
    ("RL", &["FL"]),
    ("RR", &["FR"]),
    ("LFE", &[]),
];

/// A matrix.
#[derive(Clone, Debug, PartialEq)]
pub struct Mixer {
    from: usize,
    to: usize,
    /// For each channel of the client what it takes of each of the sink's.
    gains: [[f32; CHANNELS_MAX]; CHANNELS_MAX],
}

impl Mixer {
    /// `None` if there is nothing to do.
    #[must_use]
    pub fn new(from: Speakers, to: Speakers) -> Option<Self> {
        if from == to {
            return None;
        }
        let mut gains = [[0.0; CHANNELS_MAX]; CHANNELS_MAX];
        for (channel, name) in from.positions().iter().enumerate() {
            share(name, 1.0, to, &mut |place, gain| {
                gains[place][channel] += gain;
            });
        }
        let loudest = gains.iter().map(|row| row.iter().sum()).fold(1.0, f32::max);
        gains.iter_mut().flatten().for_each(|gain| *gain /= loudest);
        Some(Self {
            from: from.channels(),
            to: to.channels(),
            gains,
        })
    }

    /// Mixes interleaved samples, as many of each channel as both hold.
    pub fn mix(&self, heard: &[f32], out: &mut [f32]) {
        let frames = heard.chunks_exact(self.from);
        for (frame, mixed) in frames.zip(out.chunks_exact_mut(self.to)) {
            for (sample, row) in mixed.iter_mut().zip(&self.gains) {
                *sample = frame.iter().zip(row).map(|(a, b)| a * b).sum();
            }
        }
    }
}

/// Tells which of the client's channels get the sound of the speaker `name`, and at what gain.
fn share(name: &str, gain: f32, to: Speakers, put: &mut impl FnMut(usize, f32)) {
    if let Some(place) = to.positions().iter().position(|it| *it == name) {
        return put(place, gain);
    }
    let neighbours = NEIGHBOURS.iter().find(|(missing, _)| *missing == name);
    for neighbour in neighbours.into_iter().flat_map(|(_, there)| *there) {
        share(neighbour, gain * FRAC_1_SQRT_2, to, put);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mixed(from: Speakers, to: Speakers, heard: &[f32]) -> Vec<f32> {
        let mut out = vec![9.0; to.channels()];
        let mixer = Mixer::new(from, to).expect("they differ");
        mixer.mix(heard, &mut out);
        out
    }

    #[test]
    fn the_same_speakers_need_no_mixing() {
        for speakers in Speakers::ALL {
            assert_eq!(Mixer::new(speakers, speakers), None);
        }
    }

    #[test]
    fn nothing_is_louder_than_full_scale_and_sides_stay_apart() {
        for from in Speakers::ALL {
            for to in Speakers::ALL.into_iter().filter(|to| *to != from) {
                let loud = mixed(from, to, &vec![1.0; from.channels()]);
                let most = loud.iter().fold(0.0_f32, |most, it| most.max(*it));
                assert!((0.999..1.001).contains(&most), "{from:?} {to:?}: {loud:?}");
                let left = ["FL", "RL", "SL"];
                let names = from.positions().iter();
                let heard: Vec<f32> = names.map(|it| f32::from(left.contains(it))).collect();
                for (name, sample) in to.positions().iter().zip(mixed(from, to, &heard)) {
                    assert!(
                        left.contains(name) || sample == 0.0,
                        "{from:?} {to:?} {name}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_centre_is_in_the_middle_and_bass_is_left_out() {
        let stereo = mixed(
            Speakers::Surround51,
            Speakers::Stereo,
            &[0.0, 0.0, 1.0, 1.0, 0.0, 0.0],
        );
        let expected = FRAC_1_SQRT_2 / (1.0 + 2.0 * FRAC_1_SQRT_2);
        assert!(stereo.iter().all(|it| (it - expected).abs() < 1e-6));
        let wide = mixed(Speakers::Stereo, Speakers::Surround71, &[0.5, -0.5]);
        assert_eq!(wide, [0.5, -0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
    }
}
