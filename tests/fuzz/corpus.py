#!/usr/bin/env python3
"""Writes the seeds of tests/fuzz/payload.cc from test vectors: corpus.py VECTORS FOLDER"""
import pathlib
import sys

SIZES = [0, 1, 60, 200, 250, 400]  # as in payload.cc

folder = pathlib.Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
for number, line in enumerate(open(sys.argv[1])):
    key, _, value = line.strip().partition(" ")
    if key == "payload":
        payload = bytes.fromhex(value)
        n = int.from_bytes(payload[16:24], "little")
        (folder / f"{payload[3]}-{number}").write_bytes(bytes([SIZES.index(n), payload[3]]) + payload[24:])
