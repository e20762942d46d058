"""Packages of the wheel: all of parmtrain's own, and the YAML files of ``conf/`` beside them as ``parmtrain.conf``."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["parmtrain", "parmtrain.*"]), "parmtrain.conf"])
