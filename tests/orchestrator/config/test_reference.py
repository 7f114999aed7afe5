"""The schema that editors get, and the page of all keys: both of today's models."""

import json
import re
import runpy
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from orchestrator.cli.main import commands
from orchestrator.config.reference import keys_in, keys_of, sweep_schema
from orchestrator.config.sweep import SWEEP_CLASSES
from orchestrator.config.yaml_source import load
from orchestrator.psg.dataset import DatasetFile, load_dataset
from orchestrator.psg.stages import STAGE_FORMATS


@pytest.fixture(scope="module")
def validator() -> Draft202012Validator:
    schema = sweep_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.heavy
def test_the_examples_fit_the_schema(validator: Draft202012Validator, root: Path) -> None:
    files = sorted((root / "sweeps").glob("*.yaml"))
    assert len(files) >= 8
    for file in files:
        assert list(validator.iter_errors(load(file).data)) == []


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("section", "key", "value"),
    [(None, "batchsize", 8), (None, "stages", ["W", "N9"]), ("search", "n_trials", 0)],
)
def test_mistakes_do_not_fit_the_schema(
    section: str | None, key: str, value: object, validator: Draft202012Validator, root: Path
) -> None:
    content = load(root / "sweeps" / "tau.yaml").data
    (content if section is None else content[section])[key] = value
    assert list(validator.iter_errors(content))


@pytest.mark.parametrize(
    ("search", "fits"),
    [
        ({"space": {"ratio": {"choice": ["mean_pairwise", "mean_others"]}}}, True),
        ({"space": {"ratio": {"choice": ["mean_pairwise", "mean"]}}}, False),
        ({"space": {"ratio": {"choice": ["mean_others"]}}}, False),
        ({"space": {"schedule": {"uniform": [0, 1]}}}, False),
        ({"enqueue": [{"alpha_y": 0.2, "apply_to": "gradient"}]}, True),
        ({"enqueue": [{"apply_to": "gradients"}]}, False),
        ({"enqueue": [{"alpha_y": "gradient"}]}, False),
    ],
)
def test_choices_are_told_by_the_schema(
    search: dict[str, object], fits: bool, validator: Draft202012Validator, root: Path
) -> None:
    content = load(root / "sweeps" / "sleepmg.yaml").data
    content["search"] |= search
    assert validator.is_valid(content) == fits


def test_the_command_prints_the_schema() -> None:
    result = CliRunner().invoke(commands, ["schema"])
    assert result.exit_code == 0
    assert json.loads(result.output) == json.loads(json.dumps(sweep_schema()))


@pytest.mark.parametrize("method", SWEEP_CLASSES)
def test_every_key_is_told_with_an_example(method: str, root: Path) -> None:
    page = (root / "docs" / "sweeps.md").read_text(encoding="utf-8")
    _, _, table = page.partition(f"### `method: {method}`\n")
    rows = {line.split("`")[1]: line for line in table.splitlines() if line.startswith("| `")}
    for key in keys_of(method):
        assert key.about or key.path == "search", f"{key.path} has no docstring"
        row = rows[key.path]
        name = key.path.rpartition(".")[2].removesuffix("[]")
        assert key.value.startswith(("section", "list of section")) or f"`{name}: " in row, row


@pytest.mark.parametrize(("page", "made_by"), [("sweeps.md", "page"), ("datasets.md", "datasets")])
def test_the_page_is_of_today(page: str, made_by: str, root: Path) -> None:
    made = runpy.run_path(str(root / "docs" / "make_reference.py"))[made_by]()
    assert (root / "docs" / page).read_text(encoding="utf-8") == made, "run `make reference`"


@pytest.mark.parametrize("model", [DatasetFile, *STAGE_FORMATS.values()])
def test_every_key_of_a_data_set_is_explained(model: type[BaseModel], root: Path) -> None:
    page = (root / "docs" / "datasets.md").read_text(encoding="utf-8")
    for key in keys_in(model, but_for=["recordings[].stages"]):
        assert key.about, f"{key.path} has no docstring"
        assert key.value != "value", f"nobody can tell what {key.path} may be"
        assert f"| `{key.path}` | {key.value} |" in page


def test_the_sections_of_datasets_md_are_read_as_it_says(root: Path, tmp_path: Path) -> None:
    page = (root / "docs" / "datasets.md").read_text(encoding="utf-8")
    sections = re.findall(r"```yaml\n(.*?)```", page, re.S)
    assert len(sections) == 4
    example = (root / "datasets" / "synthetic.yaml").read_text(encoding="utf-8")
    given = yaml.safe_load(example)
    for section in sections:
        given["recordings"][0] |= yaml.safe_load(section)
        (tmp_path / "lab.yaml").write_text(yaml.safe_dump(given), encoding="utf-8")
        load_dataset(tmp_path / "lab.yaml")
