from search_spaces.pretrain import DEFAULTS, SECTIONS, SPACE
from search_spaces.space import Integer, LogUniform
from trainables.settings import EncoderSettings, PretrainSettings


def test_space_holds_the_values_of_the_works_it_builds_on() -> None:
    published = {
        "learning_rate": (1e-3, 1e-4),  # AttnSleep, TinySleepNet
        "weight_decay": (1e-3,),  # AttnSleep, TinySleepNet
        "dropout": (0.5,),  # AttnSleep, DeepSleepNet
        "batch_size": (128, 100),  # AttnSleep, DeepSleepNet
    }
    assert published.keys() == SPACE.keys()
    assert all(
        SPACE[name].contains(value) for name, values in published.items() for value in values
    )
    assert SPACE["learning_rate"] == LogUniform(1e-5, 1e-2)
    assert isinstance(SPACE["batch_size"], Integer)


def test_every_parameter_is_a_setting_of_its_section_and_its_default_lies_in_the_space() -> None:
    assert SECTIONS.keys() == DEFAULTS.keys() == SPACE.keys()
    own = {"encoder": EncoderSettings(), "pretrain": PretrainSettings()}
    for name, space in SPACE.items():
        assert DEFAULTS[name] == getattr(own[SECTIONS[name]], name)
        assert space.contains(DEFAULTS[name])


def test_settings_allow_both_ends_of_every_range() -> None:
    for limit in ("low", "high"):
        values = {name: getattr(space, limit) for name, space in SPACE.items()}
        EncoderSettings(dropout=values.pop("dropout"))
        PretrainSettings(**values)
