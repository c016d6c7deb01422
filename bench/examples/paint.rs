//! Writes pictures of the test card as PNG, without any compositor:
//! `paint CONTENT WIDTH HEIGHT NUMBER SCENE FILE`, and says how long painting takes.

use bench::picture::{Content, Look, Painter};
use gpu::frame::Size;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [content, width, height, number, scene, path] = arguments.as_slice() else {
        return Err("usage: paint CONTENT WIDTH HEIGHT NUMBER SCENE FILE".into());
    };
    let content: Content = content.parse()?;
    let size = Size {
        width: width.parse()?,
        height: height.parse()?,
    };
    let number: u32 = number.parse()?;
    let begin = net::clock::now();
    let mut painter = Painter::new(
        Look {
            content,
            scene: scene.parse()?,
        },
        size,
    );
    let ready = net::clock::now();
    let stride = usize::from(size.width) * 4;
    let mut bytes = vec![0; stride * usize::from(size.height)];
    painter.paint(&mut bytes, stride, number.saturating_sub(60), None);
    let warm = net::clock::now();
    for step in (0..60).rev() {
        let number = number.saturating_sub(step);
        painter.paint(&mut bytes, stride, number, Some(number.saturating_sub(1)));
        painter.stamp(&mut bytes, stride, number, warm);
    }
    let end = net::clock::now();
    println!(
        "textures {:?}, a picture {:?}",
        ready.since(begin),
        end.since(warm) / 60
    );

    let rgb: Vec<u8> = bytes
        .chunks_exact(4)
        .flat_map(|px| [px[2], px[1], px[0]])
        .collect();
    let file = std::fs::File::create(path)?;
    let mut encoder = png::Encoder::new(file, size.width.into(), size.height.into());
    encoder.set_color(png::ColorType::Rgb);
    encoder.write_header()?.write_image_data(&rgb)?;
    Ok(())
}
