"""The queries and outputs of a made-up task, and a cheap network for it."""

from torch import nn

QUERY, OUTPUTS = (3, 9, 8), 7


def cheap() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 9 * 8, OUTPUTS))
