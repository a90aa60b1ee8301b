"""flower_peer.py RUN: the federation of a run directory in Flower's simulation on Ray, one client at a time."""
import functools
import os
import pathlib
import sys
import time
from importlib.metadata import version

import torch
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation

RUN = "MUSTER_RUN"  # how worker processes learn of the run


@functools.cache
def resident():
    """What a worker process keeps between clients: the data and one model. Kinder than reading them for every client."""
    from workload import Workload

    workload = Workload(os.environ[RUN])
    return workload, workload.model()


client_app = ClientApp()


@client_app.train()
def train(message, context):
    workload, model = resident()
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    model.train()
    inputs, labels = workload.samples(message.content["config"]["client"])
    optimizer = torch.optim.SGD(model.parameters(), lr=workload.learning_rate)
    for begin in range(0, len(labels), workload.batch_size):
        batch = slice(begin, begin + workload.batch_size)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(inputs[batch]), labels[batch]).backward()
        optimizer.step()
    content = RecordDict({
        "arrays": ArrayRecord(model.state_dict()),
        "metrics": MetricRecord({"num-examples": len(labels)})
    })
    return Message(content=content, reply_to=message)


class PinnedFedAvg(FedAvg):
    """FedAvg with the run's cohorts: a client is what its message says, whichever node it goes to."""

    def __init__(self, cohorts):
        super().__init__(fraction_evaluate=0.0)
        self.cohorts = cohorts
        self.ends = []

    def configure_train(self, server_round, arrays, config, grid):
        cohort = self.cohorts[server_round - 1]
        nodes = list(grid.get_node_ids())
        while len(nodes) < len(cohort):
            time.sleep(0.1)
            nodes = list(grid.get_node_ids())
        return [
            Message(content=RecordDict({"arrays": arrays, "config": ConfigRecord({"client": client})}),
                    message_type=MessageType.TRAIN, dst_node_id=node) for client, node in zip(cohort, nodes)
        ]

    def aggregate_train(self, server_round, replies):
        result = super().aggregate_train(server_round, replies)
        self.ends.append(time.monotonic())
        return result


server_app = ServerApp()


@server_app.main()
def main(grid, context):
    workload, model = resident()
    strategy = PinnedFedAvg(workload.cohorts)
    result = strategy.start(grid=grid, initial_arrays=ArrayRecord(model.state_dict()),
                            num_rounds=len(workload.cohorts))
    workload.tell("Flower", version("flwr"), strategy.ends[-1] - strategy.ends[0],
                  [values.numpy() for values in result.arrays.to_torch_state_dict().values()])


def run(folder):
    os.environ[RUN] = folder
    os.environ["PYTHONPATH"] = str(pathlib.Path(__file__).parent)  # where worker processes find this module
    workload, _ = resident()
    run_simulation(server_app=server_app, client_app=client_app, num_supernodes=workload.clients,
                   backend_config={"init_args": {"num_cpus": 1}, "client_resources": {"num_cpus": 1}})


if __name__ == "__main__":
    import flower_peer  # not as __main__, which worker processes cannot import

    flower_peer.run(sys.argv[1])
