"""Codes: how k queries become coded queries, and how missing predictions are reconstructed."""

from parmtrain.codes.attention import Attention
from parmtrain.codes.base import Code
from parmtrain.codes.berrut import Berrut
from parmtrain.codes.byzantine import BerrutByzantine
from parmtrain.codes.checkerboard import Checkerboard
from parmtrain.codes.copies import Backup, Replication
from parmtrain.codes.corrected import Corrected
from parmtrain.codes.default import Default
from parmtrain.codes.erasures import arrivals, decode_each
from parmtrain.codes.heads import Heads
from parmtrain.codes.late_mix import LateMix
from parmtrain.codes.layout import Concat
from parmtrain.codes.learned import LearnedConvolution, LearnedMLP
from parmtrain.codes.linear import Linear, MeanParity, Sum
from parmtrain.codes.lowres import LowRes
from parmtrain.codes.mux import MuxHeads
from parmtrain.codes.nercc import NeRCC
from parmtrain.codes.protocol import CodedPredictor, Coder
from parmtrain.codes.scheme import Scheme, scheme_of
from parmtrain.codes.stack import Stack
from parmtrain.codes.workers import run_coded, worker_outputs

__all__ = [
    "Attention",
    "Backup",
    "Berrut",
    "BerrutByzantine",
    "Checkerboard",
    "Code",
    "CodedPredictor",
    "Coder",
    "Concat",
    "Corrected",
    "Default",
    "Heads",
    "LateMix",
    "LearnedConvolution",
    "LearnedMLP",
    "Linear",
    "LowRes",
    "MeanParity",
    "MuxHeads",
    "NeRCC",
    "Replication",
    "Scheme",
    "Stack",
    "Sum",
    "arrivals",
    "decode_each",
    "run_coded",
    "scheme_of",
    "worker_outputs",
]
