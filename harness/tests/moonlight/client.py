"""A stock GameStream client as a process: streams, and prints what it got, a JSON object a line.

Usage: client.py OPTIONS, a JSON object: url, width, height, fps, kbps, packet_bytes, remote,
surround, key, iv (hexadecimal), frames. Needs moonlight-python from PyPI, whose library is the
client's own C code.
"""

import json
import sys
import threading
import zlib

import av
from moonlight_python import stream
from moonlight_python.config import StreamConfig

PULL_RENDERER, INVALIDATION_AVC, SLICES = 0x20, 0x02, 4
EXTRA = """
int LiSendKeyboardEvent(short keyCode, char keyAction, char modifiers);
int LiSendUtf8TextEvent(const char *text, unsigned int length);
int LiSendMousePositionEvent(short x, short y, short referenceWidth, short referenceHeight);
int LiSendMouseButtonEvent(char action, int button);
int LiSendHighResScrollEvent(short scrollAmount);
int LiSendMultiControllerEvent(short controllerNumber, short activeGamepadMask, int buttonFlags,
    unsigned char leftTrigger, unsigned char rightTrigger, short leftStickX, short leftStickY,
    short rightStickX, short rightStickY);
int LiSendTouchEvent(uint8_t eventType, uint32_t pointerId, float x, float y,
    float pressureOrDistance, float contactAreaMajor, float contactAreaMinor, uint16_t rotation);
"""
stream.CDEF += EXTRA
LOCK = threading.Lock()


def say(**what):
    with LOCK:
        print(json.dumps(what), flush=True)


def sum_of(data):
    """Zeros are left out: the client may add and drop some between NAL units."""
    return zlib.crc32(data.replace(b"\0", b""))


class Session(stream.StreamingSession):
    def _make_video_callbacks(self):
        callbacks = super()._make_video_callbacks()
        callbacks.capabilities = PULL_RENDERER | INVALIDATION_AVC | SLICES << 24
        return callbacks

    def _make_connection_callbacks(self):
        callbacks = super()._make_connection_callbacks()

        @self._ffi.callback("void(unsigned short, unsigned short, unsigned short)")
        def rumble(controller, low, high):
            say(rumble=[controller, low, high])

        @self._ffi.callback("void(uint16_t, uint8_t, uint8_t, uint8_t)")
        def led(controller, r, g, b):
            say(led=[controller, r, g, b])

        self._callbacks.extend([rumble, led])
        callbacks.rumble = rumble
        callbacks.setControllerLED = led
        return callbacks

    def play(self):
        """Input of every kind that needs no state."""
        lib = self._lib
        lib.LiSendKeyboardEvent(0x41 - 0x8000, b"\x03", b"\x01")
        lib.LiSendKeyboardEvent(0x41 - 0x8000, b"\x04", b"\0")
        text = "grüß".encode()
        lib.LiSendUtf8TextEvent(text, len(text))
        lib.LiSendMousePositionEvent(320, 90, 641, 361)
        lib.LiSendMouseButtonEvent(b"\x07", 1)
        lib.LiSendMouseMoveEvent(5, -3)
        lib.LiSendHighResScrollEvent(-120)
        lib.LiSendMultiControllerEvent(2, 4, 0x1001, 9, 255, 1000, -1000, 0, 32767)
        lib.LiSendTouchEvent(1, 7, 0.25, 0.5, 1.0, 0.0, 0.0, 90)


def hear(session):
    while session.is_connected:
        packet = session.pull_audio_packet(timeout=0.2)
        if packet is not None:
            say(audio=packet.frame_index, sum=sum_of(packet.opus_data), bytes=len(packet.opus_data))


def wake(session):
    """The library does not end the wait for a frame when the host ends the session."""
    session._connection_terminated.wait()
    session.wake()


def main():
    options = json.loads(sys.argv[1])
    channels = (0x3F << 16) | (6 << 8) | 0xCA if options["surround"] else (3 << 16) | (2 << 8) | 0xCA
    config = StreamConfig(
        width=options["width"],
        height=options["height"],
        fps=options["fps"],
        bitrate_kbps=options["kbps"],
        packet_size=options["packet_bytes"],
        streaming_remotely=int(options["remote"]),
        audio_configuration=channels,
    )
    session = Session()
    session.start(
        "127.0.0.1",
        "7.1.431.-1",
        "3.23.0.74",
        1,
        options["url"],
        config,
        bytes.fromhex(options["key"]),
        bytes.fromhex(options["iv"]),
        capture_audio=True,
    )
    say(opus=vars(session.wait_for_opus_config()))
    threading.Thread(target=hear, args=(session,), daemon=True).start()
    threading.Thread(target=wake, args=(session,), daemon=True).start()
    decoder = av.CodecContext.create("h264", "r")
    decoder.thread_count = 1
    frames = 0
    while frames < options["frames"]:
        raw = session.pull_frame()
        if raw is None:
            break
        frames += 1
        try:
            pictures = [[p.width, p.height] for p in decoder.decode(av.Packet(raw.annex_b_data))]
        except av.error.InvalidDataError:
            pictures = []
        say(
            frame=raw.frame_number,
            kind=raw.frame_type,
            sum=sum_of(raw.annex_b_data),
            latency=raw.host_processing_latency_us,
            pictures=len(pictures),
        )
        if frames == 5:
            session.play()
    say(terminated=session.termination_error if session.is_terminated else None)
    session.stop()


if __name__ == "__main__":
    try:
        main()
    except Exception as error:
        say(error=f"{type(error).__name__}: {error}")
        sys.exit(1)
