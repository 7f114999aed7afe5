"""What differs between two sweep files, and what of it a begun sweep can take up."""

from pathlib import Path

import pytest

from orchestrator.config.changes import differences, why_not
from orchestrator.config.sweep import load_sweep
from orchestrator.config.sweep_sections import SweepBase
from tests.orchestrator.config.sweep_files import SELECTIVE, SLEEPMG

FLAT = """\
name: probe
method: selective
source: {dataset: home, validation: [s1, s2]}
target: {dataset: clinic}
search: {n_trials: 12, n_steps: 30}
seed: 1
"""


def read(folder: Path, text: str, *changes: tuple[str, str]) -> SweepBase:
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    path = folder / "probe.yaml"
    path.write_text(text, encoding="utf-8")
    return load_sweep(path)


def texts(before: SweepBase, after: SweepBase) -> list[str]:
    return [str(difference) for difference in differences(before, after)]


def test_they_names_each_changed_key_with_both_values(tmp_path: Path) -> None:
    changed = read(
        tmp_path,
        SELECTIVE,
        ("n_trials: 12", "n_trials: 24"),
        ("[s1, s2]", "[s1, s3]"),
        ("dropout: 0.25", "dropout: 0.5"),
        ("[0.25, 0.75]", "[0.25, 0.95]"),
    )
    assert texts(read(tmp_path, SELECTIVE), changed) == [
        "source.validation: s1, s2 -> s1, s3",
        "encoder.dropout: 0.25 -> 0.5",
        "search.n_trials: 12 -> 24",
        "search.space.tau_quantile.uniform: 0.25, 0.75 -> 0.25, 0.95",
        "search.enqueue_taus: 0.25, 0.5, 0.75 -> 0.25, 0.5, 0.75, 0.9",
    ]


def test_they_names_rows_by_name_and_keys_that_come_or_go(tmp_path: Path) -> None:
    changed = read(
        tmp_path,
        SLEEPMG,
        ("name: probe", "name: probe\nfolds: {kind: k_fold, n_folds: 3}"),
        ("    alpha_y: {", "    alpha_d: {"),
        ("{alpha_y: 0.5}", "{alpha_d: 0.5}"),
        ("    ours: a reading\n", ""),
        ("mod_y: false, ", "mod_f: true, mod_y: true, "),
        ("name: SleepMG", "name: Others"),
    )
    assert texts(read(tmp_path, SLEEPMG), changed) == [
        "folds.kind: leave_one_subject_out -> k_fold",
        "folds.n_folds: absent -> 3",
        "search.space.alpha_d.extend: absent -> false",
        "search.space.alpha_d.uniform: absent -> 0.0, 0.5",
        "search.enqueue: {alpha_y: 0.5} -> {alpha_d: 0.5}",
        "rows: NaiveMG, SleepMG -> NaiveMG, Others",
        "rows.NaiveMG.modulation.mod_f: absent -> true",
        "rows.NaiveMG.modulation.mod_y: false -> true",
        "search.space.alpha_y.extend: false -> absent",
        "search.space.alpha_y.uniform: 0.0, 0.5 -> absent",
        "rows.NaiveMG.ours: a reading -> absent",
    ]


def test_they_sees_the_order_of_rows_and_another_method(tmp_path: Path) -> None:
    first = "  - name: SleepMG\n"
    turned = read(tmp_path, SLEEPMG.replace(first, "").replace("rows:\n", f"rows:\n{first}"))
    sweep = read(tmp_path, SLEEPMG)
    assert texts(sweep, turned) == ["rows: NaiveMG, SleepMG -> SleepMG, NaiveMG"]
    assert "method: sleepmg -> selective" in texts(sweep, read(tmp_path, SELECTIVE))


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("n_trials: 12", "n_trials: 24", "search.n_trials: 12 -> 24"),
        ("n_trials: 12", "n_trials: 12, max_concurrent: 1", "search.max_concurrent: 2 -> 1"),
        ("n_trials: 12", "n_trials: 12, max_hours: 1", "search.max_hours: absent -> 1.0"),
        ("n_trials: 12", "n_trials: 12, max_gpu_hours: 1", "search.max_gpu_hours: absent -> 1.0"),
        ("n_trials: 12", "n_trials: 12, max_usd: 1", "search.max_usd: absent -> 1.0"),
        ("n_trials: 12", "n_trials: 12, plateau: 9", "search.plateau: absent -> 9"),
        ("n_trials: 12", "n_trials: 12, failure_quota: 0.9", "search.failure_quota: 0.5 -> 0.9"),
        ("seed: 1", "cpus_per_worker: 2", "cpus_per_worker: 1.0 -> 2.0"),
        ("seed: 1", "notify: {url: 'https://example.org'}", "notify"),
    ],
)
def test_a_begun_sweep_can_take_up_what_enters_no_signature(
    tmp_path: Path, old: str, new: str, text: str
) -> None:
    before, after = read(tmp_path, FLAT), read(tmp_path, FLAT, (old, new))
    (found,) = differences(before, after)
    assert str(found) == text
    assert why_not(found, before, after) is None


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("n_trials: 12", "n_trials: 11", "it can only be raised"),
        ("seed: 1", "seed: 2", "what is proposed or trained depends on it"),
        ("seed: 1", "workers: 2", "what is proposed or trained depends on it"),
        ("seed: 1", "gpus_per_worker: 1", "between CPU and GPU"),
        (
            "n_trials: 12",
            "n_trials: 12, replicates: 2",
            "what is proposed or trained depends on it",
        ),
        (
            "n_trials: 12",
            "n_trials: 12, sampler: {name: random}",
            "what is proposed or trained depends on it",
        ),
    ],
)
def test_and_nothing_else(tmp_path: Path, old: str, new: str, why: str) -> None:
    before, after = read(tmp_path, FLAT), read(tmp_path, FLAT, (old, new))
    (found,) = differences(before, after)
    assert why in str(why_not(found, before, after))


def test_more_or_less_of_a_gpu_is_no_other_training(tmp_path: Path) -> None:
    before = read(tmp_path, FLAT, ("seed: 1", "gpus_per_worker: 1"))
    after = read(tmp_path, FLAT, ("seed: 1", "gpus_per_worker: 0.5"))
    (found,) = differences(before, after)
    assert why_not(found, before, after) is None


def test_the_training_on_all_subjects_can_come_or_go(tmp_path: Path) -> None:
    sweeps = [
        read(tmp_path, SLEEPMG, ("rows:", f"refit: {is_on}\nrows:")) for is_on in ("true", "false")
    ]
    for before, after in (sweeps, sweeps[::-1]):
        (found,) = differences(before, after)
        assert found.key == "refit"
        assert why_not(found, before, after) is None


def test_a_search_cannot_come_or_go(tmp_path: Path) -> None:
    search = SLEEPMG[SLEEPMG.index("search:") : SLEEPMG.index("rows:")]
    before, after = read(tmp_path, SLEEPMG, (search, "")), read(tmp_path, SLEEPMG)
    found = {one.key: why_not(one, before, after) for one in differences(before, after)}
    assert found["search.n_trials"] == "a sweep cannot get or lose its search"
    assert found["search.max_concurrent"] is None  # not alone refused, but with it
