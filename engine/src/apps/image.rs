//! A picture for an application that has none: a slope of one colour, another for each number.

use net::gamestream::nvhttp::AppId;

/// Box art as clients show it: 3 to 4.
const WIDTH_PX: u32 = 300;
const HEIGHT_PX: u32 = 400;
/// As many as a palette of 8 bits has.
const SHADES: u32 = 256;

/// A PNG of 300x400 pixels.
pub(super) fn default_image(id: AppId) -> Vec<u8> {
    let mut png = Vec::new();
    let mut encoder = png::Encoder::new(&mut png, WIDTH_PX, HEIGHT_PX);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(palette(id));
    let rows = (0..HEIGHT_PX).map(|y| y * SHADES / HEIGHT_PX);
    let pixels: Vec<u8> = rows
        .flat_map(|shade| std::iter::repeat_n(shade as u8, WIDTH_PX as usize))
        .collect();
    encoder
        .write_header()
        .and_then(|mut writer| writer.write_image_data(&pixels))
        .expect("memory takes everything, and the size is right");
    png
}

fn palette(id: AppId) -> Vec<u8> {
    // Steps of the golden angle: neighbours differ most.
    let hue = (id.get().wrapping_mul(137) % 360) as f32 / 60.0;
    let channel = |offset: f32| {
        let at = (hue + offset) % 6.0;
        (2.0 - (at - 3.0).abs()).clamp(0.0, 1.0)
    };
    let colour = [channel(3.0), channel(1.0), channel(5.0)];
    let shade = |n: u32| {
        let light = 0.15 + 0.65 * n as f32 / SHADES as f32;
        colour.map(|c| (255.0 * light * (0.35 + 0.65 * c)) as u8)
    };
    (0..SHADES).flat_map(shade).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_decode_and_differ() {
        let one = default_image(AppId::new(1).expect("valid"));
        let two = default_image(AppId::new(2).expect("valid"));
        assert_ne!(one, two);
        let mut reader = png::Decoder::new(std::io::Cursor::new(one))
            .read_info()
            .expect("a PNG");
        let mut pixels = vec![0; reader.output_buffer_size().expect("its size is known")];
        let info = reader.next_frame(&mut pixels).expect("whole");
        assert_eq!((info.width, info.height), (WIDTH_PX, HEIGHT_PX));
    }
}
