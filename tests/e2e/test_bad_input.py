"""What a user gets for a mistake: one paragraph, an exit code, and a store as it was before."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Cli, Done, Tiny, Tools

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


def everything(folder: Path) -> dict[str, bytes | None]:
    """Return all files and folders under a folder with the content of the files."""
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


def manifest(store: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(store / "epochs/tiny/manifest.parquet").to_pylist()
    return rows


# --- recordings ----------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Broken:
    """A way in which a recording cannot be used."""

    reason: str
    write: Callable[[Path, "type[Tools]"], object]
    says: tuple[str, ...]


def write_truncated(path: Path, tools: "type[Tools]") -> None:
    tools.write_edf(path, seed=1, n_epochs=10)
    path.write_bytes(path.read_bytes()[:40_000])


BROKEN = (
    Broken(
        reason="not_edf",
        write=lambda path, _: path.write_bytes(b"Dear colleague, please find attached " * 100),
        says=("is not an EDF file",),
    ),
    Broken(
        reason="truncated",
        write=write_truncated,
        says=("its header announces", "the file has 40000", "Copy it again"),
    ),
    Broken(
        reason="missing_channel",
        write=lambda path, tools: tools.write_edf(path, seed=1, n_epochs=10, channel="EMG chin"),
        says=("has no channel 'EEG'", "it has 'EMG chin'", "`channels` of the dataset file"),
    ),
    Broken(
        reason="annotations_beyond_signal",
        write=lambda path, tools: tools.write_edf(path, seed=1, n_epochs=10, n_annotated=14),
        says=("4 scored epochs lie after the end", "300 s holds 10", "labels_beyond_signal: trim"),
    ),
)


def test_recordings_that_cannot_be_used(cli: "Cli", tiny: "Tiny", tools: "type[Tools]") -> None:
    data, store = cli.cwd / "data", cli.cwd / "runs"
    data.mkdir()
    for number, broken in enumerate(BROKEN, start=1):
        broken.write(data / f"s{number:02d}.edf", tools)
    result = cli("ingest", tiny.dataset, "--data", data)
    first = BROKEN[0]
    result.fails(3, "none of the 4 recordings of 'tiny'", f"s01 ({first.reason})", *first.says)
    assert result.out == ""
    rows = manifest(store)
    assert [row["reason"] for row in rows] == [broken.reason for broken in BROKEN]
    for row, broken in zip(rows, BROKEN, strict=True):
        assert row["status"] == "quarantined"
        assert [part for part in broken.says if part not in row["message"]] == []
    assert list(store.rglob("s*.parquet")) == []
    assert list(store.rglob("*.part")) == []


def test_one_corrupted_recording_among_ten(
    cli: "Cli", tiny: "Tiny", tools: "type[Tools]", tmp_path: Path
) -> None:
    data, store = tmp_path / "data", tmp_path / "runs"
    data.mkdir()
    for i in range(1, 10):
        tools.write_edf(data / f"s{i:02d}.edf", seed=i, n_epochs=4)
    write_truncated(data / "s10.edf", tools)
    command = ("ingest", tiny.dataset, "--data", data)

    result = cli(*command).ok()
    assert "tiny: 9 recordings of 9 subjects in the store (10 converted" in result.out
    warning = result.err.splitlines()[-1]
    assert warning.startswith("quarantined s10 (truncated): s10.edf is truncated")
    assert "Traceback" not in result.err
    rows = manifest(store)
    assert [row["status"] for row in rows] == ["ok"] * 9 + ["quarantined"]
    assert len(list(store.rglob("s*.parquet"))) == 9
    summary = json.loads((store / "epochs/tiny/manifest.json").read_bytes())
    assert [(q["recording"], q["reason"]) for q in summary["quarantine"]] == [("s10", "truncated")]

    before = everything(store)
    strict = cli(*command, "--strict")
    assert strict.code == 3
    strict.fails(3, "1 recordings were quarantined and --strict was given", "manifest.json")
    assert everything(store) == before


def test_empty_folder(cli: "Cli", tiny: "Tiny") -> None:
    (cli.cwd / "empty").mkdir()
    before = everything(cli.cwd)
    cli("ingest", tiny.dataset, "--data", "empty").fails(
        3, "no recording of data set 'tiny'", str(cli.cwd / "empty"), "'*.edf'", "--data"
    )
    assert everything(cli.cwd) == before


def test_folder_with_other_files(cli: "Cli", tiny: "Tiny", root: Path) -> None:
    cli("ingest", root / "datasets" / "ucddb.yaml", "--data", tiny.data).fails(
        3, "no recording of data set 'ucddb'", "6 files there, such as s01.edf"
    )
    assert not (cli.cwd / "runs").exists()


def test_missing_folder(cli: "Cli", tiny: "Tiny") -> None:
    cli("ingest", tiny.dataset, "--data", "nowhere").fails(
        2, f"{cli.cwd / 'nowhere'} does not exist", "--data"
    )
    assert everything(cli.cwd) == {}


def test_a_file_instead_of_the_folder(cli: "Cli", tiny: "Tiny") -> None:
    cli("ingest", tiny.dataset, "--data", tiny.data / "s01.edf").fails(
        2, "s01.edf is a file, not a folder", "--data"
    )
    assert everything(cli.cwd) == {}


# --- YAML files ----------------------------------------------------------------------------------


def edited(file: Path, folder: Path, old: str, new: str) -> tuple[Path, str]:
    """Write a YAML file with one change; return it and the ``line:column`` at which the change stands."""
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, old
    at = text.index(old)
    line = text.count("\n", 0, at) + 1
    column = at - (text.rfind("\n", 0, at) + 1) + 1
    copy = folder / file.name
    copy.write_text(text.replace(old, new), encoding="utf-8")
    return copy, f"{line}:{column}"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("batch_size: 8\n", "batchsize: 8\n", ("batchsize", "Did you mean 'batch_size'?")),
        ("n_trials: 8\n", "n_trails: 8\n", ("n_trails", "Did you mean 'n_trials'?")),
        ("n_steps: 2\n", "n_steps: none\n", ("none", "must be a whole number")),
        ("selective\n", "seletive\n", ("seletive", "Did you mean 'selective'?")),
    ],
)
def test_mistake_in_a_sweep_file(
    old: str, new: str, says: tuple[str, ...], cli: "Cli", tiny: "Tiny"
) -> None:
    at = old if ":" not in new or new.split(":")[0] != old.split(":")[0] else old.split(": ")[1]
    _, place = edited(tiny.sweep, cli.cwd, at, at)
    file, _ = edited(tiny.sweep, cli.cwd, old, new)
    for command in ("pretrain", "score", "sweep"):
        cli(command, file).fails(2, f"{file}:{place}:", *says)
    assert not (cli.cwd / "runs").exists()


def test_unknown_key_in_a_dataset_file(cli: "Cli", tiny: "Tiny") -> None:
    file, place = edited(tiny.dataset, cli.cwd, "channels:\n", "chanels:\n")
    cli("ingest", file, "--data", tiny.data).fails(
        2, f"{file}:{place}:", "chanels", "Did you mean 'channels'?"
    )
    assert not (cli.cwd / "runs").exists()


@pytest.mark.parametrize("tau", ["1", "-0.1", "1.5"])
def test_tau_outside_its_range(tau: str, cli: "Cli", tiny: "Tiny") -> None:
    added = f"n_trials: 8\n  enqueue_taus: [0.5, {tau}]\n"
    file, _ = edited(tiny.sweep, cli.cwd, "n_trials: 8\n", added)
    line = file.read_text(encoding="utf-8").splitlines().index(f"  enqueue_taus: [0.5, {tau}]") + 1
    cli("sweep", file).fails(
        2, f"{file}:{line}:23:", tau, "space.tau_quantile [0, 0.95]", "enqueue_taus"
    )
    added = f"n_trials: 8\n  space: {{tau_quantile: {{uniform: [0, {tau}]}}}}\n"
    file, _ = edited(tiny.sweep, cli.cwd, "n_trials: 8\n", added)
    cli("sweep", file).fails(2, f"{file}:", "tau_quantile")
    assert not (cli.cwd / "runs").exists()


def test_file_that_is_missing_or_not_yaml(cli: "Cli", tiny: "Tiny") -> None:
    missing = tiny.sweep.with_name("smal.yaml")
    cli("sweep", missing).fails(2, f"{missing}: no such file", "Did you mean 'small.yaml'?")
    (cli.cwd / "broken.yaml").write_text("name: [tiny\nmethod: selective\n", encoding="utf-8")
    cli("sweep", "broken.yaml").fails(2, "broken.yaml:2:")
    (cli.cwd / "binary.yaml").write_bytes(bytes(range(256)))
    cli("sweep", "binary.yaml").fails(2, "binary.yaml")
    cli("ingest", ".", "--data", tiny.data).fails(2, ".")
    assert not (cli.cwd / "runs").exists()


# --- what a sweep names --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def swept(tiny_done: "Done", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with the small sweep that nobody else looks at, so that whatever changes was done here."""
    return Path(shutil.copytree(tiny_done.store, tmp_path_factory.mktemp("swept") / "runs"))


@pytest.mark.parametrize("command", ["pretrain", "score", "sweep"])
def test_unknown_data_set_in_an_empty_store(command: str, cli: "Cli", tiny: "Tiny") -> None:
    cli(command, tiny.sweep).fails(
        2, "data set 'tiny' is not in the store", str(cli.cwd / "runs"), "orchestrator ingest"
    )
    assert everything(cli.cwd) == {}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("dataset: tiny\n  exclude", "dataset: tinny\n  exclude", ("'tinny'", "mean 'tiny'?")),
        ("subjects: [s06]", "subjects: [s66]", ("'s66'", "Available: s01, s02, s03")),
        ("[s04, s05]", "[s04]", ("source.validation", "at least 2 are needed")),
        ("[s04, s05]", "[s04, s06]", ("s06", "source and target")),
        ("batch_size: 8\n", "batch_size: 40\n", ("3 batches of 40", "at least 8", "Lower batch")),
        ("method:", "modality: emg\nmethod:", ("no modality 'emg'", "it has eeg")),
    ],
)
def test_sweep_that_does_not_fit_the_store(
    old: str, new: str, says: tuple[str, ...], cli: "Cli", tiny: "Tiny", swept: Path
) -> None:
    file, _ = edited(tiny.sweep, cli.cwd, old, new)
    file.write_text(
        file.read_text(encoding="utf-8").replace("name: small", "name: other"), encoding="utf-8"
    )
    before = everything(swept)
    cli("sweep", file, "--store", swept).fails(2, *says)
    assert everything(swept) == before


def test_changed_sweep_file(cli: "Cli", tiny: "Tiny", swept: Path) -> None:
    before = everything(swept)
    begun = "sweep 'small' was begun with other settings"
    for old, new, *says in (
        ("n_steps: 2", "n_steps: 3", begun, "search.n_steps: 2 -> 3"),
        ("n_passes: 1", "n_passes: 2", begun, "pretrain.n_passes: 1 -> 2"),
        ("[W, N2]", "[W, N2, REM]", begun, "stages: W, N2 -> W, N2, REM"),
        ("n_trials: 8", "n_trials: 9", "sweep 'small' has ended", "search.n_trials: 8 -> 9"),
    ):
        file, _ = edited(tiny.sweep, cli.cwd, old, new)
        cli("sweep", file, "--store", swept).fails(2, *says, "`--as NEWNAME`")
    assert everything(swept) == before


def test_unknown_sweep_in_review(cli: "Cli", swept: Path) -> None:
    before = everything(swept)
    cli("review", "smal", "--store", swept).fails(
        2, "no sweep 'smal'", str(swept), "Did you mean 'small'?"
    )
    assert everything(swept) == before
    cli("review", "small").fails(2, "no sweep 'small'", "nor any other", "orchestrator sweep")
    assert everything(cli.cwd) == {}


# --- stores and options --------------------------------------------------------------------------


@pytest.mark.skipif(
    not Path("/sys/kernel").is_dir(), reason="needs a folder that refuses even root"
)
@pytest.mark.parametrize("store", ["/sys", "/sys/sleep/runs", "/proc/sleep"])
def test_store_without_write_permission(store: str, cli: "Cli", tiny: "Tiny") -> None:
    for command in (("ingest", tiny.dataset, "--data", tiny.data), ("sweep", tiny.sweep)):
        cli(*command, "--store", store).fails(7, f"cannot use {store}", "you may write to")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_store_of_somebody_else(cli: "Cli", tiny: "Tiny") -> None:
    (cli.cwd / "theirs").mkdir(mode=0o555)
    cli("ingest", tiny.dataset, "--data", tiny.data, "--store", "theirs/runs").fails(
        7, str(cli.cwd / "theirs/runs"), "Permission denied", "you may write to"
    )


@pytest.mark.parametrize("store", ["note", "note/runs"])
def test_store_below_a_regular_file(store: str, cli: "Cli", tiny: "Tiny") -> None:
    (cli.cwd / "note").write_text("not a folder", encoding="utf-8")
    cli("ingest", tiny.dataset, "--data", tiny.data, "--store", store).fails(
        7, f"cannot use {cli.cwd / store}", "is a file, not a folder", "you may write to"
    )
    assert everything(cli.cwd) == {"note": b"not a folder"}


@pytest.mark.parametrize("store", ["gs://bucket/x", "http://host/x", "s3://"])
def test_store_of_a_kind_that_does_not_exist(store: str, cli: "Cli", tiny: "Tiny") -> None:
    run = cli.having(ORCHESTRATOR_STORE=store)
    run("ingest", tiny.dataset, "--data", tiny.data).fails(2, store, "s3://bucket/prefix")
    assert everything(cli.cwd) == {}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["sweeep"], ("No such command 'sweeep'",)),
        (["ingest", "--strickt"], ("No such option '--strickt'", "--strict")),
        (["ingest", "x.yaml"], ("Missing option '--data'",)),
        (["sweep"], ("Missing argument 'FILE'",)),
        (["sweep", "x.yaml", "--cpus", "0"], ("--cpus", "x>=1")),
        (["review", "a", "b"], ("unexpected extra argument",)),
    ],
)
def test_unknown_command_or_option(arguments: list[str], says: tuple[str, ...], cli: "Cli") -> None:
    cli(*arguments).fails(2, *says)
    assert everything(cli.cwd) == {}
