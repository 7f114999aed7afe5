import pytest

from trainables.stages import ANNOTATION_STAGES, STAGE_NAMES, UNSCORED, Stage


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # Rechtschaffen & Kales, as in Sleep-EDF
        ("Sleep stage W", 0),
        ("Sleep stage 1", 1),
        ("Sleep stage 2", 2),
        ("Sleep stage 3", 3),
        ("Sleep stage 4", 3),
        ("Sleep stage R", 4),
        ("Sleep stage ?", -1),
        ("Movement time", -1),
        # AASM
        ("Sleep stage N1", 1),
        ("Sleep stage N2", 2),
        ("Sleep stage N3", 3),
    ],
)
def test_annotation_text_means_stage(text: str, value: int) -> None:
    assert ANNOTATION_STAGES[text] == value


def test_no_other_text_is_a_stage() -> None:
    assert len(ANNOTATION_STAGES) == 11
    assert "Sleep stage" not in ANNOTATION_STAGES


def test_stages_are_indices_in_order_of_the_names() -> None:
    assert STAGE_NAMES == ("W", "N1", "N2", "N3", "REM")
    assert [Stage[name] for name in STAGE_NAMES] == [0, 1, 2, 3, 4]
    assert UNSCORED not in set(Stage)
