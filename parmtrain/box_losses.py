"""Where losses of boxes were before ``parmtrain.training``: configurations of older runs name them here."""

from parmtrain.training.box_losses import giou, smooth_l1

__all__ = ["giou", "smooth_l1"]
