"""`orchestrator init`: the examples come whole, lead nowhere that is not there, and replace nothing."""

import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from orchestrator.cli.machine import FIRST_COMMANDS
from orchestrator.cli.main import commands, main
from orchestrator.config.cluster import load_cluster
from orchestrator.config.sweep import load_sweep
from orchestrator.errors import ConfigError, SetupError
from orchestrator.example_files import FOLDERS, example_file, example_files, write_examples
from orchestrator.psg.dataset import load_dataset


def content(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def of_the_repository(root: Path) -> dict[str, bytes]:
    """All files of the three folders, but for what Python compiles there."""
    found = {}
    for folder in FOLDERS:
        for name, data in content(root / folder).items():
            if "__pycache__" not in name:
                found[f"{folder}/{name}"] = data
    return found


@pytest.mark.heavy
def test_every_example_is_written_once(root: Path, tmp_path: Path) -> None:
    work = tmp_path / "a b" / "work"  # made where it is missing
    first = write_examples(str(work))
    assert content(work) == of_the_repository(root)
    assert (set(first.written), first.n_there) == (set(content(work)), 0)
    changed_at = (work / "sweeps/tau.yaml").stat().st_mtime_ns
    (work / "sweeps/pretrain.yaml").unlink()
    again = write_examples(str(work))
    assert (again.written, again.n_there) == (("sweeps/pretrain.yaml",), len(first.written) - 1)
    assert (work / "sweeps/tau.yaml").stat().st_mtime_ns == changed_at


@pytest.mark.heavy
def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    write_examples(str(tmp_path))
    for file in (tmp_path / "datasets").glob("*.yaml"):
        assert load_dataset(str(file)).name == file.stem
    for file in (tmp_path / "sweeps").glob("*.yaml"):
        assert load_sweep(file).name == file.stem
    for file in (tmp_path / "cluster").glob("*.yaml"):
        assert load_cluster(str(file))[0].cluster_name.startswith("sleep-")


@pytest.mark.parametrize("there", ["sweeps/tau.yaml", "cluster/iam/head.json"])
def test_a_changed_file_is_named_and_nothing_is_written(tmp_path: Path, there: str) -> None:
    (tmp_path / there).parent.mkdir(parents=True)
    (tmp_path / there).write_bytes(b"# mine\n" + example_file(there).read_bytes())
    before = content(tmp_path)
    with pytest.raises(ConfigError, match=f"changed copies perhaps: {there}. Nothing was written"):
        write_examples(str(tmp_path))
    assert content(tmp_path) == before


@pytest.mark.parametrize("in_the_way", ["file for a folder", "folder for a file", "broken link"])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, in_the_way: str) -> None:
    match in_the_way:
        case "file for a folder":
            (tmp_path / "sweeps").write_text("notes", encoding="utf-8")
        case "folder for a file":
            (tmp_path / "sweeps/tau.yaml").mkdir(parents=True)
        case "broken link":
            (tmp_path / "sweeps").mkdir()
            (tmp_path / "sweeps/tau.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    named = "sweeps" if in_the_way == "file for a folder" else "sweeps/tau.yaml"
    with pytest.raises(ConfigError, match=rf"perhaps: {named}\. Nothing was written"):
        write_examples(str(tmp_path))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sweeps"]


def test_the_command_says_what_it_wrote_and_what_comes_next(tmp_path: Path) -> None:
    work = tmp_path / "a b"
    result = CliRunner().invoke(commands, ["init", str(work)])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    written = [line.removeprefix("wrote ") for line in lines if line.startswith("wrote ")]
    assert written == list(example_files())
    assert f"{len(written)} example files written into {work}." in lines
    assert lines[-8:] == [f"cd '{work}'", *FIRST_COMMANDS.splitlines()]
    again = CliRunner().invoke(commands, ["init", str(work)]).output.splitlines()
    assert again[0] == f"0 example files written into {work}; {len(written)} were there already."


def refusal(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        main(["init", *arguments])
    said = capsys.readouterr()
    assert said.out == ""
    assert isinstance(end.value.code, int)
    return end.value.code, " ".join(said.err.split())


@pytest.mark.parametrize("name", ["note", "note/work"])
def test_a_file_instead_of_the_folder(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "note").write_text("not a folder", encoding="utf-8")
    code, said = refusal([str(tmp_path / name)], capsys)
    assert code == SetupError.exit_code
    assert said.startswith(f"Error: cannot use {tmp_path / name}: ")
    assert f"{tmp_path / 'note'} is a file, not a folder. Give a folder you may write to." in said
    assert content(tmp_path) == {"note": b"not a folder"}


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs a folder that refuses even root")
def test_a_folder_that_takes_no_files(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = refusal(["/proc/work"], capsys)
    assert code == SetupError.exit_code
    assert said.startswith("Error: cannot use /proc/work: ")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_of_somebody_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "theirs").mkdir(mode=0o000)
    code, said = refusal([str(tmp_path / "theirs")], capsys)
    (tmp_path / "theirs").chmod(0o700)
    assert code == SetupError.exit_code
    assert "Permission denied. Give a folder you may write to." in said


def test_a_bucket_is_no_folder(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = refusal(["s3://bucket/work"], capsys)
    assert (code, "is no folder of this machine" in said) == (2, True)


_MENTIONED = re.compile(r"(?<![\w/.:-])(?:[\w-]+/)*[\w.-]+\.(?:yaml|yml|json|md|py)\b")
"""A file that a text names, with the folders that it names before it; not within an address."""


def mentioned(name: str) -> set[str]:
    return set(_MENTIONED.findall(example_file(name).read_text(encoding="utf-8")))


def test_files_that_examples_name_are_there(root: Path, tmp_path: Path) -> None:
    """Beside the examples in their folder; pages of the documentation in the repository alone."""
    write_examples(str(tmp_path))
    (tmp_path / "docs").symlink_to(root / "docs")
    texts = [name for name in example_files() if not name.endswith(".json")]
    assert "cluster/iam/head.json" in mentioned("cluster/aws.yaml")
    assert "synthetic.yaml" in mentioned("datasets/synthetic-isruc-s3.yaml")
    for name in texts:
        beside = (tmp_path / name).parent
        lost = {
            other
            for other in mentioned(name)
            if not ((tmp_path / other).is_file() or (beside / other).is_file())
        }
        assert lost == set(), name


@pytest.mark.heavy  # the demo imports Ray
def test_the_first_commands_do_what_the_demo_does() -> None:
    from orchestrator import demo

    name = load_sweep(example_file("sweeps/tau.yaml")).name
    source, target, *others = FIRST_COMMANDS.splitlines()
    synth = "orchestrator synth data --subjects {} --shift {:g} --seed {}"
    assert source == synth.format(demo.N_SOURCE, 0, 1)
    assert target == synth.format(demo.N_TARGET, demo.SHIFT, 2)
    assert others == [
        "orchestrator ingest datasets/synthetic.yaml --data data",
        "orchestrator sweep sweeps/tau.yaml",
        f"orchestrator review {name}",
        f"orchestrator synth new --subjects 1 --shift {demo.SHIFT:g} --seed {demo.NEW_SEED} --hours {demo.NEW_HOURS:g}",
        f"orchestrator predict {name} new",
    ]
    for line in FIRST_COMMANDS.splitlines():
        _, command, *words = line.split()
        hours = demo.NEW_HOURS if "new" in words else demo.HOURS
        given = commands.commands[command].make_context(command, words).params
        assert given.get("hours", hours) == hours
