//! Capture of a video node, with a PipeWire and a producer of the tests' own.

mod common;

use std::sync::Arc;

use common::media_server::{MediaServer, Producer};
use common::painter::colour;
use common::{PATIENCE, next_frame};
use gpu::frame::{Frame, Rect, Size};
use platform::capture::pipewire::{NodeName, NodeStream, PipeWireBackend, VideoNode};
use platform::capture::{Capture, CaptureBackend, CaptureError, Captured};
use platform::display::Cancel;

fn node(server: &MediaServer, id: u32) -> VideoNode {
    VideoNode {
        remote: Some(Arc::new(server.connect())),
        ..VideoNode::new(NodeName::Id(id))
    }
}

/// On a machine under load the session manager may take longer than a session would wait.
fn open(server: &MediaServer, id: u32) -> Box<dyn Capture> {
    for _ in 0..10 {
        match PipeWireBackend.open(&node(server, id).into()) {
            Ok(capture) => return capture,
            Err(error) => eprintln!("{error}"),
        }
    }
    panic!("the node was never linked");
}

fn open_stream(server: &MediaServer, id: u32) -> NodeStream {
    for _ in 0..10 {
        match NodeStream::open(&node(server, id)) {
            Ok(stream) => return stream,
            Err(error) => eprintln!("{error}"),
        }
    }
    panic!("the node was never linked");
}

/// The one colour of a picture.
fn pixel(frame: &Frame) -> u32 {
    let pixels = frame.surface.map().expect("shared memory can be read");
    let Size { width, height } = frame.surface.size();
    let first = &pixels.bytes[..4];
    for row in pixels.bytes.chunks(pixels.stride).take(height.into()) {
        let row = &row[..usize::from(width) * 4];
        assert!(row.chunks(4).all(|pixel| pixel == first), "one colour");
    }
    u32::from_le_bytes(first.try_into().expect("four"))
}

fn ended(capture: &mut dyn Capture) -> String {
    loop {
        match capture.next(PATIENCE) {
            Ok(Captured::Frame(_)) => {}
            Ok(_) => panic!("a dead node was taken for a still one"),
            Err(error @ CaptureError::Ended { .. }) => return error.to_string(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn pictures_arrive_whole_in_order_and_stay_while_they_are_held() {
    let server = MediaServer::start();
    let kinds: [fn(&MediaServer, u16, u16) -> Producer; 2] =
        [Producer::start, Producer::start_without_memory];
    for start in kinds {
        watch(&server, &start(&server, 320, 240));
    }
}

fn watch(server: &MediaServer, producer: &Producer) {
    let mut capture = open(server, producer.id());
    let mut number = 0;
    let mut held = Vec::new();
    for _ in 0..40 {
        let frame = next_frame(&mut *capture);
        assert_eq!(frame.damage, Rect::whole(frame.surface.size()));
        let seen = pixel(&frame);
        number = (number..producer.drawn())
            .find(|number| colour(*number) == seen)
            .expect("a picture of the producer's, newer than the last");
        number += 1;
        held.push((frame, seen));
        if held.len() > 2 {
            held.remove(0);
        }
        for (frame, seen) in &held {
            assert_eq!(pixel(frame), *seen, "a held picture is nobody else's");
        }
    }
}

#[test]
fn a_new_size_ends_the_capture_and_the_next_one_has_it() {
    let server = MediaServer::start();
    let producer = Producer::start(&server, 320, 240);
    let stream = open_stream(&server, producer.id());
    let mut address = node(&server, producer.id());
    address.stream = Some(stream.clone());
    let address = address.into();
    let mut capture = PipeWireBackend.open(&address).expect("the stream stands");
    let old = next_frame(&mut *capture);
    let seen = pixel(&old);
    producer.resize(640, 480);
    let reason = ended(&mut *capture);
    assert!(reason.contains("from 320x240 to 640x480"), "{reason}");
    let size = Size {
        width: 640,
        height: 480,
    };
    stream
        .await_picture(size, PATIENCE, &Cancel::default())
        .expect("pictures go on");
    let mut capture = PipeWireBackend.open(&address).expect("the stream stands");
    let frame = next_frame(&mut *capture);
    assert_eq!(frame.surface.size(), size);
    pixel(&frame);
    assert_eq!(pixel(&old), seen, "its buffer is gone, its pixels are not");
}

#[test]
fn a_kept_stream_shows_each_reader_the_newest_picture_at_once() {
    let server = MediaServer::start();
    let producer = Producer::start(&server, 320, 240);
    let mut address = node(&server, producer.id());
    address.stream = Some(open_stream(&server, producer.id()));
    let address = address.into();
    let mut first = PipeWireBackend.open(&address).expect("the stream stands");
    next_frame(&mut *first);
    let mut second = PipeWireBackend.open(&address).expect("the stream stands");
    next_frame(&mut *second);
    assert!(ended(&mut *first).contains("another capture"));
    next_frame(&mut *second);
}

#[test]
fn the_waker_interrupts_a_wait() {
    let server = MediaServer::start();
    let producer = Producer::start(&server, 320, 240);
    let mut capture = open(&server, producer.id());
    capture.waker().wake();
    assert!(matches!(capture.next(PATIENCE), Ok(Captured::Woken)));
    next_frame(&mut *capture);
}

#[test]
fn the_end_of_the_node_is_the_end_of_the_capture() {
    let server = MediaServer::start();
    let producer = Producer::start(&server, 320, 240);
    let mut capture = open(&server, producer.id());
    next_frame(&mut *capture);
    drop(producer);
    let reason = ended(&mut *capture);
    eprintln!("{reason}");
}

#[test]
fn the_end_of_the_daemon_is_the_end_of_the_capture() {
    let mut server = MediaServer::start();
    let producer = Producer::start(&server, 320, 240);
    let mut capture = open(&server, producer.id());
    let frame = next_frame(&mut *capture);
    let seen = pixel(&frame);
    server.kill();
    let reason = ended(&mut *capture);
    assert!(reason.contains("PipeWire is gone"), "{reason}");
    assert_eq!(pixel(&frame), seen, "a frame outlives its stream");
}

#[test]
fn a_node_that_does_not_stream_is_given_up_with_its_reason() {
    let server = MediaServer::start_unmanaged();
    let missing = PipeWireBackend.open(&node(&server, 9999).into());
    let reason = missing.err().expect("there is none").to_string();
    assert!(reason.contains("no video node Id(9999)"), "{reason}");
    let producer = Producer::start(&server, 320, 240);
    let unlinked = PipeWireBackend.open(&node(&server, producer.id()).into());
    let reason = unlinked.err().expect("nobody links it").to_string();
    assert!(reason.contains("wireplumber"), "{reason}");
}
