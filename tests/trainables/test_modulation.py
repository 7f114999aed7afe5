import math
from typing import Any

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor, nn

from trainables.errors import SettingsError
from trainables.models.fusion import Block, ConcatHead
from trainables.modulation import (
    EPSILON,
    RATIO_RULES,
    RULES,
    add_noise,
    coefficients,
    gradient_spreads,
    ratios,
    scale_gradients,
    scale_update,
    score_sums,
    scores,
    snapshot,
    starved,
)
from trainables.settings import COEFFICIENT_RULES, RATIOS

NAN = math.nan


def tensor(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def with_ratio(rho: float) -> Tensor:
    """Scores of two modalities of which the first leads by rho."""
    return tensor(rho * 0.3, 0.3)


def trained_head(seed: int = 0) -> ConcatHead:
    """A head with a gradient."""
    torch.manual_seed(seed)
    head = ConcatHead((3, 5, 2), 4, 6)
    torch.autograd.backward(head([torch.randn(8, width) for width in head.widths]).square().sum())
    return head


# Scores


def test_tables_are_those_of_the_settings() -> None:
    assert tuple(RATIO_RULES) == RATIOS
    assert tuple(RULES) == COEFFICIENT_RULES


def test_score_is_the_probability_of_the_true_label() -> None:
    """Logits are logs of probabilities, so the probabilities can be read off."""
    probabilities = torch.tensor(
        [[[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]], [[0.1, 0.1, 0.8], [0.4, 0.4, 0.2]]]
    )
    sums, counts = score_sums(probabilities.log() + 5, torch.tensor([0, 1]))
    assert sums.dtype == counts.dtype == torch.float64
    torch.testing.assert_close(sums, tensor(0.7 + 0.3, 0.1 + 0.4), rtol=1e-6, atol=0)
    assert counts.tolist() == [2, 2]
    torch.testing.assert_close(scores(sums, counts), tensor(0.5, 0.25), rtol=1e-6, atol=0)


def test_unscored_epochs_and_missing_modalities_are_left_out() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 5, 4)
    labels = torch.tensor([0, -1, 3, 2, 1])
    present = torch.ones(5, 3, dtype=torch.bool)
    present[0, 1] = present[3, 1] = False
    present[:, 2] = False
    logits[2] = NAN  # whatever a missing modality says is not looked at
    sums, counts = score_sums(logits, labels, present)
    assert counts.tolist() == [4, 2, 0]
    expected = logits[1].double().softmax(1)
    torch.testing.assert_close(sums[1], expected[2, 3] + expected[4, 1])
    found = scores(sums, counts)
    assert found.isnan().tolist() == [False, False, True]


def test_sums_of_two_halves_are_those_of_the_whole() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(3, 9, 4), torch.randint(-1, 4, (9,))
    present = torch.rand(9, 3) > 0.3
    whole = torch.stack(score_sums(logits, labels, present))
    halves = [
        torch.stack(score_sums(logits[:, part], labels[part], present[part]))
        for part in (slice(0, 4), slice(4, 9))
    ]
    torch.testing.assert_close(halves[0] + halves[1], whole, rtol=1e-14, atol=0)


def test_scores_build_no_graph() -> None:
    sums, _ = score_sums(torch.randn(2, 3, 4, requires_grad=True), torch.zeros(3, dtype=torch.long))
    assert not sums.requires_grad


# Ratios


@pytest.mark.heavy
@pytest.mark.parametrize("ratio", RATIOS)
@given(score=st.floats(1e-4, 1), n=st.integers(1, 6))
def test_equal_scores_have_ratio_exactly_1(ratio: str, score: float, n: int) -> None:
    equal = torch.full((n,), score, dtype=torch.float64)
    assert ratios(equal, ratio).tolist() == [1.0] * n
    assert coefficients(equal, 0.5, ratio).tolist() == [1.0] * n


def test_double_score_among_four() -> None:
    rho = ratios(tensor(0.2, 0.4, 0.2, 0.2))
    torch.testing.assert_close(rho, tensor((1 + 1 + 0.5) / 3, 2, (1 + 1 + 0.5) / 3, 2.5 / 3))


def test_ratios_of_four_unequal_scores_by_hand() -> None:
    s = tensor(0.8, 0.4, 0.2, 0.1)
    pairwise = ratios(s)
    torch.testing.assert_close(pairwise[0], tensor((2 + 4 + 8) / 3)[0])
    torch.testing.assert_close(pairwise[3], tensor((1 / 8 + 1 / 4 + 1 / 2) / 3)[0])
    others = ratios(s, "mean_others")
    torch.testing.assert_close(others[0], tensor(0.8 / (0.7 / 3))[0])
    torch.testing.assert_close(others[3], tensor(0.1 / (1.4 / 3))[0])


@pytest.mark.parametrize("ratio", RATIOS)
def test_two_modalities_have_inverse_ratios(ratio: str) -> None:
    torch.testing.assert_close(ratios(tensor(0.6, 0.2), ratio), tensor(3, 1 / 3))


@pytest.mark.parametrize("ratio", RATIOS)
def test_missing_modality_is_left_out_of_everybodys_mean(ratio: str) -> None:
    rho = ratios(tensor(0.8, NAN, 0.2, 0.4), ratio)
    expected = ratios(tensor(0.8, 0.2, 0.4), ratio)
    torch.testing.assert_close(rho[[0, 2, 3]], expected)
    assert rho[1].isnan()


@pytest.mark.parametrize("ratio", RATIOS)
def test_modality_without_others_has_ratio_1(ratio: str) -> None:
    assert ratios(tensor(0.3), ratio).tolist() == [1.0]
    rho = ratios(tensor(NAN, 0.3, NAN), ratio)
    assert rho[1] == 1.0
    assert rho.isnan().tolist() == [True, False, True]


@pytest.mark.parametrize("ratio", RATIOS)
def test_score_of_zero_keeps_ratios_finite(ratio: str) -> None:
    rho = ratios(tensor(0.5, 0.0, 0.5), ratio)
    assert rho.isfinite().all()
    assert rho[0] > 1 > rho[1]
    assert ratios(tensor(0.0, 0.0), ratio).tolist() == [1.0, 1.0]
    torch.testing.assert_close(ratios(tensor(0.5, 0.0), ratio)[0], tensor(0.5 / EPSILON)[0])


def test_ratios_leave_the_scores_alone() -> None:
    given_scores = tensor(0.0, 0.5)
    ratios(given_scores)
    assert given_scores.tolist() == [0.0, 0.5]


# Coefficients


@pytest.mark.parametrize(
    ("alpha", "row"),
    [
        (0.1, [0.900, 0.881, 0.851, 0.803, 0.709]),
        (0.3, [0.709, 0.655, 0.578, 0.463, 0.284]),
        (0.5, [0.538, 0.463, 0.365, 0.238, 0.095]),
        (0.8, [0.336, 0.256, 0.166, 0.078, 0.016]),
    ],
)
def test_table_of_coefficients(alpha: float, row: list[float]) -> None:
    for rho, expected in zip([1 + 1e-9, 1.2, 1.5, 2, 3], row, strict=True):
        k = coefficients(with_ratio(rho), alpha)
        assert k[0].item() == pytest.approx(expected, abs=5e-4)
        assert k[1] == 1.0


@pytest.mark.heavy
@given(a=st.floats(0.01, 1), b=st.floats(0.01, 1), alpha=st.floats(0, 2))
def test_two_modalities_follow_ogm_ge(a: float, b: float, alpha: float) -> None:
    """Equation 10: the modality whose ratio is above 1 is slowed, the other is not."""
    assume(a == b or abs(a - b) > 1e-9)  # a ratio that rounds to 1 is on neither side
    ratio_a = a / b
    ratio_b = 1 / ratio_a
    k_a = 1 - math.tanh(alpha * ratio_a) if ratio_a > 1 else 1
    k_b = 1 - math.tanh(alpha * ratio_b) if ratio_b > 1 else 1
    assert coefficients(tensor(a, b), alpha).tolist() == pytest.approx([k_a, k_b], abs=1e-12)


def test_continuous_rule_has_no_jump() -> None:
    just, far = 1 + 1e-9, 2.0
    k = coefficients(with_ratio(just), 0.5, rule="continuous")
    assert k[0].item() == pytest.approx(1.0, abs=1e-8)
    k = coefficients(with_ratio(far), 0.5, rule="continuous")
    assert k[0].item() == pytest.approx(1 - math.tanh(0.5))
    assert k[1] == 1.0


@pytest.mark.parametrize("rule", COEFFICIENT_RULES)
def test_inverted_the_one_that_lags_is_slowed(rule: str) -> None:
    scores_M = tensor(0.6, 0.2)
    straight = coefficients(scores_M, 0.3, rule=rule)
    inverted = coefficients(scores_M, 0.3, rule=rule, invert=True)
    assert inverted[0] == 1.0
    torch.testing.assert_close(inverted[1], straight[0])


def test_missing_modality_keeps_its_gradient() -> None:
    for invert in (False, True):
        k = coefficients(tensor(0.8, NAN, 0.2), 0.3, invert=invert)
        assert k[1] == 1.0
        assert k.min() < 1
    assert coefficients(tensor(NAN, NAN), 0.3).tolist() == [1.0, 1.0]


@pytest.mark.parametrize("rule", COEFFICIENT_RULES)
@pytest.mark.parametrize("invert", [False, True])
def test_alpha_zero_slows_nothing(rule: str, invert: bool) -> None:
    k = coefficients(tensor(0.9, 0.3, 0.1), 0.0, rule=rule, invert=invert)
    assert k.tolist() == [1.0] * 3


def test_the_published_names_and_order_of_arguments() -> None:
    k = coefficients(torch.tensor([0.8, 0.4, 0.4, 0.4]), 0.1, ratio="mean_others")
    assert k.shape == (4,)
    assert k.dtype == torch.float32
    torch.testing.assert_close(k, torch.tensor([1 - math.tanh(0.2), 1, 1, 1]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": -0.1}, "alpha is -0.1; allowed: a finite number of at least 0"),
        ({"alpha": NAN}, "alpha is nan"),
        ({"alpha": math.inf}, "alpha is inf"),
        ({"alpha": 0.1, "ratio": "weakest"}, "'weakest'; allowed: mean_pairwise, mean_others"),
        ({"alpha": 0.1, "rule": "linear"}, "'linear'; allowed: published, continuous"),
    ],
)
def test_what_does_not_exist_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        coefficients(tensor(0.5, 0.5), **arguments)


# Gradients and updates


def test_gradients_are_scaled_block_by_block() -> None:
    head = trained_head()
    before = {name: p.grad.clone() for name, p in head.named_parameters() if p.grad is not None}
    scale_gradients(head.blocks(), [0.5, 1.0, 0.0])
    weight = head.hidden.weight.grad
    assert weight is not None
    assert torch.equal(weight[:, :3], 0.5 * before["hidden.weight"][:, :3])
    assert torch.equal(weight[:, 3:8], before["hidden.weight"][:, 3:8])
    assert not weight[:, 8:].any()
    for name, parameter in head.named_parameters():
        if name != "hidden.weight":
            assert parameter.grad is not None
            assert torch.equal(parameter.grad, before[name])


def test_blocks_without_gradient_are_skipped() -> None:
    blocks = [[Block(nn.Parameter(torch.ones(2, 2)))]]
    scale_gradients(blocks, [0.5])
    assert gradient_spreads(blocks) == [[None]]
    add_noise(blocks, gradient_spreads(blocks))
    assert blocks[0][0].parameter.grad is None


def test_update_is_scaled_block_by_block() -> None:
    head = trained_head()
    old = {name: p.detach().clone() for name, p in head.named_parameters()}
    before = snapshot(head.blocks())
    torch.optim.Adam(head.parameters(), lr=0.1).step()
    new = {name: p.detach().clone() for name, p in head.named_parameters()}
    scale_update(head.blocks(), before, [0.25, 1.0, 0.0])
    weight, was, would = head.hidden.weight, old["hidden.weight"], new["hidden.weight"]
    torch.testing.assert_close(weight[:, :3], was[:, :3] + 0.25 * (would[:, :3] - was[:, :3]))
    assert torch.equal(weight[:, 3:8], would[:, 3:8])
    assert torch.equal(weight[:, 8:], was[:, 8:])
    for name, parameter in head.named_parameters():
        if name != "hidden.weight":
            assert torch.equal(parameter, new[name])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_update_is_exact_at_both_ends(dtype: torch.dtype) -> None:
    """Numbers of very different size, where before + 1 * (now - before) would round."""
    generator = torch.Generator().manual_seed(0)
    sizes = 10.0 ** torch.randint(-8, 8, (2, 4000), generator=generator)
    old, new = torch.randn(2, 4000, generator=generator).to(dtype) * sizes
    assert not torch.equal(old + (new - old), new)
    parameter = nn.Parameter(old.clone().reshape(40, 100))
    blocks = [[Block(parameter)]]
    for k, expected in ((1.0, new), (0.0, old)):
        with torch.no_grad():
            parameter.copy_(old.reshape(40, 100))
            before = snapshot(blocks)
            parameter.copy_(new.reshape(40, 100))
        scale_update(blocks, before, [k])
        assert torch.equal(parameter.detach().flatten(), expected.to(parameter.dtype))


def test_scaled_update_of_sgd_is_the_update_of_the_scaled_gradient() -> None:
    by_gradient, by_update = trained_head(), trained_head()
    k = [0.3, 0.7, 1.0]
    scale_gradients(by_gradient.blocks(), k)
    before = snapshot(by_update.blocks())
    for head in (by_gradient, by_update):
        torch.optim.SGD(head.parameters(), lr=0.1).step()
    scale_update(by_update.blocks(), before, k)
    for one, other in zip(by_gradient.parameters(), by_update.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_adam_undoes_scaled_gradients_but_not_scaled_updates() -> None:
    """Why the update is what the defaults scale."""
    plain, by_gradient, by_update = trained_head(), trained_head(), trained_head()
    start = plain.hidden.weight.detach().clone()
    k = [0.1, 0.1, 0.1]
    scale_gradients(by_gradient.blocks(), k)
    before = snapshot(by_update.blocks())
    for head in (plain, by_gradient, by_update):
        torch.optim.Adam(head.parameters(), lr=1e-3).step()
    scale_update(by_update.blocks(), before, k)
    moved, with_gradient, with_update = (
        head.hidden.weight.detach() - start for head in (plain, by_gradient, by_update)
    )
    torch.testing.assert_close(with_gradient, moved, rtol=1e-2, atol=1e-6)
    torch.testing.assert_close(with_update, 0.1 * moved, rtol=1e-2, atol=1e-7)


def test_another_number_of_coefficients_is_refused() -> None:
    head = trained_head()
    with pytest.raises(ValueError, match="zip"):
        scale_gradients(head.blocks(), [1.0, 1.0])


# Noise


def test_noise_has_the_spread_of_the_unscaled_gradient() -> None:
    """A large draw; the gradient was scaled to nothing in between, so that what is left is noise."""
    generator = torch.Generator().manual_seed(0)
    loud, quiet = (nn.Parameter(torch.zeros(400, 500)) for _ in range(2))
    for parameter, spread in ((loud, 3.0), (quiet, 0.01)):
        parameter.grad = 7 + spread * torch.randn(400, 500, generator=generator)
    blocks = [[Block(loud)], [Block(quiet)]]
    spreads = gradient_spreads(blocks)
    scale_gradients(blocks, [0.0, 0.0])
    add_noise(blocks, spreads, generator)
    for parameter, spread in ((loud, 3.0), (quiet, 0.01)):
        assert parameter.grad is not None
        assert parameter.grad.std().item() == pytest.approx(spread, rel=0.01)
        assert parameter.grad.mean().item() == pytest.approx(0.0, abs=0.01 * spread)


def test_noise_is_added_to_every_modality_whatever_its_coefficient() -> None:
    head = trained_head()
    assert head.hidden.weight.grad is not None
    blocks = head.blocks()
    spreads = gradient_spreads(blocks)
    scale_gradients(blocks, [1.0, 0.5, 0.0])
    scaled = head.hidden.weight.grad.clone()
    add_noise(blocks, spreads, torch.Generator().manual_seed(0))
    noise = head.hidden.weight.grad - scaled
    assert (noise != 0).all()
    add_noise(blocks, spreads, torch.Generator().manual_seed(0))
    torch.testing.assert_close(head.hidden.weight.grad, scaled + 2 * noise)


def test_biases_get_no_noise() -> None:
    layer = nn.Linear(3, 4)
    torch.autograd.backward(layer(torch.randn(5, 3)).sum())
    assert layer.bias.grad is not None
    blocks = [[Block(parameter) for parameter in layer.parameters()]]
    bias = layer.bias.grad.clone()
    weight_spread, bias_spread = gradient_spreads(blocks)[0]
    assert weight_spread is not None
    assert bias_spread is None
    add_noise(blocks, gradient_spreads(blocks))
    assert torch.equal(layer.bias.grad, bias)


def test_noise_of_a_gradient_without_spread_is_tiny() -> None:
    parameter = nn.Parameter(torch.zeros(1, 1))
    parameter.grad = torch.ones(1, 1)
    blocks = [[Block(parameter)]]
    add_noise(blocks, gradient_spreads(blocks))
    assert parameter.grad.item() == pytest.approx(1.0, abs=1e-6)


# Starvation


def test_starved_is_held_back_in_nearly_all_steps() -> None:
    k = torch.ones(100, 4)
    k[:91, 0] = 0.49  # more than 90 in 100
    k[:90, 1] = 0.0
    k[:, 2] = 0.5
    k[:, 3] = NAN
    assert starved(k).tolist() == [True, False, False, False]
    assert starved(k[:0]).tolist() == [False] * 4
