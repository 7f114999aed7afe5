"""Write the tables of all keys into docs/sweeps.md and of all metrics into docs/operations.md, between two marks."""

from pathlib import Path

from orchestrator.config.reference import reference
from orchestrator.config.yaml_source import load
from orchestrator.sweep.watch import metric_names

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


OPERATIONS = ROOT / "docs" / "operations.md"
BEGIN_METRICS, END_METRICS = "<!-- metrics -->\n", "<!-- end of metrics -->\n"


def operations() -> str:
    """Return the page with the metrics of today."""
    before, _, rest = OPERATIONS.read_text(encoding="utf-8").partition(BEGIN_METRICS)
    _, _, after = rest.partition(END_METRICS)
    return f"{before}{BEGIN_METRICS}\n{metric_names.reference()}\n\n{END_METRICS}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    OPERATIONS.write_text(operations(), encoding="utf-8")
