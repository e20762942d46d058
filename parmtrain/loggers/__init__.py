"""Loggers that, beside curves, get the pictures and the bundle of a finished run: ``logger=wandb`` and others."""

from parmtrain.loggers.published import Published, publish

__all__ = ["Published", "publish"]
