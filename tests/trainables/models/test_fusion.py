from itertools import chain
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from trainables.models.fusion import FUSION_HEADS, Block, ConcatHead, SumHead
from trainables.settings import FUSIONS

WIDTHS = (12, 8, 4, 4)
M = len(WIDTHS)


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


def features(n_epochs: int = 6, widths: tuple[int, ...] = WIDTHS) -> list[Tensor]:
    return [torch.randn(n_epochs, width, dtype=torch.float64) for width in widths]


def head(name: str, widths: tuple[int, ...] = WIDTHS, n_outputs: int = 5) -> Any:
    return FUSION_HEADS[name](widths, n_outputs, 7).double()


def some_missing() -> Tensor:
    """Nobody misses all; the first modality is missing in epoch 1, the others in turn, two in epoch 5."""
    present = torch.ones(6, M, dtype=torch.bool)
    for epoch, modality in ((1, 0), (2, 1), (3, 2), (4, 3), (5, 0), (5, 2)):
        present[epoch, modality] = False
    return present


def zeroed(h: list[Tensor], present: Tensor) -> list[Tensor]:
    return [torch.where(present[:, u, None], h_u, 0.0) for u, h_u in enumerate(h)]


def test_every_fusion_of_the_settings_has_a_head() -> None:
    assert tuple(FUSION_HEADS) == FUSIONS


@pytest.mark.parametrize("name", FUSIONS)
@pytest.mark.parametrize("widths", [WIDTHS, (5, 3), (6,)])
def test_logits_have_the_shape_and_every_weight_a_gradient(
    name: str, widths: tuple[int, ...]
) -> None:
    model = head(name, widths)
    h = [h_u.requires_grad_() for h_u in features(widths=widths)]
    logits = model(h)
    assert logits.shape == (6, 5)
    torch.autograd.backward((logits * torch.randn_like(logits)).sum())
    # With one modality there is nothing for attention to choose from.
    unused = {"query.weight"} if name == "attention" and len(widths) == 1 else set()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None
        assert parameter.grad.any() or key in unused, key
    for h_u in h:
        assert h_u.grad is not None
        assert h_u.grad.any()


def test_concat_has_the_parameters_of_feature_nets_head() -> None:
    model = ConcatHead((1536, 512, 256, 256), 5)
    assert sum(parameter.numel() for parameter in model.parameters()) == 164_229


def test_concat_is_two_dense_layers_on_all_features() -> None:
    model, h = head("concat"), features()
    hidden = torch.cat(h, dim=1) @ model.hidden.weight.T + model.hidden.bias
    expected = hidden @ model.output.weight.T + model.output.bias
    torch.testing.assert_close(model(h), expected)


@pytest.mark.parametrize("name", ["concat", "sum"])
@pytest.mark.parametrize("with_missing", [False, True])
def test_logits_of_the_modalities_sum_to_the_logits(name: str, with_missing: bool) -> None:
    model, h = head(name), features()
    present = some_missing() if with_missing else None
    parts = model.modality_logits(h, present)
    assert model.is_exact
    assert parts.shape == (M, 6, 5)
    torch.testing.assert_close(parts.sum(dim=0), model(h, present), rtol=0, atol=1e-10)


def test_decomposition_holds_at_the_size_of_isruc_in_single_precision() -> None:
    model = ConcatHead((1536, 512, 256, 256), 5)
    h = [torch.randn(32, width) for width in model.widths]
    torch.testing.assert_close(model.modality_logits(h).sum(0), model(h), rtol=0, atol=1e-5)


def test_concat_gives_each_modality_its_share_of_the_biases() -> None:
    """z^u = V W[:, I_u] h^u + (V b + c) / M, written out."""
    model, h = head("concat"), features()
    weight, bias = model.hidden.weight, model.hidden.bias
    last, shift = model.output.weight, model.output.bias
    parts = model.modality_logits(h)
    share = (last @ bias + shift) / M
    torch.testing.assert_close(parts[1], h[1] @ weight[:, 12:20].T @ last.T + share)
    torch.testing.assert_close(model.modality_logits([0 * x for x in h])[3], share.expand(6, 5))


def test_sum_gives_each_modality_its_own_head_with_all_of_its_bias() -> None:
    model, h = head("sum"), features()
    parts = model.modality_logits(h)
    for u in range(M):
        torch.testing.assert_close(parts[u], model.heads[u](h[u]))


@pytest.mark.parametrize("name", ["gated", "film", "attention"])
def test_without_a_decomposition_a_modality_speaks_alone(name: str) -> None:
    model, h = head(name), features()
    parts = model.modality_logits(h)
    assert not model.is_exact
    assert parts.shape == (M, 6, 5)
    for u in range(M):
        only = torch.zeros(6, M, dtype=torch.bool)
        only[:, u] = True
        torch.testing.assert_close(parts[u], model(zeroed(h, only), only))
        # Nobody else's features matter to it, and its own do.
        others = [h_v if v == u else torch.randn_like(h_v) for v, h_v in enumerate(h)]
        torch.testing.assert_close(model.modality_logits(others)[u], parts[u])
        own = [torch.randn_like(h_v) if v == u else h_v for v, h_v in enumerate(h)]
        assert not torch.allclose(model.modality_logits(own)[u], parts[u])


def test_gate_of_the_first_modality() -> None:
    model, h = head("gated"), features()
    joined = model.projections[0](h[0])
    for u in range(1, M):
        gate = 1 / (1 + torch.exp(-model.conditions[u - 1](h[0])))
        joined = joined + gate * model.projections[u](h[u])
    torch.testing.assert_close(model(h), model.output(joined))


def test_gate_is_one_half_without_the_first_modality() -> None:
    model, h = head("gated"), features()
    present = torch.ones(6, M, dtype=torch.bool)
    present[:, 0] = False
    joined = sum(model.projections[u](h[u]) for u in range(1, M)) / 2
    torch.testing.assert_close(model(h, present), model.output(joined))


def test_film_scales_and_shifts_by_the_first_modality() -> None:
    model, h = head("film"), features()
    joined = model.projections[0](h[0])
    for u in range(1, M):
        condition = model.conditions[u - 1](h[0])
        joined = joined + (1 + condition[:, :7]) * model.projections[u](h[u]) + condition[:, 7:]
    torch.testing.assert_close(model(h), model.output(joined))


def test_film_changes_nothing_without_the_first_modality() -> None:
    model, h = head("film"), features()
    present = torch.ones(6, M, dtype=torch.bool)
    present[:, 0] = False
    joined = sum(model.projections[u](h[u]) for u in range(1, M))
    torch.testing.assert_close(model(h, present), model.output(joined))


def test_attention_weighs_by_a_softmax_over_the_modalities_that_are_there() -> None:
    model, h, present = head("attention"), features(), some_missing()
    logits = model(h, present)
    for epoch in range(6):
        there = present[epoch].nonzero()[:, 0].tolist()
        projected = torch.stack([model.projections[u](h[u][epoch]) for u in there])
        fit = torch.exp(projected.tanh() @ model.query.weight[0])
        expected = model.output((fit / fit.sum()) @ projected)
        torch.testing.assert_close(logits[epoch], expected)


@pytest.mark.parametrize("name", FUSIONS)
def test_a_missing_modality_has_no_influence(name: str) -> None:
    """By finite differences: where it is missing nothing follows its features, elsewhere the logits do."""
    model, h, present = head(name), features(), some_missing()
    logits = model(h, present)
    for u in range(M):
        moved = [h_v + 0.1 if v == u else h_v for v, h_v in enumerate(h)]
        difference = (model(moved, present) - logits).abs().sum(dim=1)
        assert not difference[~present[:, u]].any()
        assert (difference[present[:, u]] > 1e-6).all()


@pytest.mark.parametrize("name", FUSIONS)
def test_a_missing_modality_is_none_at_all(name: str) -> None:
    """Its own layers, biases included, have no influence where it is missing."""
    model, h, present = head(name), features(), some_missing()
    logits = model(h, present)
    for u, blocks in enumerate(model.blocks()):
        with torch.no_grad():
            for block in blocks:
                block.of(block.parameter).add_(0.1)
        difference = (model(h, present) - logits).abs().sum(dim=1)
        assert not difference[~present[:, u]].any()
        assert (difference[present[:, u]] > 1e-6).all()
        logits = model(h, present)


@pytest.mark.parametrize("name", FUSIONS)
def test_present_everywhere_is_the_same_as_not_told(name: str) -> None:
    model, h = head(name), features()
    present = torch.ones(6, M, dtype=torch.bool)
    torch.testing.assert_close(model(h, present), model(h))
    torch.testing.assert_close(model.modality_logits(h, present), model.modality_logits(h))


@pytest.mark.parametrize("name", FUSIONS)
def test_an_epoch_without_any_modality_has_finite_logits_and_gradients(name: str) -> None:
    model, h = head(name), features()
    present = torch.zeros(6, M, dtype=torch.bool)
    logits = model(h, present)
    assert logits.isfinite().all()
    torch.autograd.backward(logits.sum())
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("name", FUSIONS)
def test_blocks_belong_to_one_modality_alone(name: str) -> None:
    """A block's gradient comes from its modality only, and no weight is in two blocks."""
    model, h = head(name), features()
    blocks = model.blocks()
    assert len(blocks) == M
    counts = {key: torch.zeros_like(parameter) for key, parameter in model.named_parameters()}
    keys = {id(parameter): key for key, parameter in model.named_parameters()}
    for block in chain(*blocks):
        block.of(counts[keys[id(block.parameter)]]).add_(1)
    assert max(float(count.max()) for count in counts.values()) == 1
    for u in range(M):
        model.zero_grad()
        present = torch.ones(6, M, dtype=torch.bool)
        present[:, u] = False
        torch.autograd.backward(model(h, present).square().sum())
        for v in range(M):
            gradients = [block.of(block.parameter.grad) for block in blocks[v]]
            # Without the first modality a condition is missing, too, yet the others' projections learn.
            assert any(gradient.any() for gradient in gradients) == (u != v)


def test_blocks_of_concat_cover_the_first_dense_layer_exactly() -> None:
    model = ConcatHead(WIDTHS, 5)
    found = [(block.parameter, block.columns) for (block,) in model.blocks()]
    assert all(parameter is model.hidden.weight for parameter, _ in found)
    assert [columns for _, columns in found] == [
        slice(0, 12),
        slice(12, 20),
        slice(20, 24),
        slice(24, 28),
    ]
    assert model.hidden.weight.shape == (64, 28)


def test_blocks_of_sum_are_whole_heads() -> None:
    model = SumHead(WIDTHS, 5)
    for blocks, own in zip(model.blocks(), model.heads, strict=True):
        assert [id(block.parameter) for block in blocks] == [id(p) for p in own.parameters()]
        assert all(block.columns is None for block in blocks)


def test_a_block_is_a_view() -> None:
    parameter = nn.Parameter(torch.zeros(2, 5))
    with torch.no_grad():
        Block(parameter, slice(1, 3)).of(parameter).fill_(1.0)
        assert parameter.tolist() == [[0, 1, 1, 0, 0]] * 2
        assert Block(parameter).of(parameter) is parameter


def test_another_number_of_modalities_is_refused() -> None:
    h = features()
    for name in ("sum", "gated", "film", "attention"):
        with pytest.raises(ValueError, match="zip"):
            head(name)(h[:-1])
