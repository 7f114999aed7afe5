from dataclasses import fields

from search_spaces.selective import DEFAULTS, ENQUEUED_TAU_QUANTILES, SPACE, TAU_READINGS
from search_spaces.space import Integer, LogUniform, Uniform
from trainables.settings import FinetuneSettings


def test_space_is_the_published_one() -> None:
    assert {
        "tau_quantile": Uniform(0, 0.95),
        "tau_budget": Integer(1, 100_000),
        "tau_absolute": LogUniform(1e-9, 1e9),
        "learning_rate": LogUniform(1e-5, 1e-2),
        "n_steps": Integer(1, 100_000),
    } == SPACE
    assert DEFAULTS == {"tau_quantile": 0.5, "learning_rate": 1e-4}
    assert ENQUEUED_TAU_QUANTILES == (0, 0.25, 0.5, 0.75, 0.9)


def test_every_default_and_enqueued_value_lies_in_the_space() -> None:
    assert SPACE.keys() - DEFAULTS.keys() == {
        "tau_budget",
        "tau_absolute",  # readings of the same tau
        "n_steps",  # in every sweep file
    }
    assert all(SPACE[name].contains(value) for name, value in DEFAULTS.items())
    assert all(SPACE["tau_quantile"].contains(value) for value in ENQUEUED_TAU_QUANTILES)


def test_every_parameter_but_the_cut_is_a_setting_of_finetuning() -> None:
    settings = {field.name for field in fields(FinetuneSettings)}
    assert SPACE.keys() - set(TAU_READINGS) <= settings
