"""Parity models that follow what is served: learned from it and from F's own answers, tried, promoted, taken back."""

from parmtrain.adaptation.pairs import PairFolder, Pairs
from parmtrain.adaptation.shadow import Learned, Shadow
from parmtrain.adaptation.versions import Versions

__all__ = ["Learned", "PairFolder", "Pairs", "Shadow", "Versions"]
