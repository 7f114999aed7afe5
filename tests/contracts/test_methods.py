"""Every method, by being listed."""

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest

from orchestrator.config.methods import METHODS, room
from orchestrator.config.sweep import SWEEP_CLASSES, load_sweep
from orchestrator.config.sweep_sections import SweepBase
from orchestrator.errors import ConfigError
from orchestrator.method import Method
from tests.orchestrator.config.sweep_files import SELECTIVE

MEMBERS = {name for name in vars(Method) if not name.startswith("_")}

every_method = pytest.mark.parametrize("name", METHODS)


def class_of(name: str) -> Any:
    return room(name, "run").METHOD


@every_method
def test_its_sweep_files_carry_its_name(name: str) -> None:
    assert SWEEP_CLASSES[name] is room(name, "config").SWEEP
    assert get_args(SWEEP_CLASSES[name].model_fields["method"].annotation) == (name,)


@every_method
def test_its_sweep_files_say_what_the_base_leaves_to_them(name: str) -> None:
    for member in ("first_trials", "own_params"):
        assert getattr(SWEEP_CLASSES[name], member) is not getattr(SweepBase, member)


@every_method
def test_its_folder_has_the_rooms_of_every_method(name: str) -> None:
    folder = Path(str(import_module(METHODS[name]).__file__)).parent
    rooms = {path.stem for path in folder.iterdir() if not path.name.startswith("__")}
    assert rooms == {"config", "plan", "trial", "results", "run", "review"}
    assert callable(room(name, "review").review_files)


@every_method
def test_it_has_all_that_the_engine_asks_for(name: str) -> None:
    made_later = {"sweep"}  # with the object
    assert {member for member in MEMBERS if not hasattr(class_of(name), member)} == made_later


@every_method
def test_what_it_takes_is_called_as_the_engine_calls_it(name: str) -> None:
    for member in MEMBERS:
        wanted = getattr(Method, member, None)
        if inspect.isfunction(wanted):
            found = getattr(class_of(name), member)
            assert list(inspect.signature(found).parameters) == list(
                inspect.signature(wanted).parameters
            ), member


@every_method
def test_its_trainer_goes_to_other_processes_by_name(name: str) -> None:
    trainer = class_of(name).trainer
    for function in (trainer.configured, trainer.train):
        module = import_module(function.__module__)
        assert getattr(module, function.__name__) is function


@every_method
def test_a_slip_in_its_name_is_answered_with_all_names(name: str, tmp_path: Path) -> None:
    path = tmp_path / "probe.yaml"
    path.write_text(SELECTIVE.replace("method: selective", f"method: {name}x"), encoding="utf-8")
    with pytest.raises(ConfigError, match=f"Did you mean '{name}'") as refused:
        load_sweep(path)
    assert all(other in str(refused.value) for other in METHODS)
