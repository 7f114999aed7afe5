"""The table of control arms: what each is finetuned on."""

import numpy as np
from numpy.typing import NDArray

from orchestrator.methods.selective.config.arms import ARMS, DEFAULT, Batches


def chosen(name: str, n: int = 98, n_half: int = 49, seed: int = 1) -> NDArray[np.intp]:
    choose = ARMS[name].choose
    assert choose is not None
    return choose(Batches(reward_S=np.ones(n), n_half=n_half, seed=seed))


def test_the_default_arms_in_their_order() -> None:
    assert DEFAULT == ("no_adapt", "all_source", "random")


def test_the_random_arm_is_seeded() -> None:
    assert len(chosen("random")) == 49
    assert chosen("random", seed=1).tolist() != chosen("random", seed=2).tolist()


def test_the_random_arm_favours_no_batch() -> None:
    counts = np.zeros(10)
    for seed in range(400):
        counts[chosen("random", 10, 5, seed)] += 1
    assert counts.min() > 150  # 200 expected, standard deviation 10
    assert counts.max() < 250
