"""Codes: how k queries become parity queries, and how missing predictions are rebuilt."""

from parmtrain.codes.base import Code, reconstruct_each
from parmtrain.codes.layout import Concat, ConcatEncoder
from parmtrain.codes.linear import SubtractionDecoder, Sum, SumEncoder

__all__ = ["Code", "Concat", "ConcatEncoder", "SubtractionDecoder", "Sum", "SumEncoder", "reconstruct_each"]
