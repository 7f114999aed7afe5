"""A data set of which something is damaged: the ingest names it before it converts anything."""

from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.cli.main import main
from orchestrator.psg.dataset import DatasetFile
from orchestrator.store import paths
from orchestrator.store.store import Store


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        (paths.manifest("tiny"), b"", " is damaged: "),
        (paths.manifest("tiny"), b"PAR1" + bytes(999) + b"PAR1", " is damaged: "),
        (paths.manifest("tiny"), b"no table at all" * 9, " is damaged: "),
        (
            paths.ingest_events("tiny"),
            b'{"event": "ingest_sta\n{}\n',
            ":1 is damaged: it is no JSON",
        ),
        (paths.ingest_events("tiny"), bytes(7) + b"\n", ":1 is damaged: it holds 7 zero bytes"),
    ],
)
def test_what_is_damaged_is_named(
    path: str,
    content: bytes,
    says: str,
    dataset: Callable[..., DatasetFile],
    tiny_nights: Callable[[int], Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    dataset()
    store = Store.open(str(tmp_path / "runs"))
    store.write_bytes(path, content)
    file, folder = tmp_path / "tiny.yaml", tiny_nights(1)
    with pytest.raises(SystemExit) as ended:
        main(["ingest", str(file), "--data", str(folder), "--store", store.uri])
    said = " ".join(capsys.readouterr().err.split())
    assert ended.value.code == 4, said
    assert f"{store.uri_of(path)}{says}" in said
    assert "Traceback" not in said
    assert store.read_bytes(path) == content
