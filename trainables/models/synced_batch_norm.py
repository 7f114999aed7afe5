"""Batch normalisation whose statistics are those of all workers' parts of a batch together.

PyTorch's own ``SyncBatchNorm`` needs a GPU. Here the sums go through a differentiable all-reduce, so that the gradient
too is that of one worker with the whole batch, on any device.
"""

from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor, autograd, nn
from torch.nn.modules.batchnorm import _BatchNorm


class SyncedBatchNorm(_BatchNorm):
    """Batch normalisation over the batches of all workers; PyTorch's own where there is one worker.

    A worker may have no row: all have to run the layer equally often, with or without rows.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (n, C, ...), each channel over rows and places of all workers."""
        if not (self.training and dist.is_initialized() and dist.get_world_size() > 1):
            alone: Tensor = super().forward(x)
            return alone
        dims = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        exact = x if x.dtype == torch.float64 else x.float()
        n_here = exact.new_full((x.shape[1],), x.numel() / x.shape[1])
        total, n = _sum_of_workers(torch.stack([exact.sum(dims), n_here]))
        n = n.detach().clamp(min=1)  # no row anywhere: nothing to normalise, and nothing learned
        mean = total / n
        centered = exact - mean.view(shape)
        variance = _sum_of_workers(centered.square().sum(dims)) / n
        normalised = centered * (variance + self.eps).rsqrt().view(shape)
        if n[0] > 1:
            self._follow(mean.detach(), variance.detach() * n / (n - 1))
        scaled: Tensor = normalised * self.weight.view(shape) + self.bias.view(shape)
        return scaled.to(x.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        """Take what the layer that this one replaces took."""

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics; ``momentum`` is never None here."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        momentum = cast(float, self.momentum)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(variance.to(self.running_var.dtype), momentum)
        self.num_batches_tracked += 1


def sync_batch_norm(module: nn.Module) -> nn.Module:
    """Replace every batch norm inside a module by a synced one with the same weights and statistics, in place."""
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d):
            synced = SyncedBatchNorm(child.num_features, eps=child.eps, momentum=child.momentum)
            synced.to(child.weight.device, child.weight.dtype)
            synced.load_state_dict(child.state_dict())
            setattr(module, name, synced)
        else:
            sync_batch_norm(child)
    return module


def _sum_of_workers(value: Tensor) -> Tensor:
    summed: Tensor = _AllReduce.apply(value)  # type: ignore[no-untyped-call]
    return summed


class _AllReduce(autograd.Function):
    """Sum over workers, whose gradient is the sum over workers, too: every worker's loss depends on every part."""

    @staticmethod
    def forward(ctx: object, value: Tensor) -> Tensor:
        value = value.clone()
        dist.all_reduce(value)
        return value

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient
