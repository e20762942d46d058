"""Aliases of ``parmtrain.training.schedules``, which configurations of older runs use."""

from parmtrain.training.schedules import constant, cosine

__all__ = ["constant", "cosine"]
