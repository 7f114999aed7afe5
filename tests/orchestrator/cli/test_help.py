"""What the command line offers, and that asking for it loads nothing heavy."""

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from orchestrator.cli.main import commands, main

NAMES = sorted(commands.commands)
HEAVY = ("ray", "torch", "mne")


def command(name: str) -> click.Command:
    return commands.commands[name]


def reads_a_file(name: str) -> bool:
    """Whether the argument of a command is something that must be there already."""
    return any(
        isinstance(p, click.Argument) and p.metavar not in ("OUT", "DIR")
        for p in command(name).params
    )


def arguments_of(name: str) -> list[click.Argument]:
    return [p for p in command(name).params if isinstance(p, click.Argument)]


def loaded_after(statements: str) -> set[str]:
    """Return which heavy packages a fresh interpreter has loaded after some statements."""
    code = f"{statements}\nimport sys\nprint(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        encoding="utf-8",
    )
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.heavy
def test_heavy_packages_would_be_noticed() -> None:
    assert loaded_after("import torch") == {"torch"}


@pytest.mark.heavy
def test_import_and_help_load_nothing_heavy() -> None:
    help_of_all = "\n".join(f"run(['{name}', '--help'])" for name in NAMES)
    assert not loaded_after(
        "from click.testing import CliRunner\n"
        "from orchestrator.cli.main import commands\n"
        "def run(a): assert CliRunner().invoke(commands, a).exit_code == 0\n"
        f"run(['--help'])\n{help_of_all}"
    )


@pytest.mark.heavy
@pytest.mark.parametrize(
    "file", ["sweeps/tau.yaml", "sweeps/tau-ucddb.yaml", "sweeps/pretrain.yaml"]
)
def test_validating_a_sweep_file_loads_nothing_heavy(root: Path, file: str) -> None:
    path = str(root / file)
    assert not loaded_after(
        f"from orchestrator.config.sweep import load_sweep\nload_sweep({path!r})"
    )


@pytest.mark.heavy
def test_a_wrong_sweep_file_is_refused_before_anything_heavy_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text("name: x\nmethod: selektive\n", encoding="utf-8")
    assert not loaded_after(
        "from orchestrator.cli.main import main\n"
        f"try: main(['sweep', {str(tmp_path / 'wrong.yaml')!r}, '--store', {str(tmp_path)!r}])\n"
        "except SystemExit as end: assert end.code == 2, end.code\n"
        "else: raise AssertionError"
    )


@pytest.mark.parametrize("name", ["pretrain", "score"])
@pytest.mark.parametrize("file", ["pretrain", "sleepmg"])
def test_what_is_for_one_method_says_so(
    name: str, file: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, str(root / "sweeps" / f"{file}.yaml"), "--store", str(tmp_path)])
    assert end.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"`orchestrator {name}` is for sweeps of method 'selective'" in said
    assert f"this one has method '{file}'. Run `orchestrator sweep" in said


@pytest.mark.heavy
def test_validating_a_dataset_file_loads_nothing_heavy(root: Path) -> None:
    path = str(root / "datasets" / "ucddb.yaml")
    assert not loaded_after(
        f"from orchestrator.psg.dataset import load_dataset\nload_dataset({path!r})"
    )


def test_help_lists_every_command_with_a_summary() -> None:
    result = CliRunner().invoke(commands, ["--help"])
    assert result.exit_code == 0
    listed = dict(
        line.split(None, 1)
        for line in result.output.split("Commands:\n")[1].splitlines()
        if line.startswith("  ") and not line.startswith("   ")
    )
    assert sorted(listed) == NAMES
    assert {"doctor", "ingest", "pretrain", "review", "score", "sweep"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_help_of_a_command(name: str) -> None:
    result = CliRunner().invoke(commands, [name, "--help"], prog_name="orchestrator")
    assert result.exit_code == 0
    assert result.output.startswith(f"Usage: orchestrator {name} ")
    for parameter in command(name).params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts} is not explained"


@pytest.mark.parametrize("name", NAMES)
def test_a_command_hands_over_to_the_product(name: str) -> None:
    callback = command(name).callback
    assert callback is not None
    used = {n for n in callback.__code__.co_names if n.startswith("orchestrator.")}
    assert any(not n.startswith(("orchestrator.cli", "orchestrator.errors")) for n in used), (
        f"{name} calls nothing outside the command line"
    )


@pytest.mark.parametrize("name", [n for n in NAMES if reads_a_file(n)])
def test_a_missing_argument_and_a_missing_file_end_with_2(
    name: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # where the store would be made
    for extra in ([], [str(tmp_path / "nosuch.yaml")]):
        required = [
            word
            for p in command(name).params
            if isinstance(p, click.Option) and p.required
            for word in (p.opts[0], str(tmp_path))
        ]
        others = ["true"] * (sum(p.required for p in arguments_of(name)) - 1) if extra else []
        with pytest.raises(SystemExit) as end:
            main([name, *extra, *others, *required])
        err = " ".join(capsys.readouterr().err.split())
        assert end.value.code == 2, err
        without = "does not exist" if name == "status" else "Missing argument"  # the store
        assert ("nosuch" if extra else without) in err


@pytest.mark.parametrize("name", ["doctor", "ingest", "pretrain", "review", "score", "sweep"])
def test_the_store_is_runs_unless_an_option_or_a_variable_says_otherwise(name: str) -> None:
    store = next(p for p in command(name).params if "--store" in p.opts)
    assert store.default == "runs"
    assert store.envvar == "ORCHESTRATOR_STORE"


def test_metrics_of_a_store_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["metrics", "--store", str(tmp_path / "nosuch")])
    assert end.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "nosuch does not exist. Name a folder that is there." in said
    assert "--data" not in said
