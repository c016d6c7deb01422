"""Streams as play.py does, for figures: takes note of each frame, and says so at the end.

    watch.py HOME ADDRESS PORT OPTIONS

OPTIONS is a JSON object: app, width, height, fps, kbps, slices, seconds (from the first frame on),
quit (ends the application too), sessions (so many in a row, each of so many seconds; only the first
launch's times are told). It prints one JSON object a session:

    granted_ms    /launch was asked for → its answer
    first_ms      /launch was asked for → the first frame is whole (the library's own stamp)
    decoder_fell_behind   frames that waited for the decoder when the library had room for no more
    over          the library's code if the host ended it, else null
    frames        for each that the library gave out: number, is it an IDR, the host's latency as the
                  header has it (0.1 ms), first packet received and frame whole (ms, CLOCK_MONOTONIC),
                  bytes, pictures that libavcodec made of it

The receive thread is the library's, in C; its stamps are what times are taken from. Another thread
empties the library's queue, and a third decodes, so that a slow decoder delays no stamp and loses no
frame.
"""

import json
import os
import queue
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import av
from moonlight_python.config import StreamConfig
from moonlight_python.discovery import connect_to_server
from moonlight_python.http_client import NvHTTP
from moonlight_python.identity import Identity
from play import INVALIDATION_AVC, PULL_RENDERER, SPEAKERS, Session, grant, say, wake_at_the_end

# Frames for the decoder: 10 s.
BACKLOG = 600


def now_ms():
    return time.monotonic() * 1000


class Decoder(threading.Thread):
    def __init__(self):
        super().__init__(daemon=True)
        self.frames = queue.Queue(BACKLOG)
        self.pictures = {}
        self.context = av.CodecContext.create("h264", "r")
        self.context.thread_count = 1
        # As moonlight-qt has it: at once, and whatever can be shown.
        flags, flags2 = av.codec.context.Flags, av.codec.context.Flags2
        self.context.flags |= flags.low_delay | flags.output_corrupt
        self.context.flags2 |= flags2.show_all

    def run(self):
        while (frame := self.frames.get()) is not None:
            number, data = frame
            try:
                self.pictures[number] = len(self.context.decode(av.Packet(data)))
            except av.error.InvalidDataError:
                self.pictures[number] = 0


def connect(http, options):
    capabilities = PULL_RENDERER | INVALIDATION_AVC | options.get("slices", 4) << 24
    session = Session(capabilities, 0)
    key, iv = os.urandom(16), os.urandom(4) + bytes(12)
    began = now_ms()
    url = grant(http, session, {**options, "do": "launch"}, key, iv)
    granted = now_ms()
    config = StreamConfig(
        width=options["width"],
        height=options["height"],
        fps=options["fps"],
        bitrate_kbps=options["kbps"],
        packet_size=1392,
        streaming_remotely=0,
        audio_configuration=SPEAKERS[2] << 16 | 2 << 8 | 0xCA,
    )
    session.start(http.address, "7.1.431.-1", "3.23.0.74", 1, url, config, key, iv)
    threading.Thread(target=wake_at_the_end, args=(session,), daemon=True).start()
    return session, began, granted


def wake_after(session, seconds):
    """A wait for a frame that never comes ends, too."""
    timer = threading.Timer(seconds, session.wake)
    timer.daemon = True
    timer.start()
    return timer


def watch(http, options):
    session, began, granted = connect(http, options)
    decoder = Decoder()
    decoder.start()
    frames, behind, end, least = [], 0, None, None
    # Without a first frame at all: it gives up.
    patience = wake_after(session, 20)
    while end is None or now_ms() < end:
        raw = session.pull_frame()
        at = now_ms()
        if raw is None:
            break
        if end is None:
            patience.cancel()
            end = at + options["seconds"] * 1000
            wake_after(session, options["seconds"] + 1)
        # The library's clock has an origin of its own: the shortest way from it to here counts none.
        offset = at - raw.enqueue_time_us / 1000
        least = offset if least is None else min(least, offset)
        frames.append((raw.frame_number, raw, len(raw.annex_b_data)))
        try:
            decoder.frames.put_nowait((raw.frame_number, raw.annex_b_data))
        except queue.Full:
            behind += 1
        raw.annex_b_data = b""
    over = session.termination_error if session.is_terminated else None
    session.stop()
    decoder.frames.put(None)
    decoder.join()
    if options.get("quit"):
        http.quit_app()
    lines = [
        [
            number,
            int(raw.frame_type == 1),
            raw.host_processing_latency_us,
            round(raw.receive_time_us / 1000 + least, 3),
            round(raw.enqueue_time_us / 1000 + least, 3),
            size,
            decoder.pictures.get(number, 0),
        ]
        for number, raw, size in frames
    ]
    return {
        "granted_ms": round(granted - began, 2),
        "first_ms": round(lines[0][4] - began, 2) if lines else None,
        "decoder_fell_behind": behind,
        "over": over,
        "frames": lines,
    }


def main():
    home, address, port, options = sys.argv[1:]
    port, options = int(port), json.loads(options)
    identity = Identity(home)
    info = connect_to_server(address, identity, port)
    http = NvHTTP(address, identity, http_port=port, https_port=info.https_port)
    http.address = address
    for _ in range(options.get("sessions", 1)):
        say(**watch(http, options))


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        say(error=type(error).__name__, message=str(error))
        sys.exit(1)
