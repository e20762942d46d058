"""Learning-rate schedules over a whole training, each a function of the optimizer and the number of its steps.

``torch.optim.lr_scheduler.OneCycleLR`` already has this form; these are two more.
"""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LambdaLR, LRScheduler


def constant(optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """Keep the optimizer's own learning rate."""
    return LambdaLR(optimizer, lambda step: 1.0)


def cosine(optimizer: Optimizer, total_steps: int) -> LRScheduler:
    """Lower the learning rate to zero along half a cosine."""
    return CosineAnnealingLR(optimizer, T_max=total_steps)
