from typing import Any

from search_spaces.sleepmg import DEFAULTS, SECTIONS, SPACE
from search_spaces.space import Choice, LogUniform, Uniform
from trainables.settings import SleepMGSettings


def test_space_holds_the_values_of_the_works_it_builds_on() -> None:
    published: dict[str, tuple[Any, ...]] = {
        "alpha_f": (0.1, 0.8),  # OGM-GE
        "alpha_y": (0.1, 0.8),
        "alpha_d": (0.1, 0.8),
        "grl_weight": (0.001, 0.01, 1),  # MSTGCN 2021 and 2025, DANN
        "learning_rate": (1e-4, 2e-4, 1e-3),  # MSTGCN, JK-STGCN, SleepDG
        "dropout": (0.5,),  # FeatureNet
        "ratio": ("mean_pairwise", "mean_others"),
        "schedule": ("constant", "dann"),  # MSTGCN, DANN
        "apply_to": ("gradient",),  # OGM-GE
    }
    assert published.keys() == SPACE.keys()
    assert all(
        SPACE[name].contains(value) for name, values in published.items() for value in values
    )
    assert SPACE["alpha_y"] == Uniform(0, 1)
    assert SPACE["grl_weight"] == LogUniform(1e-3, 1)
    assert SPACE["apply_to"] == Choice(("gradient", "update"))


def test_every_parameter_is_a_setting_of_its_section_and_its_default_lies_in_the_space() -> None:
    assert SECTIONS.keys() == DEFAULTS.keys() == SPACE.keys()
    settings = SleepMGSettings()
    for name, space in SPACE.items():
        assert DEFAULTS[name] == getattr(getattr(settings, SECTIONS[name]), name)
        assert space.contains(DEFAULTS[name])
    assert DEFAULTS["grl_weight"] == 0.01
