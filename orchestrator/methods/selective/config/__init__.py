"""Sweep files of the method selective."""

from orchestrator.methods.selective.config.objectives import FURTHER as FURTHER
from orchestrator.methods.selective.config.objectives import OBJECTIVES as OBJECTIVES
from orchestrator.methods.selective.config.sweep import SelectiveSweep

SWEEP = SelectiveSweep
