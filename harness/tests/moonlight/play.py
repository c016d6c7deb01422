"""Plays as the stock client does: asks the host over HTTPS, then streams what it was granted.

    play.py HOME ADDRESS PORT OPTIONS

OPTIONS is a JSON object: do ("launch", "resume"), app, width, height, fps, kbps, packet_bytes,
slices, invalidation, frames (how many to take; then it leaves without a word to the application),
keep (a file for the newest of every 60th picture, 4:2:0), hold (a virtual key that it presses and
never lifts), type (a text that it types), point (where it moves the pointer: x, y, and what they are
of), media_address (where it finds everything but HTTP, if not at ADDRESS), say_mode (a resume names the mode over HTTP too), channels, heard (a WAVE file for what is
heard), heard_s (it leaves when it has heard so much of each of tones, the pitches in Hz of the first channels), slow_opus (it decodes slowly,
so it asks for longer packets), plain (it encrypts no media). Prints one JSON object a line.
"""

import json
import os
import re
import sys
import threading
import time
import wave

import av
import numpy
from moonlight_python import stream
from moonlight_python.config import StreamConfig
from moonlight_python.discovery import connect_to_server
from moonlight_python.http_client import NvHTTP
from moonlight_python.identity import Identity

stream.CDEF += """
int LiSendKeyboardEvent(short keyCode, char keyAction, char modifiers);
int LiSendUtf8TextEvent(const char *text, unsigned int length);
int LiSendMousePositionEvent(short x, short y, short referenceWidth, short referenceHeight);
"""
PULL_RENDERER, INVALIDATION_AVC = 0x20, 0x02
# A start code and the header of a slice (H.264, NAL unit types 1 and 5).
SLICE = re.compile(rb"\x00\x00\x01[\x01\x21\x41\x61\x05\x25\x45\x65]")
SLOW_OPUS_DECODER = 0x08
# By their number: which, as WAVEFORMATEXTENSIBLE numbers speakers.
SPEAKERS = {2: 0x3, 6: 0x3F, 8: 0x63F}
# In an OpusHead their channels come in this order (RFC 7845 section 5.1.1.2); libavcodec gives them
# out in ours.
OPUS_ORDER = {2: [0, 1], 6: [0, 2, 1, 4, 5, 3], 8: [0, 2, 1, 6, 7, 4, 5, 3]}
# Looked at together: 100 ms.
WINDOW = 4800


def say(**fields):
    print(json.dumps(fields), flush=True)


def clock_ms():
    return round(time.monotonic() * 1000, 2)


class Session(stream.StreamingSession):
    def __init__(self, capabilities, audio_capabilities):
        super().__init__()
        self.capabilities = capabilities
        self.audio_capabilities = audio_capabilities

    def _make_video_callbacks(self):
        callbacks = super()._make_video_callbacks()
        callbacks.capabilities = self.capabilities
        return callbacks

    def hold(self, key):
        self._lib.LiSendKeyboardEvent(key - 0x8000, b"\x03", b"\0")

    def type(self, text):
        text = text.encode()
        self._lib.LiSendUtf8TextEvent(text, len(text))

    def point(self, x, y, width, height):
        self._lib.LiSendMousePositionEvent(x, y, width, height)

    def _make_audio_callbacks(self, capture_audio=False):
        callbacks = super()._make_audio_callbacks(capture_audio)
        callbacks.capabilities = self.audio_capabilities
        return callbacks


class Listener(threading.Thread):
    """Decodes what is heard, with the layout that the client's library took from the host."""

    def __init__(self, session, path, until_s, tones):
        super().__init__(daemon=True)
        self.session, self.until = session, until_s * 10
        self.tones = numpy.exp(2j * numpy.pi * numpy.outer(numpy.arange(WINDOW), tones) / 48000)
        self.opus = session.wait_for_opus_config()
        say(opus=vars(self.opus))
        channels = self.opus.channel_count
        self.heard = numpy.empty((0, channels))
        # The reference decoder, as clients have it; its samples come interleaved, 16 bits.
        self.decoder = av.CodecContext.create("libopus", "r")
        # RFC 7845 section 5.1.
        head = b"OpusHead\x01" + bytes([channels, 0, 0]) + (48000).to_bytes(4, "little")
        mapping = bytes(self.opus.mapping[place] for place in OPUS_ORDER[channels])
        counts = bytes([self.opus.streams, self.opus.coupled_streams])
        self.decoder.extradata = head + b"\0\0\x01" + counts + mapping
        self.wave = wave.open(path, "wb")
        self.wave.setparams((channels, 2, 48000, 0, "NONE", ""))
        self.has_heard = threading.Event()
        self.tenths = numpy.zeros(len(tones), int)
        self.packets = self.lost = 0
        if until_s == 0:
            self.has_heard.set()

    def run(self):
        while self.session.is_connected:
            packet = self.session.pull_audio_packet(timeout=0.2)
            if packet is not None:
                self.take(packet.opus_data)

    def take(self, data):
        self.packets += 1
        if not data:
            self.lost += 1
            shape = self.opus.samples_per_frame, self.opus.channel_count
            return self.keep(numpy.zeros(shape, numpy.int16))
        for frame in self.decoder.decode(av.Packet(data)):
            self.keep(frame.to_ndarray().reshape(-1, self.opus.channel_count))

    def keep(self, samples):
        self.wave.writeframes(samples.tobytes())
        self.heard = numpy.concatenate((self.heard, samples / 32768))
        if len(self.heard) >= WINDOW:
            self.look(self.heard[:WINDOW, :len(self.tenths)])
            self.heard = self.heard[WINDOW:]

    def look(self, samples):
        """The test has the last word; this says when it is time to leave."""
        power = (samples**2).sum(axis=0) * WINDOW / 2
        self.tenths += (power > 1) & (abs((samples * self.tones).sum(axis=0)) ** 2 > 0.9 * power)
        if self.tenths.min() >= self.until and not self.has_heard.is_set():
            self.has_heard.set()
            # A picture that stands still brings no frame.
            self.session.wake()

    def finish(self):
        self.join()
        self.wave.close()
        say(tenths=self.tenths.tolist(), packets=self.packets, lost=self.lost)


def wake_at_the_end(session):
    session._connection_terminated.wait()
    session.wake()


def grant(http, session, options, key, iv):
    query = session.get_launch_query_params()
    channels = options.get("channels", 2)
    speakers = SPEAKERS[channels] << 16 | channels
    if options["do"] == "resume":
        if options.get("say_mode"):
            query += "&mode={width}x{height}x{fps}".format(**options)
        return http.resume_app(key, iv, speakers, launch_query_params=query)
    return http.launch_app(
        options.get("app", 1),
        options["width"],
        options["height"],
        options["fps"],
        options["kbps"],
        1,
        key,
        iv,
        speakers,
        launch_query_params=query,
    )


def keep(picture, path):
    """The planes one after the other, rows without padding."""
    with open(path + ".new", "wb") as file:
        for plane in picture.planes:
            rows = bytes(plane)
            for row in range(plane.height):
                start = row * plane.line_size
                file.write(rows[start : start + plane.width])
    os.replace(path + ".new", path)


def main():
    home, address, port, options = sys.argv[1:]
    port, options = int(port), json.loads(options)
    identity = Identity(home)
    info = connect_to_server(address, identity, port)
    http = NvHTTP(address, identity, http_port=port, https_port=info.https_port)
    capabilities = PULL_RENDERER | options.get("slices", 4) << 24
    if options.get("invalidation", True):
        capabilities |= INVALIDATION_AVC
    if options.get("plain"):
        stream.ENCFLG_ALL = 0
    session = Session(capabilities, SLOW_OPUS_DECODER if options.get("slow_opus") else 0)
    key, iv = os.urandom(16), os.urandom(4) + bytes(12)
    began = clock_ms()
    url = grant(http, session, options, key, iv)
    say(granted=round(clock_ms() - began, 2), url=url)
    channels = options.get("channels", 2)
    config = StreamConfig(
        width=options["width"],
        height=options["height"],
        fps=options["fps"],
        bitrate_kbps=options["kbps"],
        packet_size=options.get("packet_bytes", 1392),
        streaming_remotely=options.get("remote", 0),
        audio_configuration=SPEAKERS[channels] << 16 | channels << 8 | 0xCA,
    )
    hears = "heard" in options
    session.start(
        options.get("media_address", address),
        "7.1.431.-1",
        "3.23.0.74",
        1,
        url,
        config,
        key,
        iv,
        capture_audio=hears,
    )
    say(connected=round(clock_ms() - began, 2))
    if options.get("hold"):
        session.hold(options["hold"])
    if options.get("type"):
        session.type(options["type"])
    if options.get("point"):
        session.point(*options["point"])
    listener = None
    if hears:
        until_s, tones = options.get("heard_s", 0), options.get("tones", [0])
        listener = Listener(session, options["heard"], until_s, tones)
        listener.start()
    # The library does not wake who waits for a picture when the host ends the session.
    threading.Thread(target=wake_at_the_end, args=(session,), daemon=True).start()
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoder.flags |= av.codec.context.Flags.low_delay
    frames = decoded = 0
    while frames < options["frames"] or listener and not listener.has_heard.is_set():
        raw = session.pull_frame()
        if raw is None:
            break
        at = clock_ms()
        frames += 1
        try:
            pictures = decoder.decode(av.Packet(raw.annex_b_data))
        except av.error.InvalidDataError:
            pictures = []
        decoded += len(pictures)
        for picture in pictures:
            if options.get("keep") and decoded % 60 == 0:
                keep(picture, options["keep"])
                say(kept=[picture.width, picture.height])
        say(
            frame=raw.frame_number,
            kind=raw.frame_type,
            latency_tenths_ms=raw.host_processing_latency_us,
            bytes=len(raw.annex_b_data),
            pictures=len(pictures),
            slices=len(SLICE.findall(raw.annex_b_data)),
            size=[pictures[0].width, pictures[0].height] if pictures else None,
            at=round(at - began, 2),
        )
    say(over=session.termination_error if session.is_terminated else None)
    session.stop()
    if listener:
        listener.finish()


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        say(error=type(error).__name__, message=str(error))
        sys.exit(1)
