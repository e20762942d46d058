"""The frontend's group logic, without a clock or a network: events go in, actions come out."""

from parmtrain.serving.frontend.machine import Frontend

__all__ = ["Frontend"]
