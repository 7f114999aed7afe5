"""The card says all that one has to know before using a model: above all, what it cannot do."""

import json
from typing import TYPE_CHECKING, Any

import pytest

from orchestrator.models.card import model_card
from orchestrator.models.record import WeightsFile

if TYPE_CHECKING:
    from tests.orchestrator.models.conftest import MakeRecord

TEST = {"split": "target test", "subjects": ["b"], "dataset": "other", "macro_f1": 0.61237}


def files(**different: list[Any]) -> tuple[WeightsFile, ...]:
    """Files of weights that differ in seed, fold or subject."""
    ((key, values),) = different.items()
    return tuple(
        WeightsFile(
            **{
                "file": f"{key}-{value}.safetensors",
                "sha256": str(i) * 64,
                "seed": 1,
                "fold": None,
                "subject": None,
                key: value,
            }
        )
        for i, value in enumerate(values)
    )


@pytest.fixture
def card(make_record: "MakeRecord") -> Any:
    """From what differs in a record, and names of ONNX files, to the text of its card."""

    def text(onnx: dict[str, str] | None = None, **given: Any) -> str:
        return model_card(make_record(**given), onnx).decode()

    return text


def section(text: str, title: str) -> str:
    return text.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_names_of_data_licence_and_subjects(card: Any) -> None:
    text = section(card(), "What it learned from")
    assert "- Data set: St. Vincent's \\| UCD (`ucddb`)" in text  # the bar would end a cell
    assert "<https://physionet.org/content/ucddb/1.0.0/>" in text
    assert "- Licence: ODC-By 1.0" in text
    assert "2 subjects (ucddb002, ucddb003)" in text


def test_of_many_subjects_some_are_named_and_all_counted(card: Any) -> None:
    training = {"dataset": "d", "subjects": [f"s{i:02d}" for i in range(40)]}
    text = section(card(training=training), "What it learned from")
    assert "40 subjects (s00, " in text
    assert "s11 and 28 more (model.json))" in text
    assert (
        "Licence: not recorded. Ask who has the data." in text
    )  # nor is there a title or an address
    assert "None" not in text


def test_who_else_had_a_part(card: Any) -> None:
    about = {
        "adapted_to": {"dataset": "other", "subjects": ["b"]},
        "early_stop_subjects": ["c", "d"],
    }
    text = section(card(about=about), "What it learned from")
    assert "Adapted to `other` by the signals, without stages, of 1 subject (b)" in text
    assert "The training ended by the stages of 2 subjects (c, d)" in text


def test_channels_in_order_with_bands_and_scaling(card: Any) -> None:
    text = section(card(modalities=("eeg", "emg")), "What it needs of a recording")
    assert text.index("| eeg | EEG C3-M2 or C3A2 | 0.3 to 35 |") < text.index(
        "| emg | EMG chin | 10 to 45 |"
    )
    assert "30 s at 100 Hz, 3000 values" in text
    assert "interquartile range / 1.349" in text
    assert "clipped at ±20." in text


def test_microvolts_are_neither_scaled_nor_clipped(card: Any) -> None:
    text = card(scale="microvolts", onnx={"seed-1.onnx": "0" * 64})
    assert "Signals are in microvolts, not clipped." in text
    assert "np.clip" not in text
    assert "Median and spread" not in text


def test_a_model_that_does_not_know_its_channels(card: Any) -> None:
    text = card(preprocessing={}, modalities=("eeg", "eog"), onnx={"seed-1.onnx": "0" * 64})
    assert "The names of channels and the filters are not recorded." in text
    assert '"eeg": np.load("eeg.npy"), "eog": np.load("eog.npy")' in text
    assert "import mne" not in text


def test_tau_in_every_reading(card: Any) -> None:
    tau = {"tau_quantile": 0.25, "tau_absolute": 1.23456, "tau_budget": 12, "n_selectable": None}
    text = section(card(about={"tau": tau}), "Tau")
    assert "| `tau_quantile` | 0.25 | share of the source batches that was dropped" in text
    assert "| `tau_absolute` | 1.235 | batches with R above it" in text
    assert "| `tau_budget` | 12 |" in text
    assert "| `n_selectable` | — |" in text
    assert "## Tau" not in card()


def test_each_metric_with_its_split_and_subjects(card: Any) -> None:
    metrics = (
        {"split": "objective", "what": "source_val_kappa", "value": 0.5, "subjects": ["a", "c"]},
        {**TEST, "transductive": False, "accuracy": None},
        {"split": "early stop", "macro_f1": 0.7},
    )
    text = section(card(metrics=metrics), "How good it is")
    assert "| objective | source_val_kappa 0.5 | 2 subjects (a, c) | the sweep chose" in text
    assert "| target test | macro-F1 0.6124, accuracy — | 1 subject (b) of `other` | read" in text
    assert "| early stop | macro-F1 0.7 | — | it ended the training, so that it flatters |" in text
    assert "transductive" not in text


def test_what_folds_were_worth_does_not_read_as_the_worth_of_a_network_of_all(card: Any) -> None:
    of_folds = {"split": "fold test", "subjects": ["b"], "macro_f1": 0.5}
    said = "each subject staged by networks that learned from others"
    worth = section(card(metrics=(of_folds,)), "How good it is")
    assert f"| {said} |" in worth
    worth = section(card(metrics=(of_folds,), about={"refit": {}}), "How good it is")
    assert f"| {said}; by those of the folds, and not by this model |" in worth


def test_no_metric_is_said(card: Any) -> None:
    assert "Not measured" in section(card(), "How good it is")


def test_limits_of_every_model(card: Any) -> None:
    text = card()
    assert text.index("**Not a medical device.**") < text.index("## ")
    limits = section(text, "Limits")
    assert "It is not a medical device" in limits
    assert "One cohort: it learned from 2 of the subjects of one data set, `ucddb`." in limits
    assert "Only with the channels above" in limits
    assert "Median and spread are of whole recordings" in limits


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        ({"stages": ("W", "N1", "N2", "REM")}, "It cannot say N3: every epoch of N3"),
        ({"metrics": ({**TEST, "transductive": True},)}, "Its test is transductive"),
        ({"metrics": ({"split": "early stop", "macro_f1": 0.7},)}, "Nobody judged it by stages"),
        ({"files": files(fold=[1, 2])}, "was judged on nobody: some learned from each"),
        (
            {"files": files(seed=[1]), "about": {"refit": {}}},
            "of the folds; this one was trained on all subjects, and nobody is left to judge it.",
        ),
        (
            {"files": files(seed=[1, 2]), "about": {"refit": {}}},
            "of the folds; these were trained on all subjects, and nobody is left to judge them.",
        ),
        ({"files": files(seed=[1, 2])}, "the mean of their probabilities was not judged"),
        ({"files": files(subject=["b", "c"])}, "Each network was adapted to the subject"),
        (
            {"modalities": ("eeg", "eog"), "onnx": {"seed-1.onnx": "0" * 64}},
            "As ONNX it needs all of eeg, eog in every epoch",
        ),
    ],
)
def test_limits_where_they_hold(card: Any, given: dict[str, Any], limit: str) -> None:
    assert limit in section(card(**given), "Limits")
    assert limit not in section(card(metrics=(TEST,)), "Limits")


def test_a_stage_that_it_cannot_say_is_named_at_the_top_too(card: Any) -> None:
    text = card(stages=("W", "N2"))
    assert "the probability of W and N2." in text
    said = section(text, "What it can say")
    assert [stage for stage in ("W", "N1", "N2", "N3", "REM") if f"never says {stage}" in said] == [
        "N1",
        "N3",
        "REM",
    ]


def test_of_several_networks_the_mean_and_every_file(card: Any) -> None:
    onnx = {"seed-1.onnx": "a" * 64, "seed-2.onnx": "b" * 64}
    text = card(files=files(seed=[1, 2]), network="sleepmg", onnx=onnx)
    assert "The mean of 2 networks (SleepMG)" in text
    assert 'files = ["seed-1.onnx", "seed-2.onnx"]' in text
    table = section(text, "Files")
    assert f"| seed-2.safetensors | 2 | — | — | `{'1' * 64}` |" in table
    assert f"| seed-2.onnx | 2 | — | — | `{'b' * 64}` |" in table


def test_settings_are_json(card: Any) -> None:
    about = {"tau": {"tau_budget": 1}, "learning_rate": 1e-4, "signature": "é"}
    block = card(about=about).partition("```json\n")[2].partition("```")[0]
    assert json.loads(block) == {"learning_rate": 1e-4, "signature": "é"}


def test_without_onnx_files_the_program_itself_is_called(card: Any) -> None:
    text = section(card(), "How to call it")
    assert "orchestrator predict . RECORDING.edf" in text
    assert "load_model(" in text
    assert "onnxruntime" not in text


def test_a_title_cannot_start_a_section_of_its_own(card: Any) -> None:
    training = {"dataset": "d", "title": "good\n\n## Limits\n\n- none", "subjects": ["a"]}
    assert card(training=training).count("\n## Limits\n") == 1


def test_equal_records_give_equal_bytes(make_record: "MakeRecord") -> None:
    about = {"b": 1, "a": {"y": 2, "x": 3}}
    turned = {"a": {"x": 3, "y": 2}, "b": 1}
    assert model_card(make_record(about=about)) == model_card(make_record(about=turned))
