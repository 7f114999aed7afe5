from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from trainables.errors import SettingsError
from trainables.models.featurenet import (
    MIN_TIMES,
    FeatureExtractor,
    FeatureNet,
    ModalityExtractor,
    n_features,
)


@pytest.fixture(autouse=True)
def deterministic() -> Iterator[None]:
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(0)
    yield
    torch.use_deterministic_algorithms(before)


def n_parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def textbook(extractor: FeatureExtractor, x: Tensor) -> Tensor:
    """The layer table of MSTGCN's repository in one dimension, ReLU before pooling, with the extractor's weights."""
    weights: Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]] = iter(
        zip(
            (m for m in extractor.modules() if isinstance(m, nn.Conv2d)),
            (m for m in extractor.modules() if isinstance(m, nn.BatchNorm2d)),
            strict=True,
        )
    )

    def layer(x: Tensor, stride: int, left: int, right: int) -> Tensor:
        conv, norm = next(weights)
        x = functional.pad(x, (left, right))
        x = functional.conv1d(x, conv.weight.squeeze(2), conv.bias, stride=stride)
        mean, var = norm.running_mean, norm.running_var
        return torch.relu(
            functional.batch_norm(x, mean, var, norm.weight, norm.bias, norm.training)
        )

    narrow = functional.max_pool1d(layer(x, 6, 0, 0), 16, 16)
    for _ in range(3):
        narrow = layer(narrow, 1, 3, 4)
    narrow = functional.max_pool1d(narrow, 8, 8)
    wide = functional.max_pool1d(layer(x, 50, 0, 0), 8, 8)
    for _ in range(3):
        wide = layer(wide, 1, 2, 3)
    wide = functional.max_pool1d(wide, 4, 4)
    return torch.cat((narrow.flatten(1), wide.flatten(1)), dim=1)


@pytest.mark.heavy
def test_parameter_counts() -> None:
    extractor = FeatureExtractor()
    assert n_parameters(extractor.narrow_branch) == 84_192
    assert n_parameters(extractor.wide_branch) == 100_096
    assert n_parameters(extractor) == 184_288
    assert n_parameters(FeatureNet().head) == 164_229
    assert n_parameters(FeatureNet()) == 184_288 + 164_229 == 348_517
    assert n_parameters(FeatureNet(n_channels=26).head) == 426_373
    assert n_parameters(FeatureExtractor(n_planes=6)) == 184_288 + 5 * (32 * 50 + 64 * 400)


@pytest.mark.parametrize(
    ("branch", "lengths"), [("narrow_branch", [492, 30, 3]), ("wide_branch", [53, 6, 1])]
)
def test_length_after_each_layer(branch: str, lengths: list[int]) -> None:
    found = []

    def note(_: nn.Module, __: object, y: Tensor) -> None:
        found.append(y.shape[3])

    layers = getattr(FeatureExtractor(), branch)
    for module in layers.modules():
        if isinstance(module, nn.Conv2d | nn.MaxPool2d):
            module.register_forward_hook(note)
    layers(torch.randn(2, 1, 1, 3000))
    first, pooled, last = lengths
    assert found == [first, pooled, pooled, pooled, pooled, last]


@pytest.mark.parametrize(
    ("n_times", "width"),
    [(3000, 256), (3750, 384), (3840, 384), (6000, 640), (7680, 832), (MIN_TIMES, 192)],
)
def test_features_at_other_lengths(n_times: int, width: int) -> None:
    extractor = FeatureExtractor().eval()
    assert n_features(extractor, n_times) == width
    assert extractor(torch.zeros(1, 1, n_times)).shape == (1, width)
    assert not extractor.training  # as it was


def test_shortest_epoch_is_the_shortest_that_the_layers_accept() -> None:
    extractor = FeatureExtractor().eval()
    with pytest.raises(RuntimeError):
        extractor(torch.zeros(1, 1, MIN_TIMES - 1))
    with pytest.raises(
        SettingsError, match=f"{MIN_TIMES - 1} times; allowed: at least {MIN_TIMES}"
    ):
        n_features(extractor, MIN_TIMES - 1)


def test_dry_run_leaves_statistics_mode_and_random_numbers_alone() -> None:
    torch.manual_seed(3)
    extractor = FeatureExtractor()
    expected = torch.get_rng_state()
    n_features(extractor, 3000)
    assert torch.equal(torch.get_rng_state(), expected)
    assert all(module.training for module in extractor.modules())
    norms = [module for module in extractor.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 8
    assert all(module.num_batches_tracked == 0 for module in norms)


@pytest.mark.parametrize(
    ("branch", "by_hand"),
    [
        ("narrow_branch", [10, 15, 21, 28, 36, 44, 52, 60, 56, 51, 45, 38]),  # of i - 3 ... i + 4
        ("wide_branch", [6, 10, 15, 21, 27, 33, 39, 45, 51, 45, 38, 30]),  # of i - 2 ... i + 3
    ],
)
def test_same_padding_of_an_even_kernel_is_one_more_on_the_right(
    branch: str, by_hand: list[int]
) -> None:
    """With a kernel of ones, each output is the sum of the numbers 0 to 11 in its window."""
    pad, convolution = getattr(FeatureExtractor(), branch)[3][:2]
    with torch.no_grad():
        convolution.weight.zero_()
        convolution.bias.zero_()
        convolution.weight[0, 0] = 1.0
        x = torch.zeros(1, 64, 1, 12)
        x[0, 0, 0] = torch.arange(12.0)
        assert convolution(pad(x))[0, 0, 0].tolist() == by_hand


@pytest.mark.heavy
@pytest.mark.parametrize("n_planes", [1, 3])
@pytest.mark.parametrize("training", [True, False])
def test_values_and_gradients_are_those_of_the_layer_table(n_planes: int, training: bool) -> None:
    extractor = FeatureExtractor(n_planes, dropout=0.0).double().train(training)
    for module in extractor.modules():  # statistics and scales that are not all alike
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 0.0, 1.0)  # negative ones, too: max-pool feels the sign
            nn.init.normal_(module.bias)
            assert module.running_mean is not None
            nn.init.normal_(module.running_mean)
    x = torch.randn(4, n_planes, 3000, dtype=torch.float64)
    expected = textbook(extractor, x)
    cotangent = torch.randn_like(expected)
    parameters = list(extractor.parameters())
    expected_gradients = torch.autograd.grad((expected * cotangent).sum(), parameters)
    features = extractor(x)
    torch.testing.assert_close(features, expected)
    gradients = torch.autograd.grad((features * cotangent).sum(), parameters)
    for gradient, expected_gradient in zip(gradients, expected_gradients, strict=True):
        torch.testing.assert_close(gradient, expected_gradient)


def test_filters_of_one_time_lie_side_by_side() -> None:
    """The fast layout holds through to the end of the branch, also from a single plane."""
    x = torch.randn(2, 1, 3000)
    extractor = FeatureExtractor()
    layouts = []

    def note(_: nn.Module, __: object, y: Tensor) -> None:
        layouts.append(y.stride(1) == 1)

    for module in extractor.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d):
            module.register_forward_hook(note)
    extractor(x)
    assert layouts == [True] * 16


def test_dropout_is_between_the_first_pooling_and_the_second_convolution() -> None:
    for branch in (FeatureExtractor(dropout=0.3).narrow_branch, FeatureExtractor().wide_branch):
        assert [type(layer).__name__ for layer in branch] == [
            "Sequential",
            "Dropout",
            *["Sequential"] * 3,
        ]
    assert FeatureExtractor(dropout=0.3).narrow_branch[1].p == 0.3
    x = torch.randn(2, 1, 3000)
    none, half = FeatureExtractor(dropout=0.0), FeatureExtractor(dropout=0.5)
    assert torch.equal(none(x), none(x))
    assert not torch.equal(half(x), half(x))


def test_channels_share_one_extractor() -> None:
    model = ModalityExtractor(4).eval()
    x = torch.randn(3, 4, 3000)
    features = model(x)
    assert (model.width, features.shape) == (1024, (3, 1024))
    assert n_parameters(model) == 184_288
    looped = [model.extractor(x[:, channel : channel + 1]) for channel in range(4)]
    torch.testing.assert_close(features, torch.cat(looped, dim=1))


def test_channels_as_planes_are_seen_together() -> None:
    model = ModalityExtractor(4, channels="planes").eval()
    x = torch.randn(3, 4, 3000)
    assert (model.width, model(x).shape) == (256, (3, 256))
    torch.testing.assert_close(model(x), model.extractor(x))


def test_batch_norm_of_shared_channels_is_over_all_of_them() -> None:
    model = ModalityExtractor(2)
    x = torch.randn(3, 2, 3000)
    model(x)
    _, convolution, norm, *_ = model.extractor.narrow_branch[0].children()
    y = convolution(x.reshape(6, 1, 1, 3000))
    torch.testing.assert_close(norm.running_mean, 0.1 * y.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * y.var(dim=(0, 2, 3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_channels": 0}, "n_channels is 0; allowed: at least 1"),
        ({"n_channels": 2, "channels": "stacked"}, "'stacked'; allowed: shared, planes"),
        ({"n_channels": 2, "n_times": 1000}, "1000 times; allowed: at least 1950"),
    ],
)
def test_what_cannot_be_built_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        ModalityExtractor(**arguments)


def test_feature_net() -> None:
    model = FeatureNet().eval()
    x = torch.randn(2, 10, 3000)
    features = model.extract(x)
    assert (features.shape, model(x).shape) == ((2, 10, 256), (2, 5))
    torch.testing.assert_close(features[:, 7], model.extractor.extractor(x[:, 7:8]))
    torch.testing.assert_close(model.head(features.flatten(1)), model(x))
    assert [type(layer) for layer in model.head] == [nn.Dropout, nn.Linear, nn.Linear]
    assert FeatureNet(n_channels=3, n_classes=4, n_times=6000).eval()(
        torch.randn(2, 3, 6000)
    ).shape == (2, 4)


def test_every_weight_of_feature_net_learns() -> None:
    model = FeatureNet(n_channels=2, dropout=0.0)
    torch.autograd.backward(
        functional.cross_entropy(model(torch.randn(8, 2, 3000)), torch.arange(8) % 5)
    )
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        # A bias before batch-norm has no influence; what is left of its gradient is rounding.
        assert ".1.bias" in name or parameter.grad.any(), name


def test_no_epochs_give_no_features_and_no_gradient() -> None:
    model = ModalityExtractor(2).eval()
    features = model(torch.zeros(0, 2, 3000))
    assert features.shape == (0, 512)
    torch.autograd.backward(features.sum())
    assert not any(p.grad is not None and p.grad.any() for p in model.parameters())
