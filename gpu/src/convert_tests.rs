use std::sync::Arc;

use net::units::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::frame::MemorySurface;

const SIZE: Size = Size {
    width: 192,
    height: 130,
};

fn frame(surface: &Arc<MemorySurface>, damage: Rect) -> Frame {
    Frame {
        surface: surface.clone(),
        damage,
        captured: Timestamp::ZERO,
    }
}

fn plain(rgb: [u8; 3], format: PixelFormat) -> Arc<MemorySurface> {
    let mut surface = MemorySurface::new(SIZE, format);
    surface.fill_with(|_, _| rgb);
    Arc::new(surface)
}

/// ITU-R BT.709-6, 3.2 to 3.4, in floating point: the oracle.
fn bt709_limited([r, g, b]: [u8; 3]) -> [u8; 3] {
    let [r, g, b] = [r, g, b].map(|value| f64::from(value) / 255.0);
    let y = 0.2126 * r + 0.7152 * g + 0.0722 * b;
    let blue = (b - y) / 1.8556;
    let red = (r - y) / 1.5748;
    [16.0 + 219.0 * y, 128.0 + 224.0 * blue, 128.0 + 224.0 * red].map(|v| v.round() as u8)
}

#[test]
fn known_colours_have_their_bt709_limited_values() {
    // White, black, primaries and secondaries: the values of 75/100 % colour bars' headroom
    // tables (SMPTE RP 219 at 100 %).
    let table = [
        ([255, 255, 255], [235, 128, 128]),
        ([0, 0, 0], [16, 128, 128]),
        ([255, 0, 0], [63, 102, 240]),
        ([0, 255, 0], [173, 42, 26]),
        ([0, 0, 255], [32, 240, 118]),
        ([255, 255, 0], [219, 16, 138]),
        ([0, 255, 255], [188, 154, 16]),
        ([255, 0, 255], [78, 214, 230]),
        ([128, 128, 128], [126, 128, 128]),
        ([64, 64, 64], [71, 128, 128]),
    ];
    for (rgb, want) in table {
        assert_eq!(bt709_limited(rgb), want, "the oracle for {rgb:?}");
        for format in [PixelFormat::Bgrx, PixelFormat::Rgbx] {
            let surface = plain(rgb, format);
            let mut nv12 = Converter::<Nv12>::new(SIZE);
            nv12.convert(&frame(&surface, Rect::whole(SIZE)))
                .expect("fits");
            let mut i420 = Converter::<I420>::new(SIZE);
            i420.convert(&frame(&surface, Rect::whole(SIZE)))
                .expect("fits");
            for (x, y) in [(0, 0), (191, 129), (95, 64), (190, 1)] {
                let (nv12, i420) = (nv12.current(), i420.current());
                let at = y / 2 * nv12.stride + x / 2 * 2;
                let got = [
                    nv12.luma[y * nv12.stride + x],
                    nv12.chroma[at],
                    nv12.chroma[at + 1],
                ];
                assert_near(got, want, rgb);
                let at = y / 2 * (i420.stride / 2) + x / 2;
                let got = [
                    i420.luma[y * i420.stride + x],
                    i420.chroma[0][at],
                    i420.chroma[1][at],
                ];
                assert_near(got, want, rgb);
            }
        }
    }
}

/// One step of rounding is allowed, none for greys: a grey desktop must not be tinted.
fn assert_near(got: [u8; 3], want: [u8; 3], rgb: [u8; 3]) {
    let grey = rgb[0] == rgb[1] && rgb[1] == rgb[2];
    for (got_one, want_one) in got.into_iter().zip(want) {
        let bound = u8::from(!grey);
        assert!(
            got_one.abs_diff(want_one) <= bound,
            "{rgb:?} gave {got:?}, not {want:?}"
        );
    }
}

#[test]
fn colours_survive_the_way_there_and_back() {
    for rgb in [
        [255, 255, 255],
        [0, 0, 0],
        [200, 30, 90],
        [12, 200, 180],
        [77, 77, 77],
    ] {
        let surface = plain(rgb, PixelFormat::Bgrx);
        let mut converter = Converter::<I420>::new(SIZE);
        converter
            .convert(&frame(&surface, Rect::whole(SIZE)))
            .expect("fits");
        let planar = converter.current();
        let picture = Picture {
            width: usize::from(SIZE.width),
            height: usize::from(SIZE.height),
            planes: [&planar.luma, &planar.chroma[0], &planar.chroma[1]],
            strides: [planar.stride, planar.stride / 2, planar.stride / 2],
        };
        let mut out = vec![0; picture.width * picture.height * 3];
        to_rgb(&picture, &mut out).expect("fits");
        for pixel in out.chunks_exact(3) {
            let far = pixel
                .iter()
                .zip(rgb)
                .any(|(got, want)| got.abs_diff(want) > 3);
            assert!(!far, "{rgb:?} came back as {pixel:?}");
        }
        assert!(to_rgb(&picture, &mut out[1..]).is_err());
    }
}

#[test]
fn a_surface_that_does_not_fit_is_refused() {
    let mut converter = Converter::<Nv12>::new(SIZE);
    let other = Size {
        width: 194,
        height: 130,
    };
    let wrong = Arc::new(MemorySurface::new(other, PixelFormat::Bgrx));
    let error = converter
        .convert(&frame(&wrong, Rect::whole(other)))
        .expect_err("wrong size");
    assert_eq!(
        error,
        ConvertError::Size {
            got: other,
            want: SIZE
        }
    );
    let short = MappedPixels {
        bytes: &[0; 192 * 4 * 129],
        stride: 192 * 4,
        format: PixelFormat::Bgrx,
    };
    assert!(matches!(
        check_mapping(short, SIZE),
        Err(ConvertError::Mapping { .. })
    ));
    let narrow = MappedPixels {
        bytes: &[0; 192 * 4 * 130],
        stride: 191 * 4,
        format: PixelFormat::Bgrx,
    };
    assert!(matches!(
        check_mapping(narrow, SIZE),
        Err(ConvertError::Mapping { .. })
    ));
}

/// A rectangle of new colour, and how it is declared as damage.
fn change() -> impl Strategy<Value = (Rect, u8)> {
    (0u16..192, 0u16..130, 1u16..192, 1u16..130, any::<u8>()).prop_map(|(x, y, w, h, shade)| {
        let rect = Rect {
            x,
            y,
            width: w.min(192 - x),
            height: h.min(130 - y),
        };
        (rect, shade)
    })
}

/// A mapping may end with its last pixel, rows may be padded: the picture is the same.
#[test]
fn padded_rows_and_a_short_last_row() {
    struct Padded(MemorySurface);
    impl crate::frame::Surface for Padded {
        fn size(&self) -> Size {
            Size {
                width: 160,
                height: 130,
            }
        }
        fn map(&self) -> Option<MappedPixels<'_>> {
            let whole = self.0.map()?;
            Some(MappedPixels {
                bytes: &whole.bytes[..129 * 192 * 4 + 160 * 4],
                ..whole
            })
        }
    }
    let mut wide = MemorySurface::new(SIZE, PixelFormat::Rgbx);
    wide.fill_with(|x, y| [x as u8, y as u8, 99]);
    let size = Size {
        width: 160,
        height: 130,
    };
    let mut plain = MemorySurface::new(size, PixelFormat::Rgbx);
    plain.fill_with(|x, y| [x as u8, y as u8, 99]);
    let damage = Rect::whole(size);
    let padded = Frame {
        surface: Arc::new(Padded(wide)),
        damage,
        captured: Timestamp::ZERO,
    };
    let mut got = Converter::<I420>::new(size);
    got.convert(&padded).expect("fits");
    let mut want = Converter::<I420>::new(size);
    want.convert(&frame(&Arc::new(plain), damage))
        .expect("fits");
    assert!(first_difference(&got.current().luma, &want.current().luma).is_none());
    assert!(first_difference(&got.current().chroma[0], &want.current().chroma[0]).is_none());
}

fn first_difference(a: &[u8], b: &[u8]) -> Option<(usize, u8, u8)> {
    let at = a.iter().zip(b).position(|(a, b)| a != b)?;
    Some((at, a[at], b[at]))
}

proptest! {
    /// Converting only damage must give the picture that converting everything gives.
    #[test]
    fn damage_is_enough(changes in prop::collection::vec(change(), 1..8)) {
        let mut surface = MemorySurface::new(SIZE, PixelFormat::Bgrx);
        surface.fill_with(|x, y| [x as u8, y as u8, (x ^ y) as u8]);
        let mut partial = Converter::<Nv12>::new(SIZE);
        let first = Arc::new(surface.clone());
        partial.convert(&frame(&first, Rect::whole(SIZE))).expect("fits");
        for (rect, shade) in changes {
            let before = partial.current().clone();
            for y in rect.y..rect.y + rect.height {
                for x in rect.x..rect.x + rect.width {
                    let at = usize::from(y) * surface.stride() + usize::from(x) * 4;
                    surface.bytes_mut()[at] = shade;
                }
            }
            let shared = Arc::new(surface.clone());
            partial.convert(&frame(&shared, rect)).expect("fits");
            let mut whole = Converter::<Nv12>::new(SIZE);
            whole.convert(&frame(&shared, rect)).expect("fits");
            let difference = first_difference(&partial.current().luma, &whole.current().luma);
            prop_assert!(difference.is_none(), "current luma {difference:?}");
            let difference = first_difference(&partial.current().chroma, &whole.current().chroma);
            prop_assert!(difference.is_none(), "current chroma {difference:?}");
            let difference = first_difference(&partial.previous().luma, &before.luma);
            prop_assert!(difference.is_none(), "previous luma {difference:?}");
        }
    }

    /// A compositor may report damage anywhere; it is clipped, never trusted.
    #[test]
    fn damage_of_any_numbers_stays_inside(x: u16, y: u16, width: u16, height: u16) {
        let got = aligned(Rect { x, y, width, height }, SIZE);
        prop_assert!(Rect::whole(SIZE).contains(got));
        for edge in [got.x, got.y, got.width, got.height] {
            prop_assert!(edge.is_multiple_of(2));
        }
    }
}
