"""What a cluster costs: counted by hand."""

import time
from typing import Any

import pytest
import ray

from orchestrator.cluster.prices import USD_PER_HOUR
from orchestrator.config.sweep_sections import SearchBase
from orchestrator.errors import ConfigError
from orchestrator.sweeps.halt import Halt
from orchestrator.sweeps.search import spend
from orchestrator.sweeps.search.spend import Meter, check_priced, usd_per_hour


def node(usd: str | None, alive: bool = True) -> dict[str, Any]:
    labels = {} if usd is None else {USD_PER_HOUR: usd}
    return {"Alive": alive, "NodeManagerAddress": "10.0.0.7", "Labels": labels}


def test_machines_that_are_there_add_up() -> None:
    nodes = [node("0.1070"), node("0.5370"), node("0.5370"), node("9.0", alive=False)]
    assert usd_per_hour(nodes) == pytest.approx(1.181)
    assert usd_per_hour([]) == 0


def test_a_machine_without_a_price_is_named() -> None:
    with pytest.raises(ConfigError, match=r"10\.0\.0\.7 has no price.*orchestrator\.prices"):
        usd_per_hour([node("0.1"), node(None)])


def test_a_price_is_asked_for_where_there_is_a_limit() -> None:
    limited, free = SearchBase(n_trials=3, max_usd=5), SearchBase(n_trials=3)
    check_priced(None, [node(None)])
    check_priced(free, [node(None)])
    check_priced(limited, [node("0.1")])
    with pytest.raises(ConfigError, match="remove max_usd"):
        check_priced(limited, [node(None)])


@pytest.mark.heavy
def test_a_meter_goes_on_from_what_was_spent_and_follows_the_machines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes = [node("3600")]  # a dollar a second
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(spend, "_LOOK_S", 0.02)
    began = time.monotonic()
    with Meter(5.0, Halt()) as meter:
        time.sleep(0.3)
        one_machine = meter.usd
        nodes.append(node("36000"))
        time.sleep(0.3)
    passed = time.monotonic() - began
    assert 5.2 < one_machine < 5.0 + passed
    assert one_machine + 2.0 < meter.usd < 5.0 + 11 * passed


@pytest.mark.heavy
def test_a_machine_without_a_price_that_comes_later_stops_the_search(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nodes, halt = [node("1")], Halt()
    monkeypatch.setattr(ray, "nodes", lambda: nodes)
    monkeypatch.setattr(spend, "_LOOK_S", 0.01)
    with Meter(0.0, halt):
        nodes.append(node(None))
        time.sleep(0.2)
    assert halt.stopping
    assert "has no price" in str(halt.error)
