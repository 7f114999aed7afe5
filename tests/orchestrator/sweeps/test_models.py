"""Which models a sweep keeps at its end, what is written of each, and that an end that was killed is ended."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

from orchestrator.errors import IntegrityError
from orchestrator.method import Done, StoredWeights, Trained
from orchestrator.methods.selective.config.sweep import SelectiveSweep
from orchestrator.models.record import record_of
from orchestrator.psg.convert import METADATA_KEY
from orchestrator.psg.feed import CLIP_SPREADS, StoredRecording
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.models import chosen, keep_models
from trainables.stages import Stage

WITH_SEEDS = (1, 2)
PREPROCESSING = {"sfreq": 100, "filter_hz": {"eeg": [0.3, 35.0]}}
LICENCE = "CC BY 4.0"


@dataclass
class Method:
    """Keeps what it is told to."""

    sweep: SelectiveSweep
    control_kind: str = "arm"
    record: str | None = None
    """File that has the hash of the weights."""

    def trained(self, one: Done[Any], row: Mapping[str, Any]) -> Trained:
        assert one.signature == row["signature"]
        return Trained(
            network="mrcnn",
            weights=[
                StoredWeights(
                    path=paths.trial_weights("probe", f"{one.signature}-{seed}"),
                    seed=seed,
                    record=self.record,
                )
                for seed in WITH_SEEDS
            ],
            modalities=("eeg",),
            scale="recording",
            stages=(Stage.W, Stage.N2),
            learned_from=[night(subject) for subject in ("s2", "s1", "s2")],
            metrics=[{"split": "objective", "subjects": ("v1", "v2"), "value": one.objective}],
            about={"tau": {"tau_quantile": 0.1 + 0.2}, "ids": ("a", "b")},
        )


def night(subject: str) -> StoredRecording:
    return StoredRecording(
        dataset="home", subject=subject, recording=f"{subject}-n1", epochs_sha256=""
    )


def done(name: str, objective: float | None = 0.5, **changes: Any) -> Done[Any]:
    given: dict[str, Any] = {
        "name": name,
        "trial": SimpleNamespace(),
        "is_control": False,
        "enqueued": False,
        "signature": f"sig-{name}",
        "objective": objective,
        "replicates": (),
        "error": None,
    }
    return Done(**given | changes)


def ended(name: str, **changes: Any) -> Done[Any]:
    """Return one that has no predictions."""
    return done(name, None, **{"signature": None} | changes)


TRIALS = [
    ended("t000", error="ValueError: no"),
    done("t001", 0.25),
    done("t002", 0.75),
    done("t003", 0.75, signature="sig-t002", reused_from="t002"),
    ended("t004", stopped_after=3),
]
CONTROLS = [
    done("random", is_control=True),
    done("no_adapt", is_control=True),
    ended("half", is_control=True, error="ValueError: no"),
    done("lowest", is_control=True),
]
IN_TABLE = ("random", "no_adapt", "half")
"""Controls that the sweep file asks for; others are run for the manifest alone."""


def final(method: Method, all_done: list[Done[Any]]) -> pa.Table:
    names = {one.name: f"arm-{one.name}" for one in CONTROLS if method.control_kind == "arm"}
    return pa.Table.from_pylist(
        [
            {"trial": names.get(one.name, one.name), "signature": one.signature}
            for one in all_done
            if not one.is_control or one.name in IN_TABLE
        ]
    )


@pytest.fixture
def filled(store: Store) -> Store:
    """A store with the weights of all that was trained, and what is known of its recordings."""
    metadata = {"channels": {}, "preprocessing": PREPROCESSING}
    table = pa.table({"epoch_index": [0]}).replace_schema_metadata(
        {METADATA_KEY: json.dumps(metadata)}
    )
    store.write_table(paths.epochs("home", "s2", "s2-n1"), table)
    about = {"title": "At home", "url": None, "licence": LICENCE, "n_recordings": 2}
    store.write_bytes(paths.manifest_json("home"), json.dumps(about).encode())
    for one in (*TRIALS, *CONTROLS):
        for seed in WITH_SEEDS:
            path = paths.trial_weights("probe", f"{one.signature}-{seed}")
            store.write_bytes(path, weights_of(f"{one.signature}-{seed}"))
    return store


def weights_of(name: str) -> bytes:
    return f"weights of {name}".encode()


@pytest.fixture
def method(make_sweep: Callable[[], SelectiveSweep]) -> Method:
    return Method(make_sweep())


def keep(store: Store, method: Any, all_done: list[Done[Any]] | None = None) -> None:
    all_done = [*CONTROLS, *TRIALS] if all_done is None else all_done
    keep_models(store, method, all_done, final(method, all_done))


def files(store: Store) -> dict[str, bytes]:
    return {path: store.read_bytes(path) for path in store.files(paths.sweep_folder("probe"))}


def kept(store: Store) -> list[str]:
    return [path.split("/")[-2] for path in files(store) if path.endswith("/model.json")]


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        ("best", ["arm-no_adapt", "arm-random", "t002"]),
        ("all", ["arm-no_adapt", "arm-random", "t001", "t002", "t003"]),
        ("none", []),
    ],
)
def test_what_is_kept(which: str, expected: list[str], filled: Store, method: Method) -> None:
    method.sweep = method.sweep.model_copy(update={"keep_models": which})
    keep(filled, method)
    assert kept(filled) == expected
    assert len(files(filled)) == len(expected) * (1 + len(WITH_SEEDS))  # no weights are left


def test_a_control_whose_own_name_begins_with_its_kind(filled: Store, method: Method) -> None:
    method.control_kind = "row"
    keep(filled, method, [done("random", is_control=True), done("t001")])
    assert kept(filled) == ["random", "t001"]


def test_of_several_objectives_the_whole_front_is_kept(filled: Store, method: Method) -> None:
    on_front = [
        done("t001", 0.25, on_front=True),
        done("t002", 0.75, on_front=False),
        done("t003", 0.5, signature="sig-t002", on_front=True),
        ended("t004", on_front=False),
    ]
    keep(filled, method, on_front)
    assert kept(filled) == ["t001", "t003"]


def test_of_equals_the_first_is_chosen_by_its_number() -> None:
    assert chosen([done("t1000"), done("t101"), done("t102", 0.25)]) == ["t101"]
    assert chosen([done("t000", -0.5), done("t001", -0.25)]) == ["t001"]
    assert chosen([ended("t000"), done("random", 0.9, is_control=True)]) == []


def test_what_is_written_of_a_model(filled: Store, method: Method) -> None:
    keep(filled, method)
    path = paths.model_json("probe", "t002")
    record = record_of(filled.read_bytes(path), path)
    assert (record.name, record.method, record.network) == ("probe:t002", "selective", "mrcnn")
    assert (record.modalities, record.scale, record.stages) == (("eeg",), "recording", ("W", "N2"))
    assert record.clip_spreads == CLIP_SPREADS
    assert record.preprocessing == PREPROCESSING
    assert record.training == {
        "dataset": "home",
        "title": "At home",
        "url": None,
        "licence": LICENCE,
        "subjects": ["s1", "s2"],
        "recordings": ["s1-n1", "s2-n1"],
    }
    assert record.metrics == ({"split": "objective", "subjects": ["v1", "v2"], "value": 0.75},)
    assert record.about == {"tau": {"tau_quantile": 0.1 + 0.2}, "ids": ["a", "b"]}
    assert record.versions["torch"] == version("torch")
    for seed, file in zip(WITH_SEEDS, record.files, strict=True):
        content = filled.read_bytes(f"{paths.model_folder('probe', 't002')}/{file.file}")
        assert content == weights_of(f"sig-t002-{seed}")
        assert asdict(file) == {
            "file": f"seed-{seed}.safetensors",
            "sha256": sha256(content).hexdigest(),
            "seed": seed,
            "fold": None,
            "subject": None,
            "modalities": None,
        }
    assert record.as_json() == filled.read_bytes(path)
    assert record_of(record.as_json(), path) == record


def test_a_data_set_that_says_nothing_of_itself(filled: Store, method: Method) -> None:
    filled.delete(paths.manifest_json("home"))
    keep(filled, method)
    path = paths.model_json("probe", "t002")
    assert record_of(filled.read_bytes(path), path).training["licence"] is None


def test_files_of_folds_and_subjects_have_names_of_their_own(
    filled: Store, method: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = [
        StoredWeights(path=paths.trial_weights("probe", "sig-t002-1"), seed=1, fold=0),
        StoredWeights(path=paths.trial_weights("probe", "sig-t002-2"), seed=1, fold=1, subject="p"),
    ]
    trained = method.trained(TRIALS[2], {"signature": "sig-t002"})
    fields = {name: getattr(trained, name) for name in Trained.__dataclass_fields__}
    other = Trained(**fields | {"weights": weights})
    monkeypatch.setattr(Method, "trained", lambda *_: other)
    keep(filled, method, [TRIALS[2]])
    path = paths.model_json("probe", "t002")
    found = record_of(filled.read_bytes(path), path).files
    assert [file.file for file in found] == [
        "seed-1_fold-0.safetensors",
        "seed-1_fold-1_subject-p.safetensors",
    ]
    assert [(file.fold, file.subject) for file in found] == [(0, None), (1, "p")]


def test_equal_sweeps_leave_equal_bytes(filled: Store, method: Method, tmp_path: Path) -> None:
    other = Store.open(str(shutil.copytree(filled.uri, tmp_path / "other")))
    keep(filled, method)
    keep(other, method)
    assert files(filled) == files(other)


@pytest.mark.parametrize("n_written", [0, 2, 3, 5, 6, 8, 9, 11])
def test_an_end_that_was_killed_is_ended(
    n_written: int, filled: Store, method: Method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each of its writes and removals: three models of two files of weights and a record."""
    whole = Store.open(str(shutil.copytree(filled.uri, tmp_path / "whole")))
    keep(whole, method)
    left = n_written

    def until_killed(act: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise SystemExit
            return act(*arguments)

        return counted

    with monkeypatch.context() as patch:
        patch.setattr(Store, "write_bytes", until_killed(Store.write_bytes))
        patch.setattr(Store, "delete_if_there", until_killed(Store.delete_if_there))
        with pytest.raises(SystemExit):
            keep(filled, method)
    assert files(filled) != files(whole)
    keep(filled, method)
    assert files(filled) == files(whole)


def test_a_model_that_is_there_is_not_written_again(filled: Store, method: Method) -> None:
    keep(filled, method)
    filled.write_bytes(paths.model_json("probe", "t002"), b"{}")
    keep(filled, method)
    assert filled.read_bytes(paths.model_json("probe", "t002")) == b"{}"


def test_missing_weights_of_the_best_are_told_and_the_others_kept(
    filled: Store, method: Method, capsys: pytest.CaptureFixture[str]
) -> None:
    filled.delete(paths.trial_weights("probe", "sig-t002-2"))
    keep(filled, method)
    assert kept(filled) == ["arm-no_adapt", "arm-random"]
    assert not any("/models/t002/" in path for path in files(filled))
    told = capsys.readouterr().err
    assert told.startswith("t002 has no model: its weights (sweeps/probe/weights/sig-t002-2.safe")
    assert "`orchestrator sweep FILE --keep t002` trains it again" in told


@pytest.mark.parametrize(
    ("noted", "is_kept"),
    [(None, False), ("sig-t002-1", False), ("sig-t002", True)],
)
def test_weights_are_those_that_their_training_noted(
    noted: str | None,
    is_kept: bool,
    filled: Store,
    method: Method,
    capsys: pytest.CaptureFixture[str],
) -> None:
    method.record = "folds/f/fold.json"
    if noted is not None:
        hashes = {"weights_sha256": sha256(weights_of(noted)).hexdigest()}
        filled.write_bytes(method.record, json.dumps(hashes).encode())
    for seed in WITH_SEEDS:
        filled.write_bytes(paths.trial_weights("probe", f"sig-t002-{seed}"), weights_of("sig-t002"))
    keep(filled, method, [TRIALS[2]])
    assert kept(filled) == (["t002"] if is_kept else [])
    assert ("or are not those that its training wrote" in capsys.readouterr().err) == (not is_kept)


def test_a_damaged_note_of_weights_is_named(filled: Store, method: Method) -> None:
    method.record = "folds/f/fold.json"
    filled.write_bytes(method.record, b"{}")
    with pytest.raises(IntegrityError, match=r"fold\.json.* has no 'weights_sha256'"):
        keep(filled, method)
