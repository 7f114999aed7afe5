"""Write tables between two marks: of all keys into sweeps.md and datasets.md, and of metrics into operations.md."""

from pathlib import Path

from orchestrator.config.reference import keys_in, reference, table_of_keys
from orchestrator.config.yaml_source import load
from orchestrator.psg.dataset import DatasetFile
from orchestrator.psg.stages import STAGE_FORMATS
from orchestrator.sweeps.watch import metric_names

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "sweeps.md"
BEGIN, END = "<!-- keys -->\n", "<!-- end of keys -->\n"


def page() -> str:
    """Return the page with the tables of today's models."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    files = {"selective": "tau.yaml", "sleepmg": "sleepmg.yaml", "pretrain": "pretrain.yaml"}
    examples = {method: load(ROOT / "sweeps" / name).data for method, name in files.items()}
    return f"{before}{BEGIN}\n{reference(examples)}\n{END}{after}"


DATASETS = ROOT / "docs" / "datasets.md"


def datasets() -> str:
    """Return the page with the keys of data-set files and of each format of stages."""
    before, _, rest = DATASETS.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    example = load(ROOT / "datasets" / "synthetic.yaml").data | {"optional": ["emg"]}
    keys = keys_in(DatasetFile, but_for=["recordings[].stages"])
    parts = [f"### The file\n\n{table_of_keys(keys, example)}"]
    for name, section in STAGE_FORMATS.items():
        about = (section.__doc__ or "").replace("``", "`")
        table = table_of_keys(keys_in(section), {"from": name})
        parts.append(f"### `stages: {{from: {name}}}`\n\n{about}\n\n{table}")
    tables = "\n\n".join(parts)
    return f"{before}{BEGIN}\n{tables}\n\n{END}{after}"


OPERATIONS = ROOT / "docs" / "operations.md"
BEGIN_METRICS, END_METRICS = "<!-- metrics -->\n", "<!-- end of metrics -->\n"


def operations() -> str:
    """Return the page with the metrics of today."""
    before, _, rest = OPERATIONS.read_text(encoding="utf-8").partition(BEGIN_METRICS)
    _, _, after = rest.partition(END_METRICS)
    return f"{before}{BEGIN_METRICS}\n{metric_names.reference()}\n\n{END_METRICS}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    DATASETS.write_text(datasets(), encoding="utf-8")
    OPERATIONS.write_text(operations(), encoding="utf-8")
