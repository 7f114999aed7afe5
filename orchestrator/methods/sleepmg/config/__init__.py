"""Sweep files of the method sleepmg."""

from orchestrator.methods.sleepmg.config.objectives import FURTHER as FURTHER
from orchestrator.methods.sleepmg.config.objectives import OBJECTIVES as OBJECTIVES
from orchestrator.methods.sleepmg.config.sweep import SleepMGSweep

SWEEP = SleepMGSweep
