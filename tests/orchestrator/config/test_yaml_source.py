"""Reading YAML with positions: what is refused, where it is reported, and that writing is undone by reading."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orchestrator.config.suggest import did_you_mean
from orchestrator.config.yaml_source import Position, dump_yaml, load
from orchestrator.errors import ConfigError

ROOT = Path(__file__).parents[3]


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "x.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_positions_of_keys_and_values_count_from_one(tmp_path: Path) -> None:
    source = load(write(tmp_path, "a: 1\nb:\n  - x\n  - {c: [7, 8]}\n"))
    assert source.data == {"a": 1, "b": ["x", {"c": [7, 8]}]}
    assert source.values["a",] == Position(1, 4)
    assert source.keys["b",] == Position(2, 1)
    assert source.values["b", 0] == Position(3, 5)
    assert source.keys["b", 1, "c"] == Position(4, 6)
    assert source.values["b", 1, "c", 1] == Position(4, 13)
    assert source.position(("b", 1, "nowhere", 5)) == source.values["b", 1]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("-1.5E3", -1500.0),
        (".5", 0.5),
        ("12", 12),
        ("018", "018"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2025-01-07", "2025-01-07"),
        ("yes", "yes"),
        ("off", "off"),
        ("'12'", "12"),
        ("true", True),
        ("~", None),
        ("", None),
        ("!!str 12", "12"),
    ],
)
def test_scalars_follow_the_core_schema(tmp_path: Path, text: str, value: object) -> None:
    data = load(write(tmp_path, f"a: {text}\n")).data
    assert data["a"] == value
    assert type(data["a"]) is type(value)


def test_keys_are_text_and_an_alias_repeats_its_block(tmp_path: Path) -> None:
    assert load(write(tmp_path, "0: &x [1]\nyes: *x\n")).data == {"0": [1], "yes": [1]}


def test_an_empty_file_is_an_empty_mapping(tmp_path: Path) -> None:
    assert load(write(tmp_path, "# nothing yet\n")).data == {}


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "3:1", "duplicate key 'a'; it is already given in line 1"),
        ("a:\n  b: 1\n  'b': 2\n", "3:3", "duplicate key 'b'"),
        ("a: [1\n", "2:1", "not valid YAML"),
        ("a: b: c\n", "1:5", "not valid YAML: mapping values are not allowed here"),
        ("a: 1\n\tb: 2\n", "2:1", "not valid YAML"),
        ("a: 1\nb: \x00\n", "2:4", "not valid YAML"),
        ("- 1\n", "1:1", "expected 'key: value' lines, found [1]"),
        ("a: 1\n---\nb: 2\n", "2:1", "not valid YAML"),
        ("a: &x [*x]\n", "1:4", "an alias refers to the block that contains it"),
        ("a: !!python/name:os.system x\n", "1:4", "is not supported"),
        ("a: !!set {x}\n", "1:4", "is not supported"),
        ("? [1]\n: 2\n", "1:3", "a key must be text"),
        ('a: "\\ud800"\n', "1:4", "is not a valid text"),
        ("a: " + "9" * 5000 + "\n", "1:4", "is not a valid int"),
        ("[" * 4000, "1:1", "nested too deeply"),
    ],
)
def test_a_file_that_is_no_plain_mapping_is_refused_at_its_place(
    tmp_path: Path, text: str, place: str, message: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}:{place}: ")
    assert message in str(caught.value)


def test_what_is_no_text_file_is_refused_by_name(tmp_path: Path) -> None:
    path = write(tmp_path, b"a: \xff\xfe\n")
    with pytest.raises(ConfigError, match=r"x\.yaml: not a text file in UTF-8 \(byte 3\)"):
        load(path)
    with pytest.raises(ConfigError, match="this is a folder"):
        load(tmp_path)
    with pytest.raises(ConfigError, match=r"no such file\. Did you mean 'x\.yaml'\?"):
        load(tmp_path / "y.yaml")
    with pytest.raises(ConfigError, match="does not exist either"):
        load(tmp_path / "nowhere" / "x.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(path / "x.yaml")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_read_permission_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "a: 1\n")
    path.chmod(0)
    with pytest.raises(ConfigError, match="cannot be read"):
        load(path)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(["1e5", "018", "yes", "null", "0x1F", "1_0", "2025-01-07", "=", "<<", ".5"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.heavy
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.dictionaries(st.text(max_size=8), PLAIN, max_size=4))
def test_what_is_written_reads_back_the_same(tmp_path: Path, data: dict[str, Any]) -> None:
    text = dump_yaml(data)
    assert load(write(tmp_path, text)).data == data
    assert dump_yaml(data) == text


def test_did_you_mean_ignores_case_and_says_nothing_without_a_likeness() -> None:
    assert did_you_mean("n1", ["N1", "REM"]) == " Did you mean 'N1'?"
    assert did_you_mean("zzz", ["N1", "REM"]) == ""


@pytest.mark.heavy
def test_loading_imports_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "from orchestrator.config.sweep import load_sweep\n"
        "from orchestrator.psg.dataset import load_dataset\n"
        "load_sweep('sweeps/tau.yaml'); load_dataset('datasets/ucddb.yaml')\n"
        "print(sorted({name.split('.')[0] for name in sys.modules}\n"
        "             & {'ray', 'torch', 'mne', 'optuna', 'numpy', 'scipy'}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        encoding="utf-8",
    )
    assert done.stdout.strip() == "[]"
