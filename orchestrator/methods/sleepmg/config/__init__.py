"""Sweep files of the method sleepmg."""

from orchestrator.methods.sleepmg.config.sweep import SleepMGSweep

SWEEP = SleepMGSweep
