"""The journal: whole lines only, and on S3 a copy that follows."""

import json
from pathlib import Path

import optuna
import pytest
from optuna.distributions import CategoricalDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from orchestrator.errors import IntegrityError, StoreUnreachableError
from orchestrator.store import paths
from orchestrator.store.store import Store
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.search.journal import OwnBackend, check_stored_journal, journal_of
from orchestrator.sweeps.search.study import Study, note_began

PATH = paths.sweep_journal("probe")


def test_half_a_line_of_a_killed_process_is_cut_off(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path / "store"))
    with journal_of(store, "probe", tmp_path, Halt()) as journal:
        Study("probe", journal.file).enqueue({"x": 0.5})
    file = Path(store.uri_of(PATH))
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"op_code": 4, "wor')
    with journal_of(store, "probe", tmp_path, Halt()) as journal:
        assert file.read_bytes() == whole
        study = Study("probe", journal.file)
        study.enqueue({"x": 0.25})
        found = optuna.load_study(study_name="probe", storage=study.storage)
        assert [t.system_attrs["fixed_params"]["x"] for t in found.get_trials()] == [0.5, 0.25]


def test_the_journal_is_what_optuna_writes_and_needs_no_lock(tmp_path: Path) -> None:
    def filled(backend: JournalFileBackend) -> None:
        study = optuna.create_study(study_name="probe", storage=JournalStorage(backend))
        study.enqueue_trial({"x": 0.5})
        trial = study.ask({"x": optuna.distributions.FloatDistribution(0, 1)})
        trial.set_user_attr("about", "a\nb")
        study.tell(trial, 0.75)

    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    # What a process that was killed while it wrote would have left for Optuna to wait for.
    (tmp_path / "ours.lock").symlink_to(ours)
    filled(OwnBackend(str(ours)))
    filled(JournalFileBackend(str(theirs)))

    def steady(file: Path) -> list[dict[str, object]]:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        own = ("worker_id", "datetime_start", "datetime_complete")
        return [{k: v for k, v in line.items() if k not in own} for line in lines]

    assert steady(ours) == steady(theirs)
    (tmp_path / "ours.lock").unlink()
    read = optuna.load_study(
        study_name="probe", storage=JournalStorage(JournalFileBackend(str(ours)))
    )
    assert read.best_value == 0.75


def test_the_copy_follows_and_is_taken_up_again(remote: Store, tmp_path: Path) -> None:
    for i, folder in enumerate(("first", "second")):
        (tmp_path / folder).mkdir()
        with journal_of(remote, "probe", tmp_path / folder, Halt()) as journal:
            study = Study("probe", journal.file)
            assert study.begin_attempt() == i
            journal.changed()
        assert remote.read_bytes(PATH) == journal.file.read_bytes()


def test_a_copy_that_cannot_be_written_ends_the_sweep(
    remote: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Store, path: str, data: bytes) -> None:
        raise StoreUnreachableError("the bucket is gone")

    monkeypatch.setattr(Store, "write_bytes", refuse)
    halt = Halt()
    with journal_of(remote, "probe", tmp_path, halt) as journal:
        journal.changed()
    assert halt.stopping
    assert str(halt.error) == "the bucket is gone"


@pytest.mark.parametrize(
    ("broken", "what"),
    [
        (b'{"op_code":4,"wor', "it is no JSON"),
        (b"\xff", "no UTF-8"),
        (bytes(7), "7 zero bytes"),
        (b"[4]", "no JSON object"),
        (b'{"op_code":99,"worker_id":"w"}', "Optuna cannot use it"),
        (b'{"op_code":4,"worker_id":"w"}', "KeyError: 'study_id'"),
        (b'{"op_code":4,"worker_id":"w","study_id":0,"datetime_start":"then"}', "ValueError"),
        (b'{"op_code":2,"worker_id":"w","study_id":0,"user_attr":7}', "TypeError"),
    ],
    ids=str,
)
def test_a_damaged_line_is_named_where_the_user_knows_it(
    remote: Store, tmp_path: Path, broken: bytes, what: str
) -> None:
    """On S3, Optuna has a copy of the journal in a folder that is gone by then."""
    for store in (Store.open(str(tmp_path / "store")), remote):
        with journal_of(store, "probe", tmp_path, Halt()) as journal:
            Study("probe", journal.file).enqueue({"x": 0.5})
            journal.changed()
        first, *others = store.read_bytes(PATH).splitlines(keepends=True)
        content = b"".join([first, broken + b"\n", *others])
        store.write_bytes(PATH, content)
        match = rf"^{store.uri_of(PATH)}:2 is damaged: .*{what}.* keep only the lines before this"
        with (
            pytest.raises(IntegrityError, match=match),
            journal_of(store, "probe", tmp_path, Halt()),
        ):
            pass
        assert store.read_bytes(PATH) == content


@pytest.mark.parametrize(
    ("before", "after", "line", "what"),
    [
        ('"study_name":"probe"', '"study_name":"prone"', 1, "of a study 'prone', not of 'probe'"),
        ('"study_id":0', '"study_id":4', 2, "of study 4; there is one, with number 0"),
        ('"trial_id":0', '"trial_id":5', 3, "of trial 5; 1 have been created before it"),
        ('"param_value_internal":0', '"param_value_internal":7', 3, "IndexError"),
        ('"began_at":"2', '"began_at":"X', 4, "which is no time"),
        ('"values":[0.5]', '"values":[]', 5, r"its values are \[\]"),
        ('"values":[0.5]', '"values":["0.5"]', 5, "its values are"),
    ],
    ids=str,
)
def test_what_optuna_passes_over_or_takes_is_damage_too(
    store: Store, tmp_path: Path, before: str, after: str, line: int, what: str
) -> None:
    """Trials would be missing, the search would begin anew, or end in the middle."""
    with journal_of(store, "probe", tmp_path, Halt()) as journal:
        study = Study("probe", journal.file)._study
        trial = study.ask({"fusion": CategoricalDistribution(["b"])})
        note_began(trial)
        study.tell(trial, 0.5)
    lines = store.read_bytes(PATH).decode().splitlines(keepends=True)
    assert before in lines[line - 1], lines
    lines[line - 1] = lines[line - 1].replace(before, after)
    store.write_bytes(PATH, "".join(lines).encode())
    with pytest.raises(IntegrityError, match=rf"optuna\.journal:{line} is damaged: .*{what}"):
        check_stored_journal(store, "probe")
