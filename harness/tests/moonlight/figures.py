"""Figures of scripts/lab/stock-client: reads what watch.py and the host have written.

    figures.py ROW DIRECTORY [KEY=VALUE...]

Prints the row's bound and what was seen, and fails if it was missed.
"""

import json
import random
import re
import sys
from pathlib import Path

# As watch.py tells frames.
NUMBER, IDR, LATENCY, FIRST_PACKET, WHOLE, BYTES, PICTURES = range(7)
# Of a packet of 1392 bytes, without the second header.
PAYLOAD_BYTES = 1376
ENDED = re.compile(
    r"has ended: (\d+) frames, (\d+) IDR, .* first byte p50 ([\d.]+) p99 ([\d.]+) ms, "
    r"to last p50 ([\d.]+) p99 ([\d.]+) ms, (?:judder [\d.]+ ms, )?(\d+) datagrams, (\d+) of parity"
)


class Host:
    """What a session came to."""

    def __init__(self, path):
        text = path.read_text(errors="replace")
        ends = ENDED.findall(text)
        if not ends:
            sys.exit(f"the host told no session's figures: {text[-400:]}")
        frames, idrs, first, _, last, last_p99, datagrams, parity = ends[-1]
        self.frames, self.idrs = int(frames), int(idrs)
        self.first, self.last, self.last_p99 = float(first), float(last), float(last_p99)
        self.datagrams, self.parity = int(datagrams), int(parity)
        # One line a second.
        self.parities = [
            (int(m), int(k)) for m, k in re.findall(r"parity (\d+) of (\d+)", text)
        ]

    def parity_text(self):
        data = self.datagrams - self.parity
        lately = self.parities[-2] if len(self.parities) > 1 else (0, 0)
        return (
            f"parity {100 * self.parity / max(data, 1):.0f} % of the data, "
            f"{lately[0]} for {lately[1]} at the end"
        )


class Seen:
    """One session at the client."""

    def __init__(self, session):
        self.session, self.frames = session, session["frames"]
        if not self.frames:
            sys.exit("the client got no frame")
        self.began = self.frames[0][WHOLE]

    def moves(self):
        """Since when the application draws: from this frame on ten come in less than a quarter of a
        second. Before it there is the empty desktop, which does not move."""
        times = [it[WHOLE] for it in self.frames]
        moving = (a for a, b in zip(times, times[10:]) if b - a < 250)
        return next(moving, self.began)

    def between(self, begin, end):
        return [it for it in self.frames if begin <= it[WHOLE] < end]

    def gaps(self, begin, end):
        """Frames whose number never came, of those whose successor came in this time."""
        pairs = zip(self.frames, self.frames[1:])
        return sum(b[NUMBER] - a[NUMBER] - 1 for a, b in pairs if begin <= b[WHOLE] < end)

    def freeze(self, begin, end, is_shown):
        """Longest time without a frame that is shown."""
        times = [it[WHOLE] for it in self.frames if is_shown(it) and begin <= it[WHOLE] < end]
        times = [begin, *times, end]
        return max(b - a for a, b in zip(times, times[1:]))


def quantile(values, share):
    values = sorted(values)
    return values[min(int(len(values) * share), len(values) - 1)]


def sessions(path):
    return [Seen(json.loads(line)) for line in path.read_text().splitlines()]


def answer(name, bound, seen, is_held):
    print(f"{'ok    ' if is_held else 'MISSED'}  {name:14} {bound:44} {seen}", flush=True)
    return is_held


def frames(work, _):
    [seen] = sessions(work / "plain.seen")
    begin = seen.moves()
    decoded = sum(it[PICTURES] for it in seen.between(begin, begin + 15000))
    missing = seen.gaps(seen.began, begin + 15000)
    share = 100 * decoded / (60 * 15)
    text = (
        f"{share:.2f} % ({decoded / 15:.2f} fps), {missing} missing; the application drew "
        f"{begin - seen.began:.0f} ms after the first frame"
    )
    behind = seen.session["decoder_fell_behind"]
    if behind:
        text += f"; the client's decoder fell behind by {behind}"
    return answer("frames", ">= 99.5 % of 60 fps decoded, none missing", text,
                  share >= 99.5 and missing == 0)


def latency(work, _):
    host = Host(work / "plain.log")
    [seen] = sessions(work / "plain.seen")
    header = [it[LATENCY] / 10 for it in seen.frames]
    text = (
        f"p50 {host.last:.2f}, p99 {host.last_p99:.2f} ms of {host.frames}; the header said "
        f"p50 {quantile(header, 0.5):.1f}, p99 {quantile(header, 0.99):.1f}"
    )
    return answer("latency", "<= 4 / 10 ms to the last packet", text,
                  host.last <= 4 and host.last_p99 <= 10)


def arrival(work, _):
    [seen] = sessions(work / "plain.seen")
    gaps = [b[WHOLE] - a[WHOLE] for a, b in zip(seen.frames, seen.frames[1:])]
    p95 = quantile(gaps, 0.95)
    text = f"p50 {quantile(gaps, 0.5):.2f}, p95 {p95:.2f}, p99 {quantile(gaps, 0.99):.2f} ms"
    return answer("arrival", "p95 <= 18 ms between whole frames", text, p95 <= 18)


def cpu(_, values):
    took = int(values["ms"])
    own, below = (100 * int(values[it]) / took for it in ("own", "below"))
    text = f"{own:.1f} % of a core; compositor and test card {below:.1f} % beside it"
    bound = f"<= 45 % at {values['preset']}"
    return answer("cpu", bound, text, own <= 45)


def lost_of_7200(host, blocks, seed):
    """Frames lost by bursts of 3 at 1 %, each frame the mean in packets."""
    data = round((host.datagrams - host.parity) / host.frames)
    parity = max(round(host.parity / host.frames), blocks)
    sizes = [
        (data * (b + 1) // blocks - data * b // blocks,
         parity * (b + 1) // blocks - parity * b // blocks)
        for b in range(blocks)
    ]
    chance, burst, lost = random.Random(seed), 0, 0
    for _ in range(7200):
        is_lost = False
        for size, spare in sizes:
            missing = 0
            for _ in range(size + spare):
                if burst == 0 and chance.random() < 0.01 / 3:
                    burst = 3
                if burst:
                    burst -= 1
                    missing += 1
            is_lost |= missing > spare
        lost += is_lost
    return lost, data, parity


def first_packet(work, values):
    hosts = {it: Host(work / f"{it}.log") for it in ("whole", "four", "default")}
    whole = hosts["whole"].first
    seed = int(values["seed"])
    is_held = True
    for name, blocks in ("four", 4), ("default", 2):
        host = hosts[name]
        ratio = host.first / whole
        lost, data, parity = lost_of_7200(host, blocks, seed)
        single, *_ = lost_of_7200(host, 1, seed)
        text = (
            f"{ratio:.2f} ({host.first:.2f} over {whole:.2f} ms); frames of {data} + {parity} packets: "
            f"{lost} lost of 7200, {single} in one block (seed {seed})"
        )
        bound = "<= 0.40 with 4 blocks" if name == "four" else "shown: as the host chooses, 2 blocks"
        is_ok = name != "four" or ratio <= 0.40
        is_held &= answer("first-packet", bound, text, is_ok)
    return is_held


def losses(work):
    """When they began (ms), and how many."""
    text = (work / "bridge").read_text()
    begins = float(re.search(r"begins ([\d.]+)", text)[1])
    came, lost = map(int, re.search(r"came (\d+) lost (\d+)", text).groups())
    return begins, f"{lost} of {came} datagrams lost"


def random_2(work, values):
    [seen] = sessions(work / "seen")
    host = Host(work / "host.log")
    _, text = losses(work)
    missing = seen.gaps(seen.began, float("inf"))
    idrs = host.idrs - 1
    text = f"{missing} missing, {idrs} IDR, {text}, {host.parity_text()} (seed {values['seed']})"
    return answer("random-2", "none missing in 60 s, or no IDR", text, missing == 0 or idrs == 0)


def random_5(work, values):
    [seen] = sessions(work / "seen")
    host = Host(work / "host.log")
    begins, text = losses(work)
    window = (begins + 2000, begins + 10000)
    missing = seen.gaps(*window)
    idrs = sum(it[IDR] for it in seen.between(*window))
    text = (
        f"{missing} missing, {idrs} IDR ({seen.gaps(begins, window[0])} and {host.idrs - 1 - idrs} "
        f"outside), {text}, {host.parity_text()} (seed {values['seed']})"
    )
    return answer("random-5", "<= 2 missing and no IDR in 8 s", text, missing <= 2 and idrs == 0)


def bursts(work, values):
    [seen] = sessions(work / "seen")
    host = Host(work / "host.log")
    begins, text = losses(work)
    window = (begins, begins + 60000)
    freeze = seen.freeze(*window, lambda it: it[PICTURES] > 0)
    whole = seen.freeze(*window, lambda it: True)
    text = (
        f"{freeze:.0f} ms ({whole:.0f} between whole frames), {seen.gaps(*window)} missing, "
        f"{host.idrs - 1} IDR, {text}, {host.parity_text()} (seed {values['seed']})"
    )
    return answer("bursts", "no freeze over 100 ms", text, freeze <= 100)


def narrow(work, _):
    [seen] = sessions(work / "seen")
    host = Host(work / "host.log")
    counts = []
    for second in range(15):
        begin = seen.began + 1000 * second
        counts.append(sum(it[PICTURES] > 0 for it in seen.between(begin, begin + 1000)))
    least = min(counts[1:])
    text = (
        f"{least} ({' '.join(map(str, counts))}), {seen.gaps(seen.began, float('inf'))} missing, "
        f"{host.idrs - 1} IDR"
    )
    return answer("narrow", ">= 55 fps from the second second on", text, least >= 55)


def launch(work, _):
    times = [it.session["first_ms"] for it in sessions(work / "seen")]
    grants = [it.session["granted_ms"] for it in sessions(work / "seen")]
    text = f"{max(times):.0f} ms, median {quantile(times, 0.5):.0f} (answer to /launch " \
        f"{quantile(grants, 0.5):.0f}) of {' '.join(f'{it:.0f}' for it in times)}"
    return answer("launch", "<= 300 ms to the first whole frame", text, max(times) <= 300)


def memory(_, values):
    kb5, kb50 = int(values["kb5"]), int(values["kb50"])
    text = f"{kb50 / kb5:.3f} ({kb5 / 1024:.1f} -> {kb50 / 1024:.1f} MB)"
    return answer("memory", "<= 1.02 after 50 sessions over after 5", text, kb50 <= 1.02 * kb5)


def main():
    row, work, *values = sys.argv[1:]
    is_held = globals()[row.replace("-", "_")](
        Path(work), dict(value.split("=", 1) for value in values)
    )
    sys.exit(0 if is_held else 1)


main()
