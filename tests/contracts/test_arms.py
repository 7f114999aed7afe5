"""Every arm of a selective sweep, by being listed."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from orchestrator.alignment.selection import select_quantile
from orchestrator.config.sweep import load_sweep
from orchestrator.errors import ConfigError
from orchestrator.methods.selective.config.arms import ARMS, NO_ADAPT, Batches
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from tests.orchestrator.config.sweep_files import SELECTIVE

REWARDS = np.random.default_rng(0).permutation(np.linspace(0.1, 9, 98))

finetuned = pytest.mark.parametrize(
    "name", [name for name, arm in ARMS.items() if arm.is_finetuned]
)
every_arm = pytest.mark.parametrize("name", ARMS)


def chosen(name: str, reward_S: NDArray[np.float64] = REWARDS, seed: int = 1) -> NDArray[np.intp]:
    choose = ARMS[name].choose
    assert choose is not None
    n_half = -(-len(reward_S) // 2)
    return choose(Batches(reward_S=reward_S, n_half=n_half, seed=seed))


def load(tmp_path: Path, arms: str) -> SelectiveSweep:
    path = tmp_path / "probe.yaml"
    path.write_text(f"{SELECTIVE}arms: [{arms}]\n", encoding="utf-8")
    sweep = load_sweep(path)
    assert isinstance(sweep, SelectiveSweep)
    return sweep


@every_arm
def test_a_sweep_file_can_ask_for_it_and_only_for_those_listed(name: str, tmp_path: Path) -> None:
    assert load(tmp_path, name).arms == (name,)
    with pytest.raises(ConfigError, match=f"Did you mean '{name}'") as refused:
        load(tmp_path, f"{name}x")
    assert all(other in str(refused.value) for other in ARMS)


@finetuned
def test_it_is_finetuned_on_batches_that_there_are_each_once_and_again_the_same(name: str) -> None:
    kept = chosen(name)
    assert 0 < len(kept) <= len(REWARDS)
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert set(kept.tolist()) <= set(range(len(REWARDS)))
    assert kept.tolist() == chosen(name).tolist()


@finetuned
@pytest.mark.parametrize(
    "reward_S", [np.array([2.0]), np.array([1.0, 1.0, 1.0]), np.array([np.inf, 1.0])]
)
def test_it_has_something_to_train_on_however_few_batches_there_are(
    name: str, reward_S: NDArray[np.float64]
) -> None:
    assert len(chosen(name, reward_S)) > 0


@every_arm
def test_page_and_figure_have_words_and_a_line_for_it(name: str) -> None:
    arm = ARMS[name]
    assert arm.title
    assert arm.what
    Line2D([0], [0], linestyle=arm.line)  # raises for one that Matplotlib does not know


def test_lines_can_be_told_apart() -> None:
    lines = [arm.line for arm in ARMS.values()]
    assert len(set(lines)) == len(lines)


def test_the_lowest_rewards_are_those_that_a_tau_drops() -> None:
    kept = chosen("lowest")
    assert len(kept) == len(chosen("random"))
    dropped = np.setdiff1d(np.arange(len(REWARDS)), select_quantile(REWARDS, 0.5).kept)
    assert kept.tolist() == dropped.tolist()  # 98 batches, no two alike


def test_the_pretrained_model_is_always_among_them() -> None:
    assert NO_ADAPT in ARMS
    assert not ARMS[NO_ADAPT].is_finetuned
