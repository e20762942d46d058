"""Aliases of ``parmtrain.training.box_losses``, which configurations of older runs use."""

from parmtrain.training.box_losses import giou, smooth_l1

__all__ = ["giou", "smooth_l1"]
