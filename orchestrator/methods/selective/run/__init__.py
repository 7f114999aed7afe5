"""A sweep of the method selective."""

from orchestrator.methods.selective.run.method import SelectiveMethod

METHOD = SelectiveMethod
