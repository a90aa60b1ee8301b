"""A run directory of Muster as another framework takes it: the same samples, clients, cohorts and first weights.

The run was made with record.pins=true and training.shuffle=false (every epoch in index order), so that a framework that
does the same arithmetic ends in the same model up to rounding.
"""
import gzip
import json
import pathlib
import resource
import time

import numpy as np
import torch
import yaml

STARTED = time.monotonic()
CLASSES = 10


def read_safetensors(path):
    """The tensors in the order in which they lie in the file, which is that of the model's layers."""
    data = pathlib.Path(path).read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + size])
    header.pop("__metadata__", None)
    tensors = []
    for entry in sorted(header.values(), key=lambda entry: entry["data_offsets"]):
        begin, end = entry["data_offsets"]
        values = np.frombuffer(data, np.float32, (end - begin) // 4, 8 + size + begin)
        tensors.append(values.reshape(entry["shape"]).copy())
    return tensors


def read_dataset(config):
    if config["name"] == "fashion_mnist":
        folder = pathlib.Path("/usr/share/datasets/fashion-mnist")
        with gzip.open(folder / "train-images-idx3-ubyte.gz") as file:
            inputs = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
        with gzip.open(folder / "train-labels-idx1-ubyte.gz") as file:
            labels = np.frombuffer(file.read(), np.uint8, offset=8)
    else:
        records = []
        for path in sorted(pathlib.Path(config["path"]).glob("data_batch*.bin*")):
            with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
                records.append(np.frombuffer(file.read(), np.uint8).reshape(-1, 1 + 3 * 32 * 32))
        records = np.concatenate(records)
        inputs, labels = records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]
    return torch.from_numpy(inputs.astype(np.float32) / 255), torch.from_numpy(labels.astype(np.int64))


def make_model(name):
    nn = torch.nn
    layers = {
        "softmax": lambda: [nn.Flatten(), nn.Linear(784, CLASSES)],
        "mlp": lambda: [nn.Flatten(), nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, CLASSES)],
        "lenet": lambda: [
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 16, 5), nn.ReLU(),
            nn.MaxPool2d(2), nn.Flatten(), nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(),
            nn.Linear(84, CLASSES)
        ],
        "cnn": lambda: [
            nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 5, padding=2),
            nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 7 * 7, 512), nn.ReLU(),
            nn.Linear(512, CLASSES)
        ],
        "simple_cnn": lambda: [
            nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25),
            nn.Flatten(), nn.Linear(64 * 14 * 14, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, CLASSES)
        ],
    }
    return nn.Sequential(*layers[name]())


class Workload:
    def __init__(self, run):
        torch.set_num_threads(1)
        self.run = pathlib.Path(run)
        config = yaml.safe_load((self.run / "config.yaml").read_text())
        training = config["training"]
        self.clients = config["data"]["clients"]
        self.batch_size = training["batch_size"]
        self.learning_rate = training["optimizer"]["learning_rate"]
        self.model_name = config["model"]["name"]
        self.partition = json.loads((self.run / "partition.json").read_text())["clients"]
        self.cohorts = json.loads((self.run / "cohorts.json").read_text())["rounds"]
        self.inputs, self.labels = read_dataset(config["data"]["dataset"])

    def model(self):
        """With the weights that the run began with."""
        model = make_model(self.model_name)
        with torch.no_grad():
            for parameter, values in zip(model.parameters(), read_safetensors(self.run / "initial_model.safetensors"),
                                         strict=True):
                parameter.copy_(torch.from_numpy(values))
        return model

    def samples(self, client):
        chosen = torch.tensor(self.partition[client])
        return self.inputs[chosen], self.labels[chosen]

    def tell(self, framework, version, seconds, parameters):
        """One line of JSON. `seconds` between the first round's end and the last's; `parameters`: the final ones."""
        final = read_safetensors(self.run / "model.safetensors")
        first = read_safetensors(self.run / "initial_model.safetensors")
        apart = sum(float(np.square(a - b).sum()) for a, b in zip(parameters, final, strict=True))
        way = sum(float(np.square(a - b).sum()) for a, b in zip(first, final, strict=True))
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        print(json.dumps({
            "framework": framework,
            "version": version,
            "rounds_per_second": (len(self.cohorts) - 1) / seconds,
            "seconds_of_process": time.monotonic() - STARTED,
            "peak_bytes": 1024 * max(peak, children),
            "difference_of_models": (apart / way)**0.5
        }), flush=True)
