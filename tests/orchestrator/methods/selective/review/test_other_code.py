"""An encoder that other code trained is named on the page, by what is stored alone."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.errors import IntegrityError
from orchestrator.methods.selective.review.findings import find
from orchestrator.methods.selective.review.records import read_sweep
from orchestrator.methods.selective.review.report import SECTIONS, render_page
from orchestrator.reviews.page import Figure
from orchestrator.store import paths
from orchestrator.store.store import Store

SaveSweep = Callable[..., Store]

BEGAN_WITH = {"commit": "1" * 40, "dirty": False, "trainables_sha256": "a" * 64}
TRAINED_BY = {"commit": "2" * 40, "dirty": True, "trainables_sha256": "b" * 64}

NO_PICTURES = {one.file: b"" for one in SECTIONS if isinstance(one, Figure)}


def record(store: Store, path: str, **code: Any) -> None:
    """Add the code to a file, which may not be there."""
    content = json.loads(store.read_if_there(path) or b"{}")
    store.write_bytes(path, json.dumps(content | {"code": code}).encode())


def page(store: Store) -> str:
    """Return the page without its pictures."""
    return " ".join(render_page(find(read_sweep(store, "tau-lab")), NO_PICTURES).split())


@pytest.mark.heavy
def test_it_is_named_with_both_codes(save_sweep: SaveSweep) -> None:
    store = save_sweep()
    record(store, paths.sweep_manifest("tau-lab"), **BEGAN_WITH)
    record(store, paths.encoder_json("e3a91c"), **TRAINED_BY)
    text = page(store)
    assert "Trained by other code than this sweep began with: 1 encoder." in text
    assert (
        "e3a91c: trainables/ bbbbbbbbbbbb (commit 2222222222 with changes); "
        "the sweep: trainables/ aaaaaaaaaaaa (commit 1111111111)." in text
    )
    record(store, paths.encoder_json("other"), **TRAINED_BY)
    record(store, paths.encoder_json("e3a91c"), **TRAINED_BY | {"trainables_sha256": "a" * 64})
    assert "other code" not in page(store)


@pytest.mark.heavy
@pytest.mark.parametrize("recorded", ["neither", "manifest", "encoder"])
def test_where_one_records_no_code_the_page_is_as_it_was(
    recorded: str, save_sweep: SaveSweep
) -> None:
    store = save_sweep()
    without_encoder = page(store)
    store.write_bytes(paths.encoder_json("e3a91c"), b'{"encoder_id": "e3a91c"}')
    if recorded == "manifest":
        record(store, paths.sweep_manifest("tau-lab"), **BEGAN_WITH)
    if recorded == "encoder":
        record(store, paths.encoder_json("e3a91c"), **TRAINED_BY)
    assert page(store) == without_encoder


def test_a_damaged_encoder_is_named(save_sweep: SaveSweep) -> None:
    store = save_sweep()
    record(store, paths.sweep_manifest("tau-lab"), **BEGAN_WITH)
    store.write_bytes(paths.encoder_json("e3a91c"), b"{")
    with pytest.raises(IntegrityError, match=r"encoders/e3a91c/encoder\.json:1:2 is damaged"):
        page(store)
