"""A small network with BatchNorm, and images for it."""

import numpy as np
import pytest
import torch
from obtransfer.models.preprocessing import Preprocessing
from torch import nn

torch.set_num_threads(1)  # so small a network is ten times slower with threads that fight for busy cores


class SmallNet(nn.Module):
    """Two convolutions with BatchNorm (registered in another order than they run) and dropout."""

    def __init__(self, num_features=6):
        super().__init__()
        self.norm_last = nn.BatchNorm2d(num_features)
        self.first = nn.Conv2d(3, 4, 3, bias=False)
        self.norm_first = nn.BatchNorm2d(4)
        self.second = nn.Conv2d(4, num_features, 3, bias=False)
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        x = torch.relu(self.norm_first(self.first(x)))
        return self.dropout(torch.relu(self.norm_last(self.second(x)))).mean(dim=(2, 3))


@pytest.fixture
def net():
    torch.manual_seed(0)
    return SmallNet().eval()


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (25, 8, 8, 3), dtype=np.uint8)


@pytest.fixture
def norm():
    return {"preprocessing": Preprocessing(8, 1.0, "bilinear", (0.5, 0.4, 0.3), (0.2, 0.3, 0.25))}


@pytest.fixture
def as_input():
    """The pixels as the network reads them, without the library."""

    def convert(pixels):
        scaled = (pixels / 255.0 - np.array([0.5, 0.4, 0.3])) / np.array([0.2, 0.3, 0.25])
        return torch.from_numpy(scaled.transpose(0, 3, 1, 2).astype(np.float32))

    return convert
