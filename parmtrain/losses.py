"""Where losses were before ``parmtrain.training``: configurations of older runs name them here."""

from parmtrain.training.losses import cross_entropy, decoded_mse, kl, mixed, mse

__all__ = ["cross_entropy", "decoded_mse", "kl", "mixed", "mse"]
