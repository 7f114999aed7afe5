"""A sweep of the method pretrain."""

from orchestrator.methods.pretrain.run.method import PretrainMethod

METHOD = PretrainMethod
