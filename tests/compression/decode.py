#!/usr/bin/env python3
"""Decodes every form of docs/wire-format.md, written from that page alone, and checks it against test vectors.

    decode.py VECTORS

Needs numpy. Compressed blocks of zstd frames need the zstd command: without it those vectors are skipped.
"""
import hashlib
import shutil
import subprocess
import sys

import numpy as np

U64 = (1 << 64) - 1
U32 = (1 << 32) - 1


class Refused(Exception):
    pass


def check(condition, what):
    if not condition:
        raise Refused(what)


class Reader:
    def __init__(self, data):
        self.data = data

    def take(self, count):
        check(count <= len(self.data), "cut off")
        taken, self.data = self.data[:count], self.data[count:]
        return taken

    def number(self, dtype):
        return np.frombuffer(self.take(np.dtype(dtype).itemsize), dtype)[0].item()

    def varint(self):
        value = shift = 0
        while True:
            byte = self.number("u1")
            value |= (byte & 127) << shift
            if byte < 128:
                check(byte != 0 or shift == 0, "varint not in its shortest form")
                return value
            shift += 7
            check(shift < 63, "varint too large")

    def rest(self):
        return self.take(len(self.data))


class Generator:
    def __init__(self, seed):
        self.s = seed
        for part in (10, 0, 0):
            self.s = self.splitmix() ^ (part * 0xD6E8FEB86659FD93 & U64)
        self.t = [self.splitmix() for _ in range(4)]

    def splitmix(self):
        self.s = self.s + 0x9E3779B97F4A7C15 & U64
        z = self.s
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & U64
        z = (z ^ z >> 27) * 0x94D049BB133111EB & U64
        return z ^ z >> 31

    def draw(self):
        t = self.t
        rotl = lambda x, k: (x << k | x >> 64 - k) & U64
        result = rotl(t[1] * 5 & U64, 7) * 9 & U64
        u = t[1] << 17 & U64
        t[2] ^= t[0]
        t[3] ^= t[1]
        t[1] ^= t[2]
        t[0] ^= t[3]
        t[2] ^= u
        t[3] = rotl(t[3], 45)
        return result

    def below(self, m):
        product = self.draw() * m
        if product & U64 < m:
            while product & U64 < ((1 << 64) - m) % m:
                product = self.draw() * m
        return product >> 64


def mix(i, a, b):
    x = i + a & U32
    x ^= x >> 16
    x = x * 0x7FEB352D & U32
    x = x + b & U32
    x ^= x >> 15
    x = x * 0x846CA68B & U32
    return x ^ x >> 16


def bits_of(data):
    return np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")


def unpack(data, count, width):
    bits = bits_of(data)
    check(len(bits) == (count * width + 7) // 8 * 8, "packed bits of another size")
    check(not bits[count * width:].any(), "padding that is not zero")
    weights = 1 << np.arange(width, dtype=np.int64)
    return bits[:count * width].reshape(count, width).astype(np.int64) @ weights


# Buckets: (bytes, decode) of one of m elements.
def float16_bucket(m, levels):
    def decode(r):
        exponent = r.number("<u2")
        check(40 <= exponent <= 254, "exponent")
        halves = np.frombuffer(r.rest(), "<f2").astype(np.float32)
        return halves * np.float32(2.0 ** (exponent - 141))
    return 2 + 2 * m, decode


def bfloat16_bucket(m, levels):
    return 2 * m, lambda r: (np.frombuffer(r.rest(), "<u2").astype(np.uint32) << 16).view(np.float32)


def levels_bucket(m, levels):
    check(1 <= levels <= 32767, "levels")
    width = (2 * levels).bit_length()

    def decode(r):
        step = np.float32(r.number("<f4"))
        check(not np.signbit(step) and np.isfinite(step), "step")
        if levels == 1:
            data = np.frombuffer(r.rest(), np.uint8).astype(np.int64)
            check((data < 243).all(), "level")
            digits = (data[:, None] // 3 ** np.arange(5) % 3).reshape(-1)
            check(not digits[m:].any(), "padding that is not zero")
            codes = digits[:m]
        else:
            codes = unpack(r.rest(), m, width)
        check((codes <= 2 * levels).all(), "level")
        return step * (codes - levels).astype(np.float32)
    return 4 + ((m + 4) // 5 if levels == 1 else (m * width + 7) // 8), decode


def natural_bucket(m, levels):
    def decode(r):
        exponents = np.frombuffer(r.take(m), np.uint8).astype(np.uint32)
        check((exponents < 255).all(), "exponent")
        signs = unpack(r.rest(), m, 1).astype(np.uint32)
        return (exponents << 23 | signs << 31).view(np.float32)
    return m + (m + 7) // 8, decode


def sign_bucket(m, levels):
    def decode(r):
        scale = np.float32(r.number("<f4"))
        check(not np.signbit(scale) and np.isfinite(scale), "scale")
        return np.where(unpack(r.rest(), m, 1) == 1, -scale, scale).astype(np.float32)
    return 4 + (m + 7) // 8, decode


def bucketed(bucket_form):
    def decode(r, shapes, n):
        size, levels = r.number("<u4"), r.number("<u2")
        check(size > 0, "bucket")
        check(levels == 0 or bucket_form is levels_bucket, "levels")
        out = []
        for begin in range(0, n, size):
            length, decode_bucket = bucket_form(min(size, n - begin), levels)
            out.append(decode_bucket(Reader(r.take(length))))
        return np.concatenate(out) if out else np.zeros(0, np.float32)
    return decode


def identity(r, shapes, n):
    check(len(r.data) == 4 * n, "size")
    return np.frombuffer(r.rest(), "<f4")


def nested(r, shapes, n, depth):
    check(depth < 4, "nested too deep")
    return decode_codec(r.number("u1"), r, shapes, n, depth + 1)


def vector(n):
    return [(n,)]


def read_places(r, k, n):
    coding = r.number("u1")
    bits = bits_of(r.take(r.varint()))
    if coding == 128:
        check(len(bits) == (n + 7) // 8 * 8 and not bits[n:].any(), "bitmap")
        places = np.flatnonzero(bits)
    elif coding == 0:
        width = (n - 1).bit_length() if n > 1 else 0
        places = unpack(np.packbits(bits, bitorder="little").tobytes(), k, width)
    else:
        check(192 <= coding <= 224, "coding")
        b = coding - 192
        low = unpack(np.packbits(bits[:k * b], bitorder="little").tobytes(), k, b)
        ends = np.flatnonzero(bits[k * b:])
        check(len(ends) == k, "ones")
        zeros = np.diff(ends, prepend=-1) - 1
        places = np.cumsum((zeros << b) + low + 1) - 1
        at = k * b + (ends[-1] + 1 if k else 0)
        check(len(bits) == (at + 7) // 8 * 8 and not bits[at:].any(), "trailing bytes")
    check(len(places) == k and (np.diff(places) > 0).all() and (places < n).all(), "places")
    return places


def sparse(r, shapes, n, depth):
    k = r.varint()
    check(k <= n, "count")
    out = np.zeros(n, np.float32)
    places = read_places(r, k, n)
    out[places] = nested(r, vector(k), k, depth)
    return out


def rand_k(r, shapes, n, depth):
    seed, k = r.number("<u8"), r.varint()
    check(k <= n, "count")
    generator, places = Generator(seed), []
    for i in range(n):
        if len(places) < k and generator.below(n - i) < k - len(places):
            places.append(i)
    out = np.zeros(n, np.float32)
    out[np.array(places, np.int64)] = nested(r, vector(k), k, depth)
    return out


def rotation(r, shapes, n, depth):
    seed, s = r.number("<u8"), r.number("u1")
    check(s <= 20, "block")
    blocks = [1 << s] * (n >> s)
    if n % (1 << s):
        blocks.append(1 << (n % (1 << s) - 1).bit_length())
    total = sum(blocks)
    values = nested(r, vector(total), total, depth)
    out, begin = [], 0
    for size in blocks:
        x = values[begin:begin + size].copy()
        begin += size
        h = 1
        while h < size:
            pairs = x.reshape(-1, 2, h)
            x = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], 1).reshape(-1)
            h *= 2
        out.append(x * np.float32(1 / np.sqrt(np.float64(size))))
    generator = Generator(seed)
    draws = [generator.draw() for _ in range((total + 63) // 64)]
    signs = np.array([draws[i // 64] >> i % 64 & 1 for i in range(total)], bool)
    x = np.concatenate(out) if out else np.zeros(0, np.float32)
    return np.where(signs, -x, x).astype(np.float32)[:n]


def count_sketch(r, shapes, n, depth):
    seed, rows, width, kept = r.number("<u8"), r.number("u1"), r.varint(), r.varint()
    check(rows % 2 == 1 and rows <= 15 and width >= 1 and rows * width <= n + rows and kept <= n, "table")
    table = nested(r, vector(rows * width), rows * width, depth).reshape(rows, width)
    generator = Generator(seed)
    keys = [generator.draw() for _ in range(rows)]
    out = np.zeros(n, np.float32)
    for i in range(n):
        estimates = []
        for row, key in enumerate(keys):
            h = mix(i, key & U32, key >> 32)
            value = table[row, (h >> 1) * width >> 31]
            estimates.append(-value if h & 1 else value)
        out[i] = sorted(estimates)[rows // 2]
    if 0 < kept < n:
        order = np.lexsort((np.arange(n), -np.abs(out)))
        out[order[kept:]] = 0
    return out


def power_sgd(r, shapes, n, depth):
    rank = r.number("u1")
    check(1 <= rank <= 64, "rank")
    plan = []
    for shape in shapes:
        size = int(np.prod(shape, dtype=np.int64))
        p = shape[0] if shape else 1
        q = size // p if p else 0
        low = min(rank, p, q)
        plan.append((p, q, low if len(shape) >= 2 and low * (p + q) < size else 0))
    total = sum(low * (p + q) if low else p * q for p, q, low in plan)
    values, out = nested(r, vector(total), total, depth), []
    for p, q, low in plan:
        if not low:
            out.append(values[:p * q])
            values = values[p * q:]
            continue
        left, right = values[:low * p].reshape(low, p), values[low * p:low * (p + q)].reshape(low, q)
        values = values[low * (p + q):]
        m = np.zeros((p, q), np.float32)
        for j in range(low):
            m = m + left[j][:, None] * right[j][None, :]
        out.append(m.reshape(-1))
    return np.concatenate(out) if out else np.zeros(0, np.float32)


def per_layer(r, shapes, n, depth):
    out = []
    for shape in shapes:
        size = int(np.prod(shape, dtype=np.int64))
        out.append(nested(Reader(r.take(r.varint())), [shape], size, depth))
    return np.concatenate(out) if out else np.zeros(0, np.float32)


def unpack_zstd(frame):
    """A frame of raw and run-length blocks by RFC 8878; any other by the zstd command, None without it."""
    r, out = Reader(frame), b""
    check(r.number("<u4") == 0xFD2FB528, "zstd magic")
    descriptor = r.number("u1")
    single = descriptor >> 5 & 1
    if not single:
        r.take(1)
    r.take([0, 1, 2, 4][descriptor & 3])
    r.take([single, 2, 4, 8][descriptor >> 6])
    last = False
    while not last:
        header = int.from_bytes(r.take(3), "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        if kind == 2:
            if shutil.which("zstd") is None:
                return None
            return subprocess.run(["zstd", "-dc"], input=frame, capture_output=True, check=True).stdout
        out += r.take(size) if kind == 0 else r.take(1) * size
    return out


class NeedsZstd(Exception):
    pass


def zstd(r, shapes, n, depth):
    size = r.varint()
    check(size <= 1024 + 5 * n, "size")
    raw = unpack_zstd(r.rest())
    if raw is None:
        raise NeedsZstd
    check(len(raw) == size, "size")
    return nested(Reader(raw), shapes, n, depth)


DENSE = {1: identity, 2: bucketed(float16_bucket), 3: bucketed(bfloat16_bucket), 4: bucketed(levels_bucket),
         5: bucketed(natural_bucket), 6: bucketed(sign_bucket)}
STAGES = {16: sparse, 17: rand_k, 18: rotation, 19: count_sketch, 20: power_sgd, 21: per_layer, 22: zstd}


def decode_codec(codec, r, shapes, n, depth):
    check(codec in DENSE or codec in STAGES, "unknown codec")
    out = DENSE[codec](r, shapes, n) if codec in DENSE else STAGES[codec](r, shapes, n, depth)
    check(not r.data, "trailing bytes")
    check(len(out) == n and np.isfinite(out).all(), "values")
    return out.astype(np.float32)


def decode(payload, layout):
    r = Reader(payload)
    check(r.number("<u2") == 0x554D and r.number("u1") == 1, "magic or version")
    codec = r.number("u1")
    check(r.number("<u4") == 0, "reserved")
    lines = "".join(f"{name} p {'x'.join(map(str, shape))}\n" for name, shape in layout)
    fingerprint = hashlib.sha256(lines.encode()).digest()[:8] if layout else bytes(8)
    check(r.take(8) == fingerprint, "fingerprint")
    n = r.number("<u8")
    check(n == sum(int(np.prod(shape, dtype=np.int64)) for _, shape in layout), "elements")
    return decode_codec(codec, r, [shape for _, shape in layout], n, 0)


def main(path):
    vector_case, passed, skipped = {}, 0, 0
    for line in open(path):
        key, _, value = line.rstrip("\n").partition(" ")
        vector_case[key] = value
        if key != "values":
            continue
        layout = []
        for tensor in vector_case["layout"].split():
            name, _, extents = tensor.partition("=")
            layout.append((name, tuple(int(e) for e in extents.split("x"))))
        payload, expected = bytes.fromhex(vector_case["payload"]), bytes.fromhex(value)
        try:
            decoded = decode(payload, layout)
        except NeedsZstd:
            skipped += 1
            continue
        assert decoded.tobytes() == expected, f"{vector_case['case']}: {decoded} is not {np.frombuffer(expected, '<f4')}"
        for cut in {len(payload) - 1, min(24, len(payload) - 1), 3}:
            try:
                decode(payload[:cut], layout)
            except (Refused, IndexError, ValueError, NeedsZstd, subprocess.CalledProcessError):
                continue
            assert False, f"{vector_case['case']}: accepted when cut to {cut} bytes"
        passed += 1
    print(f"{passed} vectors decoded to the last bit, {skipped} skipped (no zstd command)")
    assert passed > 0


if __name__ == "__main__":
    main(sys.argv[1])
