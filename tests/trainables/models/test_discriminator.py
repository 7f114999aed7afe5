import pytest
import torch
from torch.nn import functional

from trainables.models.discriminator import Discriminator, reverse_gradient
from trainables.models.featurenet import FeatureExtractor
from trainables.models.fusion import FUSION_HEADS, ConcatHead
from trainables.settings import FUSIONS


@pytest.mark.parametrize("weight", [0.0, 0.01, 1.0, 2.5])
def test_reversal_is_the_identity_with_minus_weight_times_the_gradient(weight: float) -> None:
    x = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    y = reverse_gradient(x, weight)
    assert torch.equal(y, x)
    y.retain_grad()
    torch.autograd.backward((y.sin() * torch.randn_like(y)).sum())
    assert x.grad is not None
    assert y.grad is not None
    assert torch.equal(x.grad, -weight * y.grad)


def test_reversal_leaves_its_input_as_it_was() -> None:
    x = torch.ones(3, requires_grad=True)
    inner = 2 * x
    torch.autograd.backward(reverse_gradient(inner, 0.5).sum() + inner.sum())
    assert x.grad is not None
    assert x.grad.tolist() == [2 * (1 - 0.5)] * 3


def test_weight_may_change_between_two_reversals() -> None:
    x = torch.ones(2, requires_grad=True)
    torch.autograd.backward(reverse_gradient(x, 1.0).sum() + reverse_gradient(x, 3.0).sum())
    assert x.grad is not None
    assert x.grad.tolist() == [-4.0, -4.0]


@pytest.mark.heavy
def test_discriminator_is_its_head_behind_the_reversal() -> None:
    torch.manual_seed(0)
    model = Discriminator(ConcatHead((6, 4), 3, 5))
    assert model.n_domains == 3
    h = [torch.randn(8, width, requires_grad=True) for width in (6, 4)]
    domains = torch.arange(8) % 3
    torch.autograd.backward(functional.cross_entropy(model(h, 0.3), domains))
    reversed_ = [h_u.grad for h_u in h]
    plain = [h_u.detach().clone().requires_grad_() for h_u in h]
    own = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    model.zero_grad()
    logits = model.head(plain)
    assert logits.shape == (8, 3)
    torch.testing.assert_close(logits, model(h, 0.3))
    torch.autograd.backward(functional.cross_entropy(logits, domains))
    for found, expected in zip(reversed_, plain, strict=True):
        assert found is not None
        assert expected.grad is not None
        torch.testing.assert_close(found, -0.3 * expected.grad)
    # The discriminator itself learns to tell domains apart, whatever the weight.
    for gradient, parameter in zip(own, model.parameters(), strict=True):
        assert gradient.any()
        torch.testing.assert_close(gradient, parameter.grad)


@pytest.mark.parametrize("name", FUSIONS)
def test_missing_modalities_reach_the_head(name: str) -> None:
    torch.manual_seed(0)
    model = Discriminator(FUSION_HEADS[name]((6, 4), 3, 5))
    h = [torch.randn(8, 6), torch.randn(8, 4)]
    present = torch.ones(8, 2, dtype=torch.bool)
    present[::2, 1] = False
    torch.testing.assert_close(model(h, 0.1, present), model.head(h, present))
    assert not torch.allclose(model(h, 0.1, present), model(h, 0.1))


def test_weight_zero_leaves_the_gradients_of_the_extractor_as_without_discriminator() -> None:
    gradients = {}
    for with_discriminator in (False, True):
        torch.manual_seed(0)
        extractor = FeatureExtractor(dropout=0.0)
        classifier = ConcatHead((256,), 5)
        discriminator = Discriminator(ConcatHead((256,), 3))
        features = extractor(torch.randn(6, 1, 3000))
        loss = functional.cross_entropy(classifier([features]), torch.arange(6) % 5)
        if with_discriminator:
            domains = torch.arange(6) % 3
            loss = loss + functional.cross_entropy(discriminator([features], 0.0), domains)
        torch.autograd.backward(loss)
        gradients[with_discriminator] = [p.grad for p in extractor.parameters()]
        assert with_discriminator == any(
            p.grad is not None and bool(p.grad.any()) for p in discriminator.parameters()
        )
    for without, with_ in zip(gradients[False], gradients[True], strict=True):
        assert without is not None
        assert with_ is not None
        assert torch.equal(without, with_)
