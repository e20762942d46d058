"""Aliases of ``parmtrain.training.losses``, which configurations of older runs use."""

from parmtrain.training.losses import cross_entropy, decoded_mse, kl, mixed, mse

__all__ = ["cross_entropy", "decoded_mse", "kl", "mixed", "mse"]
