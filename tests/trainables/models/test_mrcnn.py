import pytest
import torch
from torch import nn

from trainables.errors import SettingsError
from trainables.models.mrcnn import MRCNN, StageClassifier
from trainables.settings import FEATURE_LAYERS


def n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_parameter_counts() -> None:
    # Hand count. Narrow: 64*50 + 128 + 128*64*8 + 256 + 128*128*8 + 256; wide with 400 and 7.
    # Recalibration: (128*30 + 30) + 60 + (30*30 + 30) + 60 + gate (30 + 30) + 128*30 + 60.
    model = MRCNN()
    assert n_parameters(model.narrow_branch) == 200_448
    assert n_parameters(model.wide_branch) == 198_272
    assert n_parameters(model.recalibration) == 8_880
    assert n_parameters(model) == 407_600
    assert n_parameters(StageClassifier()) == 407_600 + 12_005


@pytest.mark.parametrize(
    ("n_times", "wide_kernel", "n_out"), [(3000, 7, 80), (3750, 7, 99), (3750, 6, 100)]
)
def test_output_shape(n_times: int, wide_kernel: int, n_out: int) -> None:
    model = MRCNN(wide_kernel=wide_kernel)
    assert model(torch.randn(2, 1, n_times)).shape == (2, 30, n_out)


@pytest.mark.parametrize(
    ("branch", "lengths"),
    [
        ("narrow_branch", [500, 251, 251, 252, 253, 64]),
        ("wide_branch", [61, 31, 31, 31, 31, 16]),
    ],
)
def test_length_after_each_layer(branch: str, lengths: list[int]) -> None:
    x, found = torch.randn(1, 1, 3000), []
    for layer in getattr(MRCNN(), branch):
        x = layer(x)
        found.append(x.shape[2])
    assert found == lengths


def test_several_channels_are_input_planes() -> None:
    assert MRCNN(n_channels=3)(torch.randn(2, 3, 3000)).shape == (2, 30, 80)
    assert n_parameters(MRCNN(n_channels=3)) == 407_600 + 2 * 64 * (50 + 400)


def test_initialisation_as_attnsleep() -> None:
    torch.manual_seed(0)
    modules = list(MRCNN().modules())
    convolutions = [module for module in modules if isinstance(module, nn.Conv1d)]
    norms = [module for module in modules if isinstance(module, nn.BatchNorm1d)]
    assert (len(convolutions), len(norms)) == (9, 9)
    weights = torch.cat([module.weight.flatten() for module in convolutions])
    assert weights.std().item() == pytest.approx(0.02, rel=0.02)
    assert weights.mean().item() == pytest.approx(0.0, abs=2e-4)
    scales = torch.cat([module.weight for module in norms])
    assert scales.std().item() == pytest.approx(0.02, rel=0.2)
    assert scales.mean().item() == pytest.approx(1.0, abs=5e-3)
    assert all(not module.bias.any() for module in norms)


def test_only_two_convolutions_carry_a_bias() -> None:
    biased = [m for m in MRCNN().modules() if isinstance(m, nn.Conv1d) and m.bias is not None]
    assert [(m.in_channels, m.out_channels) for m in biased] == [(128, 30), (30, 30)]


def test_gelu_is_the_exact_one() -> None:
    gelus = [module for module in MRCNN().modules() if isinstance(module, nn.GELU)]
    assert [module.approximate for module in gelus] == ["none"] * 6


def test_recalibration_is_the_block_of_the_paper() -> None:
    """A second writing of the block, from its definition in the supplement of AttnSleep."""
    block = MRCNN().eval().recalibration
    state: dict[str, torch.Tensor] = dict(block.state_dict())
    x = torch.randn(2, 128, 7)

    def bn(name: str, value: torch.Tensor) -> torch.Tensor:
        mean, variance = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        value = (value - mean[:, None]) / torch.sqrt(variance[:, None] + 1e-5)
        return value * state[f"{name}.weight"][:, None] + state[f"{name}.bias"][:, None]

    def conv(name: str, value: torch.Tensor) -> torch.Tensor:
        bias = state.get(f"{name}.bias", torch.zeros(30))
        return torch.einsum("oi,bit->bot", state[f"{name}.weight"][:, :, 0], value) + bias[:, None]

    out = torch.clamp(bn("transform.1", conv("transform.0", x)), min=0)
    out = bn("transform.4", conv("transform.3", out))
    squeezed = torch.clamp(out.mean(2) @ state["gate.0.weight"].T, min=0)
    gate = torch.sigmoid(squeezed @ state["gate.2.weight"].T)
    expected = torch.clamp(out * gate[:, :, None] + bn("shortcut.1", conv("shortcut.0", x)), min=0)
    torch.testing.assert_close(block(x), expected)


def test_feature_layers() -> None:
    model = StageClassifier().eval()
    x = torch.randn(2, 1, 3000)
    with torch.no_grad():
        afr, branches = model.encoder(x), model.encoder.branches(x)
        features = {layer: model.features(x, layer) for layer in FEATURE_LAYERS}
    assert branches.shape == (2, 128, 80)
    torch.testing.assert_close(features["afr_gap"], afr.mean(2))
    torch.testing.assert_close(features["afr_flat"], afr.reshape(2, 2400))
    torch.testing.assert_close(features["concat_gap"], branches.mean(2))
    # The head reads exactly the flattened features.
    torch.testing.assert_close(model.head(features["afr_flat"]), model(x))


def test_unknown_layer_is_refused() -> None:
    with pytest.raises(SettingsError, match="'conv5'; allowed: afr_gap, afr_flat, concat_gap"):
        StageClassifier(n_times=600).features(torch.zeros(1, 1, 600), "conv5")


def test_dry_run_leaves_statistics_and_mode_alone() -> None:
    model = StageClassifier(n_times=600)
    assert all(module.training for module in model.modules())
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm1d)]
    assert all(module.num_batches_tracked == 0 for module in norms)
    assert model(torch.randn(2, 1, 600)).shape == (2, 5)
