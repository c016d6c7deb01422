#!/usr/bin/env python3
"""Checks the conformance vectors with an implementation of its own.

Needs nothing but Python's standard library, and shares no code with the crate: what is computed here
is computed from net/PROTOCOL.md. Exit status 0 if all vectors hold.

    check.py [DIRECTORY]
"""

import hashlib
import hmac
import itertools
import pathlib
import struct
import sys

# --- Files ----------------------------------------------------------------------------------------


def vectors(path):
    """The blocks of a file: (name, [(key, value)])."""
    name, lines = None, []
    for line in path.read_text().splitlines() + ["vector end"]:
        if not line or line.startswith("#"):
            continue
        key, _, value = line.partition(" ")
        if key == "vector":
            if name is not None:
                yield name, lines
            name, lines = value, []
        else:
            lines.append((key, value))


class Block:
    """What a block says."""

    def __init__(self, lines):
        self.lines = lines

    def all(self, key):
        return [bytes.fromhex(value) for name, value in self.lines if name == key]

    def bytes(self, key):
        (value,) = self.all(key)
        return value

    def numbers(self, key):
        return [int(value) for name, value in self.lines if name == key]

    def number(self, key):
        (value,) = self.numbers(key)
        return value

    def has(self, key):
        return any(name == key for name, _ in self.lines)


def expect(what, found, wanted):
    if found != wanted:
        raise AssertionError(f"{what}: found {found!r}, expected {wanted!r}")


# --- AES-128 and GCM (FIPS 197, NIST SP 800-38D) --------------------------------------------------


def xtime(a):
    return (a << 1 ^ 0x11B) if a & 0x80 else a << 1


def make_sbox():
    exp, log, value = [0] * 256, [0] * 256, 1
    for power in range(255):
        exp[power], log[value] = value, power
        value ^= xtime(value)
    box = []
    for byte in range(256):
        inverse = exp[(255 - log[byte]) % 255] if byte else 0
        mixed = 0x63
        for turn in range(5):
            mixed ^= (inverse << turn | inverse >> (8 - turn)) & 0xFF
        box.append(mixed)
    return box


SBOX = make_sbox()


def aes_keys(key):
    words = [list(key[i : i + 4]) for i in range(0, 16, 4)]
    rcon = 1
    for i in range(4, 44):
        word = words[i - 1]
        if i % 4 == 0:
            word = [SBOX[b] for b in word[1:] + word[:1]]
            word[0] ^= rcon
            rcon = xtime(rcon)
        words.append([a ^ b for a, b in zip(words[i - 4], word)])
    return [sum(words[i : i + 4], []) for i in range(0, 44, 4)]


def aes_block(keys, block):
    state = [a ^ b for a, b in zip(block, keys[0])]
    for round_number in range(1, 11):
        state = [SBOX[state[(i + 4 * (i % 4)) % 16]] for i in range(16)]
        if round_number < 10:
            mixed = []
            for i in range(0, 16, 4):
                column = state[i : i + 4]
                for j in range(4):
                    a, b, c, d = (column[(j + n) % 4] for n in range(4))
                    mixed.append(xtime(a) ^ xtime(b) ^ b ^ c ^ d)
            state = mixed
        state = [a ^ b for a, b in zip(state, keys[round_number])]
    return bytes(state)


def ghash_multiply(x, y):
    product = 0
    for bit in range(127, -1, -1):
        if x >> bit & 1:
            product ^= y
        y = y >> 1 ^ (0xE1 << 120 if y & 1 else 0)
    return product


def padded(data):
    return data + bytes(-len(data) % 16)


def gcm_seal(key, nonce, aad, plaintext):
    keys = aes_keys(key)
    counter = itertools.count(2)
    sealed = bytearray()
    for i in range(0, len(plaintext), 16):
        stream = aes_block(keys, nonce + struct.pack(">I", next(counter)))
        sealed += bytes(a ^ b for a, b in zip(plaintext[i : i + 16], stream))
    subkey = int.from_bytes(aes_block(keys, bytes(16)), "big")
    text = padded(aad) + padded(bytes(sealed)) + struct.pack(">QQ", 8 * len(aad), 8 * len(sealed))
    digest = 0
    for i in range(0, len(text), 16):
        digest = ghash_multiply(digest ^ int.from_bytes(text[i : i + 16], "big"), subkey)
    mask = int.from_bytes(aes_block(keys, nonce + struct.pack(">I", 1)), "big")
    return bytes(sealed) + (digest ^ mask).to_bytes(16, "big")


# --- ChaCha20-Poly1305 (RFC 8439) -----------------------------------------------------------------


def chacha_block(key, counter, nonce):
    start = list(struct.unpack("<16I", b"expand 32-byte k" + key + struct.pack("<I", counter) + nonce))
    state = start[:]

    def quarter(a, b, c, d):
        for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xFFFFFFFF
            value = state[z] ^ state[x]
            state[z] = (value << turn | value >> (32 - turn)) & 0xFFFFFFFF

    for _ in range(10):
        for i in range(4):
            quarter(i, i + 4, i + 8, i + 12)
        for i in range(4):
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4)
    return struct.pack("<16I", *((a + b) & 0xFFFFFFFF for a, b in zip(start, state)))


def chacha_seal(key, nonce, aad, plaintext):
    sealed = bytearray()
    for i in range(0, len(plaintext), 64):
        stream = chacha_block(key, 1 + i // 64, nonce)
        sealed += bytes(a ^ b for a, b in zip(plaintext[i : i + 64], stream))
    one_time = chacha_block(key, 0, nonce)
    r = int.from_bytes(one_time[:16], "little") & 0x0FFFFFFC0FFFFFFC0FFFFFFC0FFFFFFF
    s = int.from_bytes(one_time[16:32], "little")
    text = padded(aad) + padded(bytes(sealed)) + struct.pack("<QQ", len(aad), len(sealed))
    digest = 0
    for i in range(0, len(text), 16):
        digest = (digest + int.from_bytes(text[i : i + 16] + b"\1", "little")) * r % (2**130 - 5)
    return bytes(sealed) + ((digest + s) % 2**128).to_bytes(16, "little")


# --- Media datagrams ------------------------------------------------------------------------------

DATAGRAMS_PER_PHASE = 1 << 22


def hkdf_expand(secret, info, length):
    """RFC 5869 section 2.3; one block is enough here."""
    return hmac.digest(secret, info + b"\1", "sha256")[:length]


def open_datagram(aead, exported, datagram):
    """Header, sequence and plaintext of an authentic datagram."""
    header, sealed = datagram[:24], datagram[24:]
    sequence = int.from_bytes(header[8:16], "little")
    phase = sequence // DATAGRAMS_PER_PHASE
    expect("key phase bit", header[2] & 1, phase & 1)
    secret, salt = exported[:32], exported[32:]
    for _ in range(phase):
        secret = hkdf_expand(secret, b"punktfunk/1 media next", 32)
    key = hkdf_expand(secret, b"punktfunk/1 media key", {1: 16, 2: 32}[aead])
    mask = bytes(4) + sequence.to_bytes(8, "big")
    nonce = bytes(a ^ b for a, b in zip(salt, mask))
    seal = {1: gcm_seal, 2: chacha_seal}[aead]
    # Both ciphers XOR a stream: sealing what is sealed gives the plaintext.
    plaintext = seal(key, nonce, header, sealed[:-16])[:-16]
    expect("sealed again", seal(key, nonce, header, plaintext), sealed)
    return header, sequence, plaintext


def check_sealed(block):
    opened = open_datagram(block.number("aead"), block.bytes("exported"), block.bytes("datagram"))
    expect("sequence", opened[1], block.number("sequence"))
    expect("plaintext", opened[2], block.bytes("plaintext"))


# --- FEC ------------------------------------------------------------------------------------------


class Field:
    """GF(2^bits); with a basis, elements are coordinates in it."""

    def __init__(self, bits, polynomial, basis=None):
        self.order = (1 << bits) - 1
        powers, value = [], 1
        for _ in range(self.order):
            powers.append(value)
            value <<= 1
            if value >> bits:
                value ^= polynomial
        coordinates = list(range(1 << bits))
        if basis:
            polynomial_of = [0]
            for vector in basis:
                polynomial_of += [vector ^ low for low in polynomial_of]
            for coordinate, element in enumerate(polynomial_of):
                coordinates[element] = coordinate
        self.exp = [coordinates[power] for power in powers] * 2
        self.log = {element: power for power, element in enumerate(self.exp[: self.order])}

    def mul(self, a, b):
        return self.exp[self.log[a] + self.log[b]] if a and b else 0

    def inv(self, a):
        return self.exp[(self.order - self.log[a]) % self.order]

    def product(self, factors):
        total = 1
        for factor in factors:
            total = self.mul(total, factor)
        return total

    def lagrange(self, points, chosen, at):
        """Weight of the value at points[chosen] in the value at `at`."""
        others = [point for index, point in enumerate(points) if index != chosen]
        above = self.product(at ^ other for other in others)
        below = self.product(points[chosen] ^ other for other in others)
        return self.mul(above, self.inv(below))


GF8 = Field(8, 0x11D)
CANTOR = [
    0x0001, 0xACCA, 0x3C0E, 0x163E, 0xC582, 0xED2E, 0x914C, 0x4012,
    0x6C98, 0x10D8, 0x6A72, 0xB900, 0xFDB8, 0xFB34, 0xFF38, 0x991E,
]  # fmt: skip
GF16 = Field(16, 0x1002D, CANTOR)


def power_of_two_above(count):
    return 1 << (count - 1).bit_length()


def matrix_gf8(k, m):
    return [[GF8.inv((m + i) ^ j) for i in range(k)] for j in range(m)]


def matrix_gf16(k, m):
    rounded_k, rounded_m = power_of_two_above(k), power_of_two_above(m)
    if rounded_k > rounded_m or (rounded_k == rounded_m and k <= m):
        # Many data shards: each run of rounded_m is a polynomial, and parity the sum of their
        # values at 0 to m - 1.
        return [
            [
                GF16.lagrange(
                    [rounded_m * (i // rounded_m + 1) + n for n in range(rounded_m)],
                    i % rounded_m,
                    j,
                )
                for i in range(k)
            ]
            for j in range(m)
        ]
    # Many parity shards: one polynomial through the data, zeros behind it.
    points = list(range(rounded_k))
    return [[GF16.lagrange(points, i, rounded_k + j) for i in range(k)] for j in range(m)]


def elements(code, shard):
    """The field's elements that a shard holds."""
    if code == 1:
        return list(shard)
    found = []
    for start in range(0, len(shard), 64):
        chunk = shard[start : start + 64]
        half = len(chunk) // 2
        found += [low | high << 8 for low, high in zip(chunk[:half], chunk[half:])]
    return found


def shard_of(code, found, shard_bytes):
    if code == 1:
        return bytes(found)
    shard = bytearray()
    while len(shard) < shard_bytes:
        count = min(64, shard_bytes - len(shard)) // 2
        begin = len(shard) // 2
        part = found[begin : begin + count]
        shard += bytes(e & 0xFF for e in part) + bytes(e >> 8 for e in part)
    return bytes(shard)


def combine(code, rows, shards):
    """The product of a matrix and a column of shards."""
    field = {1: GF8, 2: GF16}[code]
    values = [elements(code, shard) for shard in shards]
    made = []
    for row in rows:
        total = [0] * len(values[0])
        for coefficient, shard in zip(row, values):
            total = [t ^ field.mul(coefficient, e) for t, e in zip(total, shard)]
        made.append(shard_of(code, total, len(shards[0])))
    return made


def check_fec(block):
    code, k, m = block.number("code"), block.number("k"), block.number("m")
    size, data, parity = block.number("shard-bytes"), block.bytes("data"), block.bytes("parity")
    shards = [data[i : i + size] for i in range(0, k * size, size)]
    expect("data", len(shards), k)
    rows = {1: matrix_gf8, 2: matrix_gf16}[code](k, m)
    expect("parity", b"".join(combine(code, rows, shards)), parity)


def recover(code, k, m, present):
    """The data shards, from a dictionary of any k shards (parity j has index k + j)."""
    field = {1: GF8, 2: GF16}[code]
    parity = {1: matrix_gf8, 2: matrix_gf16}[code](k, m)
    indexes = sorted(present)[:k]
    rows = [
        [int(column == index) for column in range(k)] if index < k else parity[index - k][:]
        for index in indexes
    ]
    inverse = [[int(row == column) for column in range(k)] for row in range(k)]
    for column in range(k):
        pivot = next(row for row in range(column, k) if rows[row][column])
        for matrix in (rows, inverse):
            matrix[column], matrix[pivot] = matrix[pivot], matrix[column]
        scale = field.inv(rows[column][column])
        for matrix in (rows, inverse):
            matrix[column] = [field.mul(scale, value) for value in matrix[column]]
        for row in range(k):
            factor = rows[row][column]
            if row != column and factor:
                for matrix in (rows, inverse):
                    matrix[row] = [
                        value ^ field.mul(factor, other)
                        for value, other in zip(matrix[row], matrix[column])
                    ]
    return combine(code, inverse, [present[index] for index in indexes])


# --- Video ----------------------------------------------------------------------------------------


def reassemble(datagrams):
    """The access unit of opened datagrams of one frame, whatever of them is missing."""
    columns, groups = {}, {}
    for header, plaintext in datagrams:
        first, second = struct.unpack("<HH", header[16:20])
        if header[0] == 0x01:
            descriptor = struct.pack("<HBB", len(plaintext), header[3], header[2] & 0x18)
            columns[first] = (descriptor, plaintext)
        else:
            k, m = struct.unpack("<HH", plaintext[:4])
            group = groups.setdefault(first, (header[3], k, m, {}))
            group[3][k + second] = (plaintext[4:8], plaintext[8:])
    for first, (code, k, m, parity) in groups.items():
        size = len(next(iter(parity.values()))[1])
        descriptors = {index: descriptor for index, (descriptor, _) in parity.items()}
        shards = {index: shard for index, (_, shard) in parity.items()}
        for index in range(k):
            if first + index in columns:
                descriptor, plaintext = columns[first + index]
                descriptors[index] = descriptor
                shards[index] = plaintext + bytes(size - len(plaintext))
        recovered = zip(recover(code, k, m, descriptors), recover(code, k, m, shards))
        for index, (descriptor, shard) in enumerate(recovered):
            (length,) = struct.unpack("<H", descriptor[:2])
            columns[first + index] = (descriptor, shard[:length])
    last = max(columns)
    expect("columns", sorted(columns), list(range(last + 1)))
    expect("the last column ends the frame", columns[last][0][3], 0x18)
    return b"".join(columns[index][1] for index in range(last + 1))


def check_video(block):
    opened = []
    for datagram in block.all("datagram"):
        exported = block.bytes("exported")
        header, _, plaintext = open_datagram(block.number("aead"), exported, datagram)
        expect("frame", int.from_bytes(header[4:8], "little"), block.number("frame"))
        opened.append((header, plaintext))
    wanted = b"".join(block.all("slice"))
    expect("access unit", reassemble(opened), wanted)
    parity = sum(header[0] == 0x03 for header, _ in opened)
    for start in range(len(opened) - parity + 1):
        left = opened[:start] + opened[start + parity :]
        expect(f"access unit without {start} and {parity - 1} more", reassemble(left), wanted)


# --- Control messages -----------------------------------------------------------------------------

MODE = [("width", "I"), ("height", "I"), ("millihz", "I")]
LAYOUTS = {
    0x0001: [("version", "H"), *MODE, ("codecs", "I"), ("fec-codes", "I"), ("aeads", "I"),
             ("required", "Q"), ("optional", "Q"), ("slices", "B"), ("bitrate", "Q"),
             ("fec-percent", "B"), ("datagram-bytes", "H"), ("name", "text")],
    0x0002: [("session", "16s"), *MODE, ("codec", "B"), ("aead", "B"), ("fec-percent", "B"),
             ("features", "Q"), ("slices", "B"), ("bitrate", "Q"), ("datagram-bytes", "H"),
             ("clock", "16s"), ("host", "text"), ("encoder", "text")],
    0x0003: [("code", "H"), ("reason-text", "text")],
    0x0004: [],
    0x0010: [("last-good-known", "B"), ("last-good", "I"), ("first-lost", "I"),
             ("newest-lost", "I"), ("wish", "B")],
    0x0011: [("received", "Q"), ("lost", "Q"), ("repaired", "Q"), ("decoded", "Q"),
             ("datagrams", "Q"), ("bytes", "Q"), ("not-opened", "Q"), ("newest-known", "B"),
             ("newest", "I")],
    0x0012: [("frames", "H"), ("frame", "I"), ("flags", "B"), ("slices", "B")],
    0x0013: [("number", "I"), *MODE],
    0x0014: [("number", "I"), ("outcome", "B"), *MODE, ("first-frame", "I"),
             ("reason-text", "text")],
    0x001F: [("reason", "H"), ("reason-text", "text")],
    0x0040: [("serial", "I"), ("seen", "I"), ("total-bytes", "I"), ("offset", "I"),
             ("piece", "text")],
}  # fmt: skip


def check_message(block):
    message = block.bytes("message")
    kind, length = struct.unpack("<HI", message[:6])
    body = message[6:]
    expect("type", kind, block.number("type"))
    expect("length", length, len(body))
    fields, at = {}, 0
    for name, form in LAYOUTS[kind]:
        if form == "text":
            (length,) = struct.unpack_from("<H", body, at)
            fields[name] = body[at + 2 : at + 2 + length]
            fields[name].decode("utf-8")
            at += 2 + length
        else:
            (fields[name],) = struct.unpack_from("<" + form, body, at)
            at += struct.calcsize("<" + form)
    if kind == 0x0012:
        at = 2 + fields["frames"] * (24 + 20 * fields["slices"])
    expect("bytes read", at, len(body))
    if kind == 0x0040:
        left = fields["total-bytes"] - fields["offset"]
        expect("size of the piece", len(fields["piece"]), min(left, 8192))
        expect("offset's rest", fields["offset"] % 8192, 0)
    for name, value in block.lines:
        if name not in ("type", "message"):
            wanted = bytes.fromhex(value) if isinstance(fields[name], bytes) else int(value)
            expect(name, fields[name], wanted)


# --- Pairing --------------------------------------------------------------------------------------

PRIME = 2**256 - 2**224 + 2**192 + 2**96 - 1
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
CURVE_B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
BASE = (0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
        0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5)  # fmt: skip


def add(p, q):
    """Of two points of P-256; None is the one at infinity."""
    if p is None or q is None:
        return p or q
    if p[0] == q[0] and (p[1] + q[1]) % PRIME == 0:
        return None
    if p == q:
        slope = (3 * p[0] * p[0] - 3) * pow(2 * p[1], -1, PRIME)
    else:
        slope = (q[1] - p[1]) * pow(q[0] - p[0], -1, PRIME)
    x = (slope * slope - p[0] - q[0]) % PRIME
    return x, (slope * (p[0] - x) - p[1]) % PRIME


def times(scalar, point):
    product = None
    while scalar:
        if scalar & 1:
            product = add(product, point)
        point, scalar = add(point, point), scalar >> 1
    return product


def on_curve(x, parity):
    """The point of an x, by whether its y is odd."""
    square = (x**3 - 3 * x + CURVE_B) % PRIME
    y = pow(square, (PRIME + 1) // 4, PRIME)
    expect("a point of the curve", y * y % PRIME, square)
    return x, y if y % 2 == parity else PRIME - y


# RFC 9382 section 6.
POINT_M = on_curve(0x886E2F97ACE46E55BA9DD7242579F2993B64E16EF3DCAB95AFD497333D8FA12F, 0)
POINT_N = on_curve(0xD8BBD6C639C62937B04D997F38C3770719C629D7014D49A24B4F98BAA1292B49, 1)


def encoded(point):
    return b"\4" + b"".join(part.to_bytes(32, "big") for part in point)


def decoded(share):
    x, y = int.from_bytes(share[1:33], "big"), int.from_bytes(share[33:], "big")
    expect("share", (share[0], on_curve(x, y % 2)), (4, (x, y)))
    return x, y


def hkdf(secret, info, length):
    extracted = hmac.digest(bytes(32), secret, "sha256")
    first = hmac.digest(extracted, info + b"\1", "sha256")
    return (first + hmac.digest(extracted, first + info + b"\2", "sha256"))[:length]


def framed(kind, body):
    return struct.pack("<HI", kind, len(body)) + body


def named(text):
    return struct.pack("<H", len(text)) + text


def check_pairing(block):
    wide = hkdf(block.bytes("pin"), b"punktfunk/1 pairing PIN", 48)
    w = int.from_bytes(wide, "big") % ORDER
    x, y = (int.from_bytes(block.bytes(f"{side}-secret"), "big") % ORDER
            for side in ("client", "host"))  # fmt: skip
    share_a = encoded(add(times(x, BASE), times(w, POINT_M)))
    share_b = encoded(add(times(y, BASE), times(w, POINT_N)))
    key = times(x, add(decoded(share_b), times(ORDER - w, POINT_N)))
    expect("K", times(y, add(decoded(share_a), times(ORDER - w, POINT_M))), key)
    parts = [block.bytes("client"), block.bytes("host"), share_a, share_b, encoded(key),
             w.to_bytes(32, "big")]  # fmt: skip
    transcript = b"".join(struct.pack("<Q", len(part)) + part for part in parts)
    info = b"ConfirmationKeys" + b"punktfunk/1 pairing" + block.bytes("channel")
    keys = hkdf(hashlib.sha256(transcript).digest()[16:], info, 32)
    tag_a, tag_b = (hmac.digest(half, transcript, "sha256") for half in (keys[:16], keys[16:]))
    client, host = block.bytes("client-name"), block.bytes("host-name")
    expect("PairRequest", block.bytes("request"), framed(0x0030, share_a + named(client)))
    expect("PairReply", block.bytes("reply"), framed(0x0031, share_b))
    expect("PairConfirm", block.bytes("confirm"), framed(0x0032, tag_a))
    expect("PairDone", block.bytes("done"), framed(0x0033, tag_b + named(host)))


# --- Feedback, sound, input, cursor ---------------------------------------------------------------


def check_feedback(block):
    if block.has("echo"):
        stamps = [block.number(f"t{n}-ns") for n in (1, 2, 3)]
        expect("echo", struct.pack("<QQQ", *stamps), block.bytes("echo"))
        return
    body = block.bytes("feedback")
    sent, received, base, newest, good, _, _, decode = struct.unpack_from("<QQQQIIII", body)
    _, flags, receipts, wants = body[48:52]
    expect("length", len(body), 52 + 8 * receipts + 8 * wants)
    expect("sent", sent, block.number("sent-ns"))
    expect("received", received, block.number("received"))
    expect("last good", good if flags & 1 else 0, block.number("last-good"))
    expect("decode", decode, block.number("decode-us"))
    runs = [struct.unpack_from("<IHH", body, 52 + 8 * i) for i in range(receipts)]
    expect("firsts", [base + first for first, _, _ in runs], block.numbers("receipt-first"))
    expect("counts", [count for _, count, _ in runs], block.numbers("receipt-count"))
    arrivals = [newest - age for _, _, age in runs]
    expect("arrivals", arrivals, block.numbers("receipt-arrival-us"))
    begin = 52 + 8 * receipts
    wanted = [struct.unpack_from("<IHH", body, begin + 8 * i) for i in range(wants)]
    expect("want frames", [frame for frame, _, _ in wanted], block.numbers("want-frame"))
    expect("want columns", [first for _, first, _ in wanted], block.numbers("want-column"))
    expect("want counts", [count for _, _, count in wanted], block.numbers("want-count"))


PACKETS = {}


def check_audio(block):
    if block.has("report"):
        fields = block.number("delay-ms"), block.number("newest"), block.number("arrived")
        expect("report", struct.pack("<BBHIQ", 0xCB, 0, *fields), block.bytes("report"))
        return
    body = block.bytes("audio")
    kind, stream, copies, _, number, captured, length = struct.unpack_from("<BBBBIIH", body)
    expect("kind and stream", (kind, stream), (0xC9, 0))
    expect("number", number, block.number("number"))
    expect("captured", captured, block.number("captured-us") % 2**32)
    table = [struct.unpack_from("<BH", body, 14 + 3 * i) for i in range(copies)]
    at = 14 + 3 * copies
    expect("packet", body[at : at + length], block.bytes("packet"))
    PACKETS[number] = body[at : at + length]
    at += length
    for distance, length in table:
        if number - distance in PACKETS:
            expect("copy", body[at : at + length], PACKETS[number - distance])
        at += length
    expect("length", at, len(body))


EVENT_BYTES = {1: 2, 3: 4, 4: 4, 5: 2, 6: 3, 7: 17, 8: 16, 9: 8, 10: 17, 11: 13, 12: 14, 13: 3}


def check_microphone(block):
    datagram = block.bytes("datagram")
    kind, stream, number = struct.unpack("<BBxxI", datagram[:8])
    expect("kind", kind, 0xCC)
    expect("stream", stream, 0)
    expect("number", number, block.number("number"))
    expect("packet", datagram[8:], block.bytes("packet"))


def check_input(block):
    if block.has("output"):
        fields = struct.unpack("<BBIBHH", block.bytes("output"))
        expect("rumble", fields, (0xCA, 1, 1, 3, 0x1234, 0xFFFF))
        return
    before = 0
    for packet in block.all("input"):
        kind, flags, sequence, _, logged, loose = struct.unpack_from("<BBIIBB", packet)
        expect("kind", kind, 0xC8)
        if sequence <= before or flags & ~3:
            raise AssertionError(f"sequence {sequence} after {before}, flags {flags}")
        before = sequence
        at = 12 + (33 if flags & 2 else 0) + (21 if flags & 1 else 0)
        for _ in range(loose + logged):
            event = packet[at]
            at += 1 + (1 + packet[at + 1] if event == 2 else EVENT_BYTES[event])
        expect("length", at, len(packet))


def check_cursor(block):
    if block.has("state"):
        packet = block.bytes("state")
        kind, *fields = struct.unpack("<BBIIIIHHI", packet)
        expect("kind", kind, 0xCD)
        names = "visibility sequence shape x y output-width output-height changed-us".split()
        for name, field in zip(names, fields):
            expect(name, field, block.number(name))
        expect("message", block.bytes("message"), framed(0x0049, packet))
        return
    pixels = b""
    for message in block.all("part"):
        body = message[6:]
        expect("message", message, framed(0x0048, body))
        number, place, _, *fields, first, rows = struct.unpack_from("<IBBHHHHHH", body)
        for name, field in zip("number place width height hotspot-x hotspot-y".split(), [number, place, *fields]):
            expect(name, field, block.number(name))
        row_bytes = 4 * block.number("width")
        expect("first row", first * row_bytes, len(pixels))
        expect("length", len(body), 18 + rows * row_bytes)
        pixels += body[18:]
    expect("pixels", pixels, block.bytes("pixels"))
    expect("rows", len(pixels), row_bytes * block.number("height"))


# --------------------------------------------------------------------------------------------------

FILES = {
    "messages.txt": check_message,
    "pairing.txt": check_pairing,
    "sealed.txt": check_sealed,
    "fec.txt": check_fec,
    "video.txt": check_video,
    "feedback.txt": check_feedback,
    "audio.txt": check_audio,
    "input.txt": check_input,
    "microphone.txt": check_microphone,
    "cursor.txt": check_cursor,
}


def main():
    directory = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__.rpartition("/")[0] or ".")
    checked = 0
    for name, check in FILES.items():
        for vector, lines in vectors(directory / name):
            try:
                check(Block(lines))
            except Exception as error:
                sys.exit(f"{name}: {vector}: {type(error).__name__}: {error}")
            checked += 1
    print(f"{checked} vectors hold")


if __name__ == "__main__":
    main()
