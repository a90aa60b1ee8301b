"""pfl_peer.py RUN: the federation of a run directory in pfl-research, one process."""
import sys
import time
import types
from importlib.metadata import version

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.aggregate.weighting import WeightByDatapoints
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.dataset import Dataset
from pfl.data.federated_dataset import FederatedDataset
from pfl.hyperparam import NNTrainHyperParams
from pfl.metrics import Metrics, Weighted
from pfl.model.pytorch import PyTorchModel

from workload import Workload


class Clock(TrainingProcessCallback):
    def __init__(self):
        self.ends = []

    def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
        self.ends.append(time.monotonic())
        return False, Metrics()


def loss(self, inputs, labels, eval=False):
    self.eval() if eval else self.train()
    return torch.nn.functional.cross_entropy(self(inputs), labels)


def metrics(self, inputs, labels, eval=True):
    return {"loss": Weighted(float(loss(self, inputs, labels, eval)) * len(labels), len(labels))}


def main():
    workload = Workload(sys.argv[1])
    module = workload.model()
    module.loss = types.MethodType(loss, module)
    module.metrics = types.MethodType(metrics, module)
    model = PyTorchModel(model=module, local_optimizer_create=torch.optim.SGD,
                         central_optimizer=torch.optim.SGD(module.parameters(), lr=1.0))
    users = iter([client for cohort in workload.cohorts for client in cohort])
    data = FederatedDataset(make_dataset_fn=lambda client: Dataset(raw_data=workload.samples(client)),
                            user_sampler=lambda: next(users))
    # Neither its own evaluation of clients nor of a central set: training alone is compared.
    backend = SimulatedBackend(training_data=data, val_data=None, postprocessors=[WeightByDatapoints()])
    clock = Clock()
    rounds = len(workload.cohorts)
    FederatedAveraging().run(
        algorithm_params=NNAlgorithmParams(central_num_iterations=rounds, evaluation_frequency=rounds + 1,
                                           train_cohort_size=len(workload.cohorts[0]), val_cohort_size=0),
        backend=backend,
        model=model,
        model_train_params=NNTrainHyperParams(local_num_epochs=1, local_learning_rate=workload.learning_rate,
                                              local_batch_size=workload.batch_size),
        callbacks=[clock],
        send_metrics_to_platform=False)
    workload.tell("pfl-research", version("pfl"), clock.ends[-1] - clock.ends[0],
                  [parameter.detach().numpy() for parameter in module.parameters()])


main()
