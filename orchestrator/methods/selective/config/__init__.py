"""Sweep files of the method selective."""

from orchestrator.methods.selective.config.sweep import SelectiveSweep

SWEEP = SelectiveSweep
