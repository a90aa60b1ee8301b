#!/usr/bin/python3
"""A client of a Muster federation in Python: grpcio, protobuf, numpy and the published contract, nothing else.

Trains softmax regression (the coordinator's `model: softmax`) on images in IDX files, as MNIST and its like come:

    ./generate
    ./client.py --coordinator localhost:7443 --certs certs --name client-2 \
        --images train-images-idx3-ubyte.gz --labels train-labels-idx1-ubyte.gz --samples 0:600

Ends with code 0 when the federation is finished, 2 when the coordinator will not have it. It is meant to be read: it
keeps nothing on disk, so a restart trains the round again.
"""
import argparse
import gzip
import hashlib
import queue
import random
import struct
import sys
import threading
import time

import grpc
import numpy as np

import federation_pb2 as pb
import federation_pb2_grpc as rpc

PERMANENT = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.INVALID_ARGUMENT,
             grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.UNIMPLEMENTED}
HEADER = struct.Struct("<HBBIQQ")  # a payload's: magic, version, codec, 0, layout fingerprint, elements
MAGIC, VERSION, IDENTITY = 0x554D, 1, 1


# ------------------------------------------------------------------------------------------------------ checksums

def crc32c_table():
    table = []
    for value in range(256):
        for _ in range(8):
            value = (value >> 1) ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


TABLE = crc32c_table()


def crc32c(data):
    """CRC-32C (Castagnoli) of bytes: slow, and enough for a small model."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


# ------------------------------------------------------------------------------------------------------- learning

def read_idx(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as file:
        data = file.read()
    sizes = struct.unpack_from(">%dI" % data[3], data, 4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(sizes)


class Softmax:
    """linear.weight [classes, inputs], then linear.bias [classes], as they lie in the flat model."""

    def __init__(self, images, labels, learning_rate, batch):
        self.x = (images.reshape(len(images), -1) / np.float32(255)).astype(np.float32)
        self.y = labels.astype(np.int64)
        self.learning_rate, self.batch = learning_rate, batch

    def local_loss(self, flat):
        """The mean loss of the given model on all samples: what a coordinator may ask for (offer.statistics)."""
        split = len(flat) // (self.x.shape[1] + 1) * self.x.shape[1]
        logits = self.x @ flat[:split].reshape(-1, self.x.shape[1]).T + flat[split:]
        logits -= logits.max(axis=1, keepdims=True)
        return float((np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(self.y)), self.y]).mean())

    def train(self, flat, offer, client, cancelled):
        """Returns (delta, steps, mean loss); None if cancelled. Draws its batches from the task's seed alone."""
        inputs = self.x.shape[1]
        classes, rest = divmod(len(flat), inputs + 1)
        if rest or self.y.max() >= classes:
            raise ValueError("the model of %d parameters is no softmax regression of %d inputs" % (len(flat), inputs))
        w, b = flat[:classes * inputs].reshape(classes, inputs).copy(), flat[classes * inputs:].copy()
        draw = np.random.default_rng([offer.seed, offer.round, client])
        rate = np.float32(self.learning_rate * offer.learning_rate_factor)
        steps, losses = 0, 0.0
        while steps < offer.steps if offer.steps else steps < offer.epochs * -(-len(self.x) // self.batch):
            if steps % -(-len(self.x) // self.batch) == 0:
                order = draw.permutation(len(self.x))
                start = 0
            rows = order[start:start + self.batch]
            start += self.batch
            if cancelled():
                return None
            x, y = self.x[rows], self.y[rows]
            logits = x @ w.T + b
            logits -= logits.max(axis=1, keepdims=True)
            p = np.exp(logits)
            p /= p.sum(axis=1, keepdims=True)
            losses += float(-np.log(np.maximum(p[np.arange(len(y)), y], 1e-30)).mean())
            p[np.arange(len(y)), y] -= 1
            w -= rate / len(y) * (p.T @ x)
            b -= rate / len(y) * p.sum(axis=0)
            steps += 1
        return np.concatenate([w.ravel(), b]) - flat, steps, losses / steps


# --------------------------------------------------------------------------------------------------------- wire

def decode_model(data, offer):
    magic, version, codec, zero, fingerprint, elements = HEADER.unpack_from(data)
    if (magic, version, codec, zero) != (MAGIC, VERSION, IDENTITY, 0):
        raise ValueError("not a payload this client can read")
    if fingerprint != offer.layout_fingerprint or len(data) != HEADER.size + 4 * elements:
        raise ValueError("the model is not the one that was offered")
    return np.frombuffer(data, "<f4", offset=HEADER.size)


def encode_update(delta, offer):
    if not np.isfinite(delta).all():
        raise ValueError("training diverged; lower the learning rate")
    return HEADER.pack(MAGIC, VERSION, IDENTITY, 0, offer.layout_fingerprint, len(delta)) + delta.astype("<f4").tobytes()


class Goodbye(Exception):
    pass


class Client:
    def __init__(self, options, model):
        self.options, self.model = options, model
        self.done = {}  # round -> (header, bytes): finished updates whose fate is not known

    def channel(self):
        o = self.options
        if o.insecure:
            return grpc.insecure_channel(o.coordinator)
        read = lambda name: open("%s/%s" % (o.certs, name), "rb").read()
        return grpc.secure_channel(o.coordinator, grpc.ssl_channel_credentials(
            read("ca.pem"), read(o.name + ".key"), read(o.name + ".pem")))

    def join(self):
        join = pb.Join(protocol=1, client_version="muster python example", num_samples=len(self.model.x),
                       label_histogram=np.bincount(self.model.y).tolist(), clock_ms=int(time.time() * 1000))
        if self.options.client is not None:
            join.client = self.options.client
        if self.options.insecure:
            join.identity = self.options.name
        return pb.ClientMessage(join=join)

    def session(self):
        """One session, from Join to its end: raises grpc.RpcError, or Goodbye when the federation is finished."""
        with self.channel() as channel:
            self.stub = rpc.FederationStub(channel)
            self.out = queue.Queue()
            self.out.put(self.join())
            self.cancelled = set()
            ended = threading.Event()
            stream = self.stub.Session(iter(self.out.get, None))
            try:
                for message in stream:
                    kind = message.WhichOneof("message")
                    if kind == "welcome":
                        self.welcome = message.welcome
                        print("joined %s as client %d" % (self.welcome.name, self.welcome.client), flush=True)
                        threading.Thread(target=self.beat, args=(ended,), daemon=True).start()
                        for round in self.done:
                            self.say_ready(round)
                    elif kind == "offer":
                        self.out.put(pb.ClientMessage(accept=pb.Accept(round=message.offer.round)))
                        if message.offer.round in self.done:
                            self.say_ready(message.offer.round)
                        else:
                            threading.Thread(target=self.work, args=(message.offer,), daemon=True).start()
                    elif kind == "permit":
                        threading.Thread(target=self.upload, args=(message.permit.round,), daemon=True).start()
                    elif kind == "cancel":
                        self.cancelled.add(message.cancel.round)
                        self.done.pop(message.cancel.round, None)
                    elif kind == "settled":
                        settled = message.settled
                        print("round %d: %s" % (settled.round + 1, "accepted" if settled.accepted else
                                                "%s: %s" % (settled.code, settled.message)), flush=True)
                        self.done.pop(settled.round, None)
                    elif kind == "goodbye":
                        if message.goodbye.reason == "finished":
                            raise Goodbye
                        print("coordinator: " + message.goodbye.reason, flush=True)
            finally:
                ended.set()
                self.out.put(None)

    def beat(self, ended):
        while not ended.wait(self.welcome.heartbeat_seconds):
            self.out.put(pb.ClientMessage(heartbeat=pb.Heartbeat(clock_ms=int(time.time() * 1000))))

    def work(self, offer):
        stage = "download"
        try:
            data = self.download(offer.model)
            stage, start = "train", time.monotonic()
            flat = decode_model(data, offer)
            told = {"local_loss": self.model.local_loss(flat)} if "local_loss" in offer.statistics else {}
            trained = self.model.train(flat, offer, self.welcome.client,
                                       lambda: offer.round in self.cancelled)
            if trained is None:
                return
            delta, steps, loss = trained
            update = encode_update(delta, offer)
            header = pb.UploadHeader(
                federation=self.welcome.federation, round=offer.round, client=self.welcome.client,
                content_sha256=hashlib.sha256(update).digest(), payload_size=len(update),
                num_samples=len(self.model.x), train_loss=loss, steps=steps, seconds=time.monotonic() - start,
                numbers={name: pb.Numbers(values=[value]) for name, value in told.items()})
            self.done[offer.round] = (header, update)
            self.say_ready(offer.round)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:  # else: the task is offered again
                self.say_failed(offer.round, stage, "NOT_FOUND", error.details())
        except ValueError as error:
            self.say_failed(offer.round, stage, "INVALID_ARGUMENT", str(error))

    def say_ready(self, round):
        header, update = self.done[round]
        self.out.put(pb.ClientMessage(ready=pb.Ready(round=round, size=len(update),
                                                     content_sha256=header.content_sha256)))

    def say_failed(self, round, stage, code, message):
        print("round %d: %s: %s" % (round + 1, stage, message), flush=True)
        self.out.put(pb.ClientMessage(failed=pb.Failed(round=round, stage=stage, code=code, message=message[:1000])))

    def download(self, blob):
        data = bytearray()
        while True:
            try:
                for chunk in self.stub.Download(pb.DownloadRequest(
                        federation=self.welcome.federation, client=self.welcome.client, sha256=blob.sha256,
                        offset=len(data))):
                    if crc32c(chunk.data) != chunk.crc32c:
                        raise ValueError("a chunk does not match its checksum")
                    data += chunk.data
                break
            except grpc.RpcError as error:
                if error.code() != grpc.StatusCode.UNAVAILABLE or not data:
                    raise
        if hashlib.sha256(data).digest() != blob.sha256:
            raise ValueError("the model does not match its hash")
        return bytes(data)

    def upload(self, round):
        if round not in self.done:
            return
        header, update = self.done[round]
        try:
            offset = self.stub.UploadOffset(header).offset
            size = self.welcome.max_chunk_bytes

            def messages():
                first = pb.UploadHeader()
                first.CopyFrom(header)
                first.offset = offset
                yield pb.UploadMessage(header=first)
                for at in range(offset, len(update), size):
                    data = update[at:at + size]
                    yield pb.UploadMessage(chunk=pb.Chunk(data=data, crc32c=crc32c(data)))

            self.stub.Upload(messages())
        except grpc.RpcError as error:
            print("upload of round %d: %s" % (round + 1, error.details()), flush=True)
            if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DATA_LOSS):
                time.sleep(1)
                self.say_ready(round)

    def run(self):
        wait = 1.0
        while True:
            try:
                self.session()
            except Goodbye:
                return 0
            except grpc.RpcError as error:
                print("coordinator %s: %s: %s" % (self.options.coordinator, error.code().name, error.details()),
                      file=sys.stderr, flush=True)
                if error.code() in PERMANENT:
                    return 2
            time.sleep(wait * random.uniform(0.5, 1))
            wait = min(2 * wait, 30)


def main():
    parser = argparse.ArgumentParser(description="A client of a Muster federation that trains softmax regression")
    parser.add_argument("--coordinator", required=True, metavar="HOST:PORT")
    parser.add_argument("--certs", default="certs", help="folder with ca.pem, NAME.pem, NAME.key")
    parser.add_argument("--insecure", action="store_true", help="plain text, for trials on one machine")
    parser.add_argument("--name", default="python-client", help="of its certificate")
    parser.add_argument("--client", type=int, help="the number it wants in the federation")
    parser.add_argument("--images", required=True)
    parser.add_argument("--labels", required=True)
    parser.add_argument("--samples", default=":", metavar="FROM:TO", help="which of them are this client's")
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument("--batch", type=int, default=20)
    options = parser.parse_args()
    begin, _, end = options.samples.partition(":")
    mine = slice(int(begin) if begin else None, int(end) if end else None)
    model = Softmax(read_idx(options.images)[mine], read_idx(options.labels)[mine], options.learning_rate,
                    options.batch)
    return Client(options, model).run()


if __name__ == "__main__":
    sys.exit(main())
