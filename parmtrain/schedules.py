"""Where schedules were before ``parmtrain.training``: configurations of older runs name them here."""

from parmtrain.training.schedules import constant, cosine

__all__ = ["constant", "cosine"]
