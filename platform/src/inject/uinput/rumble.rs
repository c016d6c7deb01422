//! Force feedback: which effects an application has uploaded, which play, and what that is for
//! the two motors of a controller.

use std::time::Duration;

use net::units::Timestamp;

/// Effects that an application may upload to one controller (the kernel numbers them from 0).
pub(super) const EFFECTS_MAX: usize = 16;

/// Strengths of both motors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Motors {
    pub(super) strong: u16,
    pub(super) weak: u16,
}

#[derive(Clone, Copy, Debug, Default)]
struct Effect {
    motors: Motors,
    /// 0: until it is stopped.
    length: Duration,
    delay: Duration,
    playing: Option<Playing>,
}

#[derive(Clone, Copy, Debug)]
struct Playing {
    from: Timestamp,
    until: Option<Timestamp>,
}

/// The effects of one controller.
#[derive(Debug)]
pub(super) struct Rumble {
    effects: [Option<Effect>; EFFECTS_MAX],
    gain: u16,
    told: Motors,
}

impl Default for Rumble {
    fn default() -> Self {
        Self {
            effects: [None; EFFECTS_MAX],
            gain: u16::MAX,
            told: Motors::default(),
        }
    }
}

impl Rumble {
    /// An effect is there or has changed; false if there is no room for it.
    pub(super) fn upload(
        &mut self,
        id: i16,
        motors: Motors,
        length_ms: u16,
        delay_ms: u16,
    ) -> bool {
        let Some(place) = usize::try_from(id)
            .ok()
            .and_then(|id| self.effects.get_mut(id))
        else {
            return false;
        };
        // One that plays goes on playing, changed.
        let playing = place.and_then(|effect| effect.playing);
        *place = Some(Effect {
            motors,
            length: Duration::from_millis(length_ms.into()),
            delay: Duration::from_millis(delay_ms.into()),
            playing,
        });
        true
    }

    /// An effect is gone.
    pub(super) fn erase(&mut self, id: u32) {
        if let Some(place) = usize::try_from(id)
            .ok()
            .and_then(|id| self.effects.get_mut(id))
        {
            *place = None;
        }
    }

    /// Plays an effect so many times; 0 stops it.
    pub(super) fn play(&mut self, now: Timestamp, id: u16, count: i32) {
        let Some(Some(effect)) = self.effects.get_mut(usize::from(id)) else {
            return;
        };
        let from = now + effect.delay;
        let times = u32::try_from(count).unwrap_or(0);
        effect.playing = (times > 0).then(|| Playing {
            from,
            until: (!effect.length.is_zero()).then(|| from + effect.length * times),
        });
    }

    /// All effects are scaled by this, in 1/65535.
    pub(super) fn set_gain(&mut self, gain: i32) {
        self.gain = gain.clamp(0, u16::MAX.into()) as u16;
    }

    /// What the motors do now, if that is not what was told last.
    pub(super) fn poll(&mut self, now: Timestamp) -> Option<Motors> {
        let (mut strong, mut weak) = (0u32, 0u32);
        for effect in self.effects.iter_mut().flatten() {
            let Some(playing) = effect.playing else {
                continue;
            };
            if playing.until.is_some_and(|until| until <= now) {
                effect.playing = None;
            } else if playing.from <= now {
                strong += u32::from(effect.motors.strong);
                weak += u32::from(effect.motors.weak);
            }
        }
        let scale = |sum: u32| {
            let capped = u64::from(sum.min(u16::MAX.into()));
            (capped * u64::from(self.gain) / u64::from(u16::MAX)) as u16
        };
        let motors = Motors {
            strong: scale(strong),
            weak: scale(weak),
        };
        (motors != std::mem::replace(&mut self.told, motors)).then_some(motors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Motors = Motors {
        strong: 40_000,
        weak: 10_000,
    };

    fn at(ms: u64) -> Timestamp {
        Timestamp::from_ns(1 + ms * 1_000_000)
    }

    #[test]
    fn an_effect_plays_for_its_time_and_is_told_once() {
        let mut rumble = Rumble::default();
        assert!(rumble.upload(0, BOTH, 100, 0));
        assert_eq!(rumble.poll(at(0)), None, "uploaded is not played");
        rumble.play(at(0), 0, 1);
        assert_eq!(rumble.poll(at(0)), Some(BOTH));
        assert_eq!(rumble.poll(at(50)), None);
        assert_eq!(rumble.poll(at(100)), Some(Motors::default()));
    }

    #[test]
    fn erased_or_stopped_is_still() {
        let mut rumble = Rumble::default();
        assert!(rumble.upload(1, BOTH, 0, 0));
        rumble.play(at(0), 1, 1);
        assert_eq!(rumble.poll(at(0)), Some(BOTH));
        assert_eq!(
            rumble.poll(at(100_000)),
            None,
            "no length: until it is stopped"
        );
        rumble.play(at(0), 1, 0);
        assert_eq!(rumble.poll(at(1)), Some(Motors::default()));
        rumble.play(at(1), 1, 1);
        rumble.erase(1);
        assert_eq!(rumble.poll(at(2)), None);
    }

    #[test]
    fn sums_are_capped_and_gain_scales() {
        let mut rumble = Rumble::default();
        for id in 0..2 {
            assert!(rumble.upload(id, BOTH, 0, 0));
            rumble.play(at(0), id as u16, 1);
        }
        assert_eq!(
            rumble.poll(at(0)),
            Some(Motors {
                strong: u16::MAX,
                weak: 20_000
            })
        );
        rumble.set_gain(0);
        assert_eq!(rumble.poll(at(0)), Some(Motors::default()));
        assert!(!rumble.upload(16, BOTH, 0, 0));
        assert!(!rumble.upload(-1, BOTH, 0, 0));
    }
}
