//! Units and roles as types: what a number counts is written in its type, so that a frame is
//! never added to a slice and a bitrate is never compared with a byte count.

use std::fmt;
use std::ops::{Add, Sub};
use std::str::FromStr;
use std::time::Duration;

use crate::limits;

/// A point in time: nanoseconds of the machine's `CLOCK_MONOTONIC`.
///
/// Timestamps of different machines are not comparable; see [`crate::native::ClockDomain`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The clock's own zero, used as "not yet".
    pub const ZERO: Self = Self(0);

    /// From nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    /// Nanoseconds of `CLOCK_MONOTONIC`.
    #[must_use]
    pub const fn as_ns(self) -> u64 {
        self.0
    }

    /// Time from `earlier` to here; zero if `earlier` is in fact later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// True for the value that stands for "not yet".
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl Add<Duration> for Timestamp {
    type Output = Self;
    fn add(self, rhs: Duration) -> Self {
        let ns = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(ns))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;
    fn sub(self, rhs: Duration) -> Self {
        let ns = u64::try_from(rhs.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_sub(ns))
    }
}

/// Number of a video frame within a session, from 0, in encode order, never reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameId(pub u32);

impl FrameId {
    /// The frame after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }
}

impl fmt::Display for FrameId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "frame {}", self.0)
    }
}

/// Position of a slice within its frame, from 0, top to bottom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceIndex(pub u8);

/// A number of slices in a frame: 1 to [`limits::SLICES_PER_FRAME_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SliceCount(u8);

impl SliceCount {
    /// One slice: the whole picture.
    pub const ONE: Self = Self(1);
    /// As many as a frame can have.
    pub const MAX: Self = Self(limits::SLICES_PER_FRAME_MAX);

    /// Checked: 1 to [`limits::SLICES_PER_FRAME_MAX`], else `None`.
    #[must_use]
    pub const fn new(count: u8) -> Option<Self> {
        if count >= 1 && count <= limits::SLICES_PER_FRAME_MAX {
            Some(Self(count))
        } else {
            None
        }
    }

    /// The count.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }
}

/// A rate in bits a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BitsPerSecond(pub u64);

impl BitsPerSecond {
    /// From a figure in kbit/s (1000 bit/s).
    #[must_use]
    pub const fn from_kbps(kbps: u64) -> Self {
        Self(kbps.saturating_mul(1000))
    }

    /// The share of one frame at `refresh`, in bytes.
    #[must_use]
    pub const fn bytes_per_frame(self, refresh: RefreshMilliHz) -> u64 {
        // bits/s ÷ 8 ÷ (mHz ÷ 1000)
        self.0.saturating_mul(125) / refresh.0 as u64
    }
}

impl fmt::Display for BitsPerSecond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} Mbit/s", self.0 as f64 / 1e6)
    }
}

/// A refresh rate in thousandths of a hertz (60 Hz is 60 000), never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RefreshMilliHz(u32);

impl RefreshMilliHz {
    /// Checked against [`limits::REFRESH_MILLIHZ_MIN`] and [`limits::REFRESH_MILLIHZ_MAX`].
    #[must_use]
    pub const fn new(millihz: u32) -> Option<Self> {
        if millihz >= limits::REFRESH_MILLIHZ_MIN && millihz <= limits::REFRESH_MILLIHZ_MAX {
            Some(Self(millihz))
        } else {
            None
        }
    }

    /// The rate in mHz.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// Time between two frames.
    #[must_use]
    pub const fn interval(self) -> Duration {
        Duration::from_nanos(1_000_000_000_000 / self.0 as u64)
    }
}

/// What a client asks of its display: size in pixels and refresh rate. Always within
/// [`limits`]; width and height are even, as 4:2:0 pictures need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mode {
    width: u16,
    height: u16,
    refresh: RefreshMilliHz,
}

/// Why a mode is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ModeError {
    /// The text is not of the form WIDTHxHEIGHT@HZ.
    #[error("a mode is written WIDTHxHEIGHT@HZ, for example 1920x1080@60")]
    Syntax,
    /// A side is outside the limits.
    #[error(
        "{width}x{height} is not a size this host can stream: each side must lie between {min} \
         and {max} pixels",
        min = limits::SIDE_PX_MIN,
        max = limits::SIDE_PX_MAX
    )]
    Size {
        /// Asked width, pixels.
        width: u32,
        /// Asked height, pixels.
        height: u32,
    },
    /// A side is odd.
    #[error("{width}x{height} has an odd side: 4:2:0 video needs even sizes")]
    Odd {
        /// Asked width, pixels.
        width: u32,
        /// Asked height, pixels.
        height: u32,
    },
    /// The refresh rate is outside the limits.
    #[error(
        "{hz} Hz is not a refresh rate this host can stream: it must lie between {min} and \
         {max} Hz",
        hz = f64::from(*millihz) / 1000.0,
        min = limits::REFRESH_MILLIHZ_MIN / 1000,
        max = limits::REFRESH_MILLIHZ_MAX / 1000
    )]
    Refresh {
        /// Asked rate, mHz.
        millihz: u32,
    },
}

impl Mode {
    /// Checked construction; sizes in pixels, rate in mHz.
    ///
    /// # Errors
    /// [`ModeError::Size`], [`ModeError::Odd`] or [`ModeError::Refresh`].
    pub fn new(width: u32, height: u32, millihz: u32) -> Result<Self, ModeError> {
        let side = |px: u32| -> Option<u16> {
            let px = u16::try_from(px).ok()?;
            (limits::SIDE_PX_MIN..=limits::SIDE_PX_MAX)
                .contains(&px)
                .then_some(px)
        };
        let (Some(w), Some(h)) = (side(width), side(height)) else {
            return Err(ModeError::Size { width, height });
        };
        if w % 2 != 0 || h % 2 != 0 {
            return Err(ModeError::Odd { width, height });
        }
        let refresh = RefreshMilliHz::new(millihz).ok_or(ModeError::Refresh { millihz })?;
        Ok(Self {
            width: w,
            height: h,
            refresh,
        })
    }

    /// Width in pixels.
    #[must_use]
    pub const fn width(self) -> u16 {
        self.width
    }

    /// Height in pixels.
    #[must_use]
    pub const fn height(self) -> u16 {
        self.height
    }

    /// Refresh rate.
    #[must_use]
    pub const fn refresh(self) -> RefreshMilliHz {
        self.refresh
    }

    /// Number of pixels.
    #[must_use]
    pub const fn pixels(self) -> usize {
        self.width as usize * self.height as usize
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hz = f64::from(self.refresh.get()) / 1000.0;
        write!(f, "{}x{}@{hz}", self.width, self.height)
    }
}

impl FromStr for Mode {
    type Err = ModeError;

    /// `WIDTHxHEIGHT@HZ`; HZ may have a fraction (`59.94`).
    fn from_str(text: &str) -> Result<Self, ModeError> {
        let (size, hz) = text.split_once('@').ok_or(ModeError::Syntax)?;
        let (width, height) = size.split_once('x').ok_or(ModeError::Syntax)?;
        let width = width.parse().map_err(|_| ModeError::Syntax)?;
        let height = height.parse().map_err(|_| ModeError::Syntax)?;
        let hz: f64 = hz.parse().map_err(|_| ModeError::Syntax)?;
        if !hz.is_finite() || hz < 0.0 {
            return Err(ModeError::Syntax);
        }
        // `as` saturates, and a saturated rate is refused by the limits.
        Self::new(width, height, (hz * 1000.0).round() as u32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_round_trips_through_its_text() {
        for text in ["1920x1080@60", "1280x720@59.94", "5120x1440@240"] {
            assert_eq!(text.parse::<Mode>().expect("valid").to_string(), text);
        }
    }

    #[test]
    fn impossible_modes_are_refused_with_the_reason() {
        assert!(matches!(
            "0x0@60".parse::<Mode>(),
            Err(ModeError::Size { .. })
        ));
        assert!(matches!(
            "40000x40000@60".parse::<Mode>(),
            Err(ModeError::Size { .. })
        ));
        assert!(matches!(
            "1281x720@60".parse::<Mode>(),
            Err(ModeError::Odd { .. })
        ));
        assert!(matches!(
            "1280x720@1".parse::<Mode>(),
            Err(ModeError::Refresh { .. })
        ));
        assert!(matches!(
            "1280x720@1e30".parse::<Mode>(),
            Err(ModeError::Refresh { .. })
        ));
        assert!(matches!("1280x720".parse::<Mode>(), Err(ModeError::Syntax)));
    }

    #[test]
    fn a_frames_share_of_the_bitrate() {
        let refresh = RefreshMilliHz::new(60_000).expect("60 Hz");
        assert_eq!(BitsPerSecond(20_000_000).bytes_per_frame(refresh), 41_666);
    }
}
