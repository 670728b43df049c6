"""A small network with BatchNorm and LayerNorm, data, a head and a mask for it."""

import numpy as np
import pytest
import torch
from obtransfer.finetune.run import TrainingRun
from obtransfer.heads.ridge import RidgeHead
from obtransfer.masks.mask import Mask
from obtransfer.models.load import Backbone
from obtransfer.models.preprocessing import Preprocessing
from obtransfer.models.prunable import prunable_parameters
from obtransfer.settings import FinetuneSettings
from torch import nn

torch.set_num_threads(1)  # so small a network is ten times slower with threads that fight for busy cores

SETTINGS = {
    "epochs": 3,
    "batch_size": 8,
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 0.01,
    "schedule": "multistep",
    "milestones": (1, 2),
    "gamma": 0.5,
}


class SmallNet(nn.Module):
    """Convolution, BatchNorm, LayerNorm, dropout, linear."""

    def __init__(self, dropout=0.0):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.bn = nn.BatchNorm2d(4)
        self.ln = nn.LayerNorm(4)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        x = torch.relu(self.bn(self.conv(x))).mean(dim=(2, 3))
        return self.fc(self.dropout(self.ln(x)))


@pytest.fixture
def make_net():
    """The same network at every call."""

    def make(dropout=0.0):
        torch.manual_seed(0)
        net = SmallNet(dropout).eval()
        net.bn.running_mean.fill_(0.1)
        return net

    return make


@pytest.fixture
def make_settings():
    def make(**changes):
        return FinetuneSettings(**{**SETTINGS, **changes})

    return make


@pytest.fixture
def mask(make_net):
    """Half of the weights of every layer removed."""
    net, rng = make_net(), np.random.default_rng(0)
    shapes = {name: tuple(net.get_parameter(name).shape) for name in prunable_parameters(net)}
    return Mask({name: rng.random(shape) < 0.5 for name, shape in shapes.items()})


@pytest.fixture
def task():
    """Head, pixels (20 of them: the last batch is smaller), labels."""
    rng = np.random.default_rng(1)
    labels = (np.arange(20) % 3).astype(np.int64)
    pixels = rng.integers(0, 150, (20, 6, 6, 3), dtype=np.uint8)
    pixels[np.arange(20), :, :, labels] += 100
    generator = torch.Generator().manual_seed(2)
    head = RidgeHead(*(torch.randn(shape, generator=generator).double().numpy() for shape in ((3, 5), (3,))))
    return head, pixels, labels


@pytest.fixture
def make_run(task, make_settings):
    """A run of a network; keywords replace the other parts."""

    def make(net, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.25), **parts):
        preprocessing = Preprocessing(8, 1.0, "bilinear", mean, std)
        head, pixels, labels = parts.pop("task", task)
        parts = {"settings": make_settings(), "seed": 0} | parts
        return TrainingRun(Backbone(net, preprocessing, (), "", {}), head, pixels, labels, **parts)

    return make
