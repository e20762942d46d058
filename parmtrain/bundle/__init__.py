"""Bundles: what a run exports for serving, written and loaded here."""

from parmtrain.bundle.export import export
from parmtrain.bundle.formats import ExportFormat
from parmtrain.bundle.load import Bundle, load
from parmtrain.bundle.torchscript import TorchScript

__all__ = ["Bundle", "ExportFormat", "TorchScript", "export", "load"]
