"""A sweep of the method sleepmg."""

from orchestrator.methods.sleepmg.run.method import SleepMGMethod

METHOD = SleepMGMethod
