"""Plays as the stock client does: asks the host over HTTPS, then streams what it was granted.

    play.py HOME ADDRESS PORT OPTIONS

OPTIONS is a JSON object: do ("launch", "resume"), app, width, height, fps, kbps, packet_bytes,
slices, invalidation, frames (how many to take; then it leaves without a word to the application),
keep (a file for the newest of every 60th picture, 4:2:0), hold (a virtual key that it presses and
never lifts), say_mode (a resume names the mode over HTTP too). Prints one JSON object a line.
"""

import json
import os
import re
import sys
import threading
import time

import av
from moonlight_python import stream
from moonlight_python.config import StreamConfig
from moonlight_python.discovery import connect_to_server
from moonlight_python.http_client import NvHTTP
from moonlight_python.identity import Identity

stream.CDEF += "int LiSendKeyboardEvent(short keyCode, char keyAction, char modifiers);"
PULL_RENDERER, INVALIDATION_AVC = 0x20, 0x02
STEREO = 196610
# A start code and the header of a slice (H.264, NAL unit types 1 and 5).
SLICE = re.compile(rb"\x00\x00\x01[\x01\x21\x41\x61\x05\x25\x45\x65]")


def say(**fields):
    print(json.dumps(fields), flush=True)


def clock_ms():
    return round(time.monotonic() * 1000, 2)


class Session(stream.StreamingSession):
    def __init__(self, capabilities):
        super().__init__()
        self.capabilities = capabilities

    def _make_video_callbacks(self):
        callbacks = super()._make_video_callbacks()
        callbacks.capabilities = self.capabilities
        return callbacks

    def hold(self, key):
        self._lib.LiSendKeyboardEvent(key - 0x8000, b"\x03", b"\0")


def wake_at_the_end(session):
    session._connection_terminated.wait()
    session.wake()


def grant(http, session, options, key, iv):
    query = session.get_launch_query_params()
    if options["do"] == "resume":
        if options.get("say_mode"):
            query += "&mode={width}x{height}x{fps}".format(**options)
        return http.resume_app(key, iv, STEREO, launch_query_params=query)
    return http.launch_app(
        options.get("app", 1),
        options["width"],
        options["height"],
        options["fps"],
        options["kbps"],
        1,
        key,
        iv,
        STEREO,
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
    session = Session(capabilities)
    key, iv = os.urandom(16), os.urandom(4) + bytes(12)
    began = clock_ms()
    url = grant(http, session, options, key, iv)
    say(granted=round(clock_ms() - began, 2), url=url)
    config = StreamConfig(
        width=options["width"],
        height=options["height"],
        fps=options["fps"],
        bitrate_kbps=options["kbps"],
        packet_size=options.get("packet_bytes", 1392),
        streaming_remotely=options.get("remote", 0),
        audio_configuration=(3 << 16) | (2 << 8) | 0xCA,
    )
    session.start(
        address, "7.1.431.-1", "3.23.0.74", 1, url, config, key, iv, capture_audio=False
    )
    say(connected=round(clock_ms() - began, 2))
    if options.get("hold"):
        session.hold(options["hold"])
    # The library does not wake who waits for a picture when the host ends the session.
    threading.Thread(target=wake_at_the_end, args=(session,), daemon=True).start()
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    decoder.flags |= av.codec.context.Flags.low_delay
    frames = decoded = 0
    while frames < options["frames"]:
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


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        say(error=type(error).__name__, message=str(error))
        sys.exit(1)
