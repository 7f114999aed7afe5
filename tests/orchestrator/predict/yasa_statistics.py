"""What YASA says of three hypnograms, as JSON: the numbers that ``test_statistics.py`` compares ours with.

Run in a process of its own, with a Python that has YASA (``pip install '.[parity]'``), when definitions change::

    python tests/orchestrator/predict/yasa_statistics.py > tests/orchestrator/predict/yasa_statistics.json
"""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

HYPNOGRAMS: Mapping[str, str] = {
    "usual night": (
        "22W 6N1 18N2 42N3 9N2 2W 3N1 20N2 16REM 1W 2N1 31N2 38N3 12N2 26REM 4W 5N1 44N2 15N3 30N2 41REM 1N1 2W "
        "3N1 52N2 7N3 38N2 61REM 3W 1N1 28N2 49REM 9W"
    ),
    "without REM, with epochs without a stage": "3UNS 14W 8N1 2UNS 30N2 1UNS 25N3 5W 9N2 4UNS",
    "begins and ends asleep": "1N2 1W 4N2 1REM 2N1 12N2 6N3 2W 10REM",
}
"""Stages as our table writes them, with the number of epochs before each."""


def stages_of(text: str) -> list[str]:
    """Return one name an epoch.

    >>> stages_of("2W 1N1")
    ['W', 'W', 'N1']
    """
    counted = re.findall(r"(\d+)([A-Z]+\d?)", text)
    return [name for n, name in counted for _ in range(int(n))]


def statistics_of(text: str) -> dict[str, Any]:
    """Return YASA's statistics and transitions; None where it has NaN."""
    import yasa

    hypnogram = yasa.Hypnogram(stages_of(text), freq="30s")
    found = {name: float(value) for name, value in hypnogram.sleep_statistics().items()}
    counts, _ = hypnogram.transition_matrix()
    return {
        "stages": text,
        "statistics": {name: None if math.isnan(value) else value for name, value in found.items()},
        "transitions": {
            first: {second: int(n) for second, n in row.items()} for first, row in counts.iterrows()
        },
    }


def main() -> None:
    """Print the numbers."""
    import yasa

    found = {name: statistics_of(text) for name, text in HYPNOGRAMS.items()}
    print(json.dumps({"yasa": yasa.__version__, "hypnograms": found}, indent=1))


if __name__ == "__main__":
    main()
