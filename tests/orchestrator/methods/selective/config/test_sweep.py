"""Sweep files of the method selective: mistakes at file:line:column, defaults, objectives."""

from pathlib import Path
from typing import Any

import pytest

from orchestrator.config.sweep import dump, load_sweep
from orchestrator.errors import ConfigError
from orchestrator.methods.selective.config.search import Search
from orchestrator.methods.selective.config.sweep import SelectiveSweep, check_objective
from search_spaces.selective import DEFAULTS, ENQUEUED_TAU_QUANTILES, SPACE
from search_spaces.space import Integer, LogUniform, Uniform
from trainables.settings import EncoderSettings, PretrainSettings
from trainables.stages import Stage

GOOD = """\
name: probe
method: selective
stages: [REM, W]
source:
  dataset: home
  validation: [s1, s2]
target:
  dataset: clinic
encoder:
  dropout: 0.25
pretrain:
  n_passes: 20
score:
  layer: afr_gap
search:
  n_trials: 12
  n_steps: 30
  objective: source_val
  space:
    tau_quantile: {uniform: [0.25, 0.75]}
    learning_rate: {log_uniform: [5e-5, 1e-3]}
arms: [random, no_adapt]
"""

MORE = "n_steps: 30\n  "
STEPS = "    n_steps: {{integer: [{}]}}\n    tau_q"
ENQUEUE = "n_steps: 30\n  enqueue_taus: "


def write(folder: Path, text: str, name: str = "probe.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def loaded(folder: Path, *changes: tuple[str, str]) -> SelectiveSweep:
    text = GOOD
    for old, new in changes:
        assert text.count(old) == 1
        text = text.replace(old, new)
    sweep = load_sweep(write(folder, text))
    assert isinstance(sweep, SelectiveSweep)
    return sweep


def place(text: str, part: str) -> str:
    """Line and column of a part of a text that occurs once."""
    assert text.count(part) == 1
    before = text[: text.index(part)]
    return f"{before.count(chr(10)) + 1}:{len(before.rpartition(chr(10))[2]) + 1}"


def test_a_file_fills_in_every_default(tmp_path: Path) -> None:
    sweep = loaded(tmp_path)
    assert sweep.seed == 1
    assert sweep.stages == (Stage.W, Stage.REM)
    assert sweep.modality == "eeg"
    assert sweep.batch_size == 128
    assert sweep.source.subjects == ("*",)
    assert sweep.target.validation == ()
    assert sweep.encoder == EncoderSettings(dropout=0.25)
    assert sweep.pretrain == PretrainSettings(n_passes=20)
    assert (sweep.score.metric, sweep.score.standardise, sweep.score.aggregate) == (
        "euclidean",
        "source",
        "mean",
    )
    assert sweep.search.space.declared() == {
        "tau_quantile": Uniform(0.25, 0.75),
        "learning_rate": LogUniform(5e-5, 1e-3),
    }
    assert sweep.search.default_learning_rate == DEFAULTS["learning_rate"]
    assert sweep.search.enqueue_taus == (0.25, 0.5, 0.75)  # those inside the space
    assert sweep.search.max_concurrent == 2
    assert sweep.arms == ("no_adapt", "random")
    assert (sweep.workers, sweep.cpus_per_worker) == (1, 1.0)


@pytest.mark.parametrize(
    ("reading", "declared"),
    [
        ("tau_budget: {integer: [2, 40]}", ("tau_budget", Integer(2, 40))),
        ("tau_absolute: {log_uniform: [0.05, 0.5]}", ("tau_absolute", LogUniform(0.05, 0.5))),
    ],
)
def test_tau_in_another_reading(
    reading: str, declared: tuple[str, Integer | LogUniform], tmp_path: Path
) -> None:
    text = GOOD.replace("tau_quantile: {uniform: [0.25, 0.75]}", reading)
    sweep = load_sweep(write(tmp_path, text))
    assert isinstance(sweep, SelectiveSweep)
    assert next(iter(sweep.search.space.declared().items())) == declared
    assert sweep.search.first_trials() == []  # quantiles that are published are no other numbers
    low = declared[1].low
    again = load_sweep(write(tmp_path, text.replace("n_steps: 30", f"{ENQUEUE}[{low}]")))
    assert isinstance(again, SelectiveSweep)
    assert again.search.first_trials() == [{declared[0]: low, "learning_rate": 1e-4}]
    assert load_sweep(write(tmp_path, dump(sweep))) == sweep


def test_steps_are_varied_only_by_a_file_that_says_so(tmp_path: Path) -> None:
    assert "n_steps" not in loaded(tmp_path).search.space.declared()
    steps = "n_steps: {integer: [20, 200]}\n    tau_quantile"
    sweep = loaded(tmp_path, ("tau_quantile", steps))
    assert sweep.search.space.declared()["n_steps"] == Integer(20, 200)
    assert [trial["n_steps"] for trial in sweep.search.first_trials()] == [30] * 3
    assert load_sweep(write(tmp_path, dump(sweep))) == sweep


def test_a_short_file_searches_the_declared_space(tmp_path: Path) -> None:
    text = GOOD[: GOOD.index("encoder:")] + "search: {n_trials: 1, n_steps: 1}\n"
    sweep = load_sweep(write(tmp_path, text))
    assert isinstance(sweep, SelectiveSweep)
    assert sweep.search.space.declared() == {
        name: SPACE[name] for name in ("tau_quantile", "learning_rate")
    }
    assert sweep.search.enqueue_taus == ENQUEUED_TAU_QUANTILES
    assert sweep.search.first_trials() == [
        {"tau_quantile": tau, "learning_rate": 1e-4} for tau in ENQUEUED_TAU_QUANTILES
    ]
    assert sweep.search.objective == "source_val"
    assert sweep.arms == ("no_adapt", "all_source", "random")


@pytest.mark.parametrize(
    ("old", "new", "at", "message"),
    [
        ("n_trials", "n_trails", "n_trails", "unknown key 'n_trails' in search. Did you mean 'n_trials'? Allowed: n_"),
        ("arms:", "amrs:", "amrs", "unknown key 'amrs' in this file. Did you mean 'arms'?"),
        ("dropout", "dropuot", "dropuot", "unknown key 'dropuot' in encoder. Did you mean 'dropout'? Allowed: arch"),
        ("n_passes", "n_epochs", "n_epochs", "unknown key 'n_epochs' in pretrain"),
        ("uniform: [0.25", "unifrom: [0.25", "unifrom", "in search.space.tau_quantile. Did you mean 'uniform'?"),
        ("tau_quantile:", "tau_quantil:", "tau_quantil:", "in search.space. Did you mean 'tau_quantile'?"),
        ("afr_gap", "afr_gab", "afr_gab", "is \"afr_gab\": not allowed. Did you mean 'afr_gap'? Allowed: afr"),
        ("source_val", "source_vall", "source_vall", "Did you mean 'source_val'? Allowed: source_val, target_info"),
        ("no_adapt", "no_adpat", "no_adpat", "arms[1] is \"no_adpat\": not allowed. Did you mean 'no_adapt'?"),
        ("REM, W", "N1, REN", "REN", "stages[1] is \"REN\": not allowed. Did you mean 'REM'? Allowed: W,"),
        ("REM, W", "W", "[W]", "must name at least two stages, each once"),
        ("REM, W", "W, REM, W", "[W, REM, W]", "must name at least two stages, each once"),
        ("[0.25, 0.75]", "[0.25, 1]", "1]}", "tau_quantile.uniform[1] is 1: a tau quantile must lie in [0, 1)"),
        ("[0.25, 0.75]", "[-0.1, 0.75]", "-0.1", "must lie in [0, 1)"),
        ("[0.25, 0.75]", "[0.75, 0.25]", "[0.75, 0.25]", "must be [low, high] with low < high"),
        ("[0.25, 0.75]", "[0.5]", "[0.5]", "has too few items"),
        ("[5e-5, 1e-3]", "[5e-5, 1]", "1]}", "must lie in [1e-05, 0.01]"),
        ("[5e-5, 1e-3]", "[5e-5, 1]", "1]", "log_uniform[1] is 1: must lie in [1e-05, 0.01], the range of search_spa"),
        ("{log_uniform: [5e-5, 1e-3]}", "{fixed: 1}", "1}", "rate.fixed is 1: must lie in [1e-05, 0.01], the range of"),
        ("[5e-5, 1e-3]}", "[0, 1], extend: true}", "0,", "log_uniform[0] is 0: must be greater than 0"),
        ("[5e-5, 1e-3]", "[5e-4, 1e-3]", "n_trials: 12", "0.0001 lies outside space.learning_rate [0.0005, 0.001]"),
        ("n_steps: 30", ENQUEUE + "[0.5, 1.2]", "1.2", "outside space.tau_quantile [0.25, 0.75]"),
        ("{uniform: [0.25, 0.75]}", "null", "null", "must have a value; give one, or remove the key"),
        ("    tau_q", "    tau_budget: {integer: [1, 9]}\n    tau_q", "{integer", "as tau_quantile does"),
        ("n_steps: 30", ENQUEUE + "[0.5, 0.9]", "0.9]", "outside space.tau_quantile [0.25, 0.75]"),
        ("n_steps: 30", ENQUEUE + "[0.5, 0.50]", "0.50]", "is given twice"),
        ("    tau_q", STEPS.format("20, 200.5"), "200.5", "n_steps.integer[1] is 200.5: must be a whole"),
        ("    tau_q", STEPS.format("0, 200"), "0, 200", "[0] is 0: must be greater than or equal to 1"),
        ("    tau_q", STEPS.format("20, 100001"), "100001", "must be less than or equal to 100000"),
        ("    tau_q", STEPS.format("200, 20"), "[200, 20]", "must be [low, high] with low < high"),
        ("    tau_q", "    n_steps: null\n    tau_q", "null", "n_steps is empty: must have a value; give one, or rem"),
        ("    tau_q", STEPS.format("40, 200"), "30\n", "n_steps is 30: lies outside space.n_steps [40, 200]"),
        ("n_trials: 12", "n_trials: 0", "0\n  n_steps", "search.n_trials is 0: must be greater than or equal to 1"),
        ("n_trials: 12", "n_trials: true", "true", "search.n_trials is true: must be a whole number"),
        ("n_trials: 12", 'n_trials: "12"', '"12"', "search.n_trials is \"12\": must be a whole number"),
        ("  n_trials: 12\n", "", "search:", "missing key 'n_trials' in search"),
        ("dropout: 0.25", "dropout: 1.5", "1.5", "encoder.dropout is 1.5: allowed: a finite number"),
        ("dropout: 0.25", "dropout: half", "half", "encoder.dropout is \"half\": must be a number"),
        ("n_passes: 20", "n_passes: 0", "0\nscore", "pretrain.n_passes is 0: allowed: an integer of at least 1"),
        ("[s1, s2]", "[]", "[]", "source.validation is []: must have at least 1 item"),
        ("[s1, s2]", "s1", "s1", "source.validation is \"s1\": must be a list, as in [s1]"),
        ("[s1, s2]", "[018, 19]", "19]", "source.validation[1] is 19: must be text; put it in quotes"),
        ("dataset: clinic", "dataset: clinic\n  validation: [t1]", "[t1]", "has no effect with the objective"),
        ("source_val", "oracle_target_val", "oracle", "needs target.validation"),
        ("name: probe", "name: probe\nbatch_size: 2048", "2048", "must be less than or equal to 1024"),
        ("name: probe", "name: probe\nseed: -1", "-1", "must be greater than or equal to 0"),
        ("name: probe", "name: probe\nname: again", "name: again", "duplicate key 'name'"),
        ("random, no_adapt", "random, random", "[random, random]", "must name each arm once"),
        ("name: probe", "name: probe\nworkers: 0", "0\nmethod", "workers is 0: must be greater than or equal to 1"),
        ("name: probe", "name: probe\nworkers: 200", "200", "must divide the 128 epochs"),
        ("name: probe", "name: probe\ncpus_per_worker: 0", "0\nmethod", "cpus_per_worker is 0: must be greater than 0"),
        ("n_steps: 30", MORE + "sampler: {name: tpee}", "tpee}", "name is \"tpee\": not allowed. Did you mean 'tpe'"),
        ("n_steps: 30", MORE + "sampler: {name: tpe, options: {startup: 3}}", "3}", "mean 'n_startup_trials'?"),
        ("n_steps: 30", MORE + "sampler: {name: tpe, options: {seed: 3}}", "3}", "options.seed is 3: not an option"),
        ("n_steps: 30", MORE + "sampler: {name: nsgaii, options: {population_size: 1}}", "{popul", "by Optuna"),
        ("n_steps: 30", MORE + "sampler: {options: {n_startup_trials: 3}}", "{n_start", "needs a name"),
        ("n_steps: 30", MORE + "scheduler: {name: ahsa}", "ahsa}", "is \"ahsa\": not allowed. Did you mean 'asha'?"),
        ("n_steps: 30", MORE + "scheduler: {name: asha, options: {reduction_factor: 1}}", "{reduction", "by Optuna"),
        ("n_steps: 30", MORE + "scheduler: {name: asha}\n  also: [transfer_margin]", "asha}", "ends no trials"),
        ("n_steps: 30", MORE + "also: [cots]", "cots", "also[0] is \"cots\": not allowed. Did you mean 'cost'?"),
        ("n_steps: 30", MORE + "plateau: 3\n  also: [transfer_margin]", "3\n  also", "needs a single objective"),
        ("n_steps: 30", MORE + "also: [cost]", "cost", "is the same for all trials unless space.n_steps varies it"),
        ("n_steps: 30", MORE + "also: [cost, cost]", "[cost, cost]", "must name each objective once"),
        ("n_steps: 30", MORE + "replicates: 0", "0\n  obj", "replicates is 0: must be greater than or equal to 1"),
        ("{log_uniform: [5e-5, 1e-3]}", "{fixed: 1}", "1}", "must lie in [1e-05, 0.01]"),
        ("{log_uniform: [5e-5, 1e-3]}", "{fixed: 1e-4, log_uniform: [1e-4, 1e-3]}", "{fixed", "must have one key"),
        ("n_steps: 30", MORE + "enqueue: [{tau_quantile: 0.5, learning_rate: 1}]", "1}]", "outside space.lear"),
        ("n_steps: 30", MORE + "enqueue: [{tau_quantile: 0.5, n_steps: 9}]", "9}]", "is not varied by this search"),
        ("n_steps: 30", MORE + "enqueue: [{learning_rate: 1e-4}]", "{learning_rate: 1e-4}", "needs a tau_quantile"),
        ("n_steps: 30", MORE + "enqueue: [{tau_quantil: 0.5}]", "tau_quantil: 0.5", "Did you mean 'tau_quantile'?"),
        ("encoder:\n  dropout: 0.25", "encoder: mrcnn", "mrcnn", "encoder is \"mrcnn\": must be a mapping"),
        ("  dataset: clinic\n", "", "\nencoder", "target is empty: must be a mapping"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_at_its_place(
    tmp_path: Path, old: str, new: str, at: str, message: str
) -> None:
    assert GOOD.count(old) == 1
    text = GOOD.replace(old, new)
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    lines = str(caught.value).splitlines()
    (line,) = [line for line in lines if message in line]
    assert line.startswith(f"{path}:{place(text, at)}: ")
    # Next to a misspelt key the right one is missing; nothing else is wrong.
    assert all(": missing key " in other for other in lines if other != line)


def test_a_fixed_learning_rate_is_not_varied(tmp_path: Path) -> None:
    text = GOOD.replace("{log_uniform: [5e-5, 1e-3]}", "{fixed: 5e-4}")
    search = load_sweep(write(tmp_path, text)).search
    assert isinstance(search, Search)
    assert list(search.space.declared()) == ["tau_quantile"]
    assert search.default_learning_rate == 5e-4
    assert search.first_trials()[0].keys() == {"tau_quantile"}
    with pytest.raises(
        ConfigError, match=r"is not the rate that space.learning_rate fixes, 0\.0005"
    ):
        load_sweep(
            write(tmp_path, text.replace("n_steps: 30", MORE + "default_learning_rate: 1e-4"))
        )


def test_whole_configurations_are_tried_after_the_taus(tmp_path: Path) -> None:
    more = MORE + "enqueue_taus: [0.5]\n  enqueue: [{tau_quantile: 0.7, learning_rate: 5e-4}]"
    search = load_sweep(write(tmp_path, GOOD.replace("n_steps: 30", more))).search
    assert isinstance(search, Search)
    assert search.first_trials() == [
        {"tau_quantile": 0.5, "learning_rate": 1e-4},
        {"tau_quantile": 0.7, "learning_rate": 5e-4},
    ]


def test_a_scheduler_wants_reports_and_several_workers_give_none(tmp_path: Path) -> None:
    text = GOOD.replace("n_steps: 30", MORE + "scheduler: {name: asha}")
    assert load_sweep(write(tmp_path, text)).search is not None
    path = write(tmp_path, text.replace("name: probe", "name: probe\nworkers: 2"))
    with pytest.raises(ConfigError, match=r"scheduler.name is \"asha\": needs workers: 1"):
        load_sweep(path)


def test_all_mistakes_are_reported_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        GOOD.replace("n_trials", "n_trails").replace("[REM, W]", "[REM, X]").replace("gap", "gip")
    )
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    lines = str(caught.value).splitlines()
    assert [line.removeprefix(f"{path}:").partition(": ")[0] for line in lines] == [
        place(text, "X]"),
        place(text, "afr_gip"),
        place(text, "search:"),
        place(text, "n_trails"),
    ]
    assert caught.value.exit_code == 2


def check(sweep: SelectiveSweep, subjects: list[str]) -> None:
    check_objective(sweep, sweep.target.roles(subjects))


def oracle(folder: Path, validation: str) -> SelectiveSweep:
    return loaded(
        folder,
        ("source_val", "oracle_target_val"),
        ("dataset: clinic", f"dataset: clinic\n  validation: {validation}"),
    )


def test_source_val_needs_no_target_validation(tmp_path: Path) -> None:
    check(loaded(tmp_path), ["t1"])


def test_an_oracle_with_subjects_left_to_test_on_passes(tmp_path: Path) -> None:
    check(oracle(tmp_path, "[t1]"), ["t1", "t2"])


@pytest.mark.parametrize(
    ("validation", "subjects", "message"),
    [
        ("[t1]", ["t1"], "needs at least two target subjects"),
        ("[t3]", ["t1", "t2"], r"No subject matches 't3'\. Available: t1, t2"),
        ("['*']", ["t1", "t2"], "leaves no subject to test on"),
    ],
)
def test_an_oracle_without_enough_target_subjects_is_refused(
    tmp_path: Path, validation: str, subjects: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        check(oracle(tmp_path, validation), subjects)
    assert caught.value.exit_code == 2


def with_roles(folder: Path, roles: str, *changes: tuple[str, str]) -> SelectiveSweep:
    return loaded(folder, ("dataset: clinic", f"dataset: clinic\n  {roles}"), *changes)


@pytest.mark.parametrize(
    "roles", ["subjects: ['n*']", "adapt: ['n*', x1]\n  test: [x1, 'n*']", "exclude: [n01]"]
)
def test_each_subject_may_be_adapted_to_by_itself(tmp_path: Path, roles: str) -> None:
    assert loaded(tmp_path).adapt_to == "target"
    sweep = with_roles(tmp_path, roles, ("name: probe", "name: probe\nadapt_to: subject"))
    assert sweep.adapt_to == "subject"
    assert load_sweep(write(tmp_path, dump(sweep))) == sweep


def test_who_is_adapted_to_by_itself_has_to_be_tested(tmp_path: Path) -> None:
    roles = "dataset: clinic\n  adapt: ['n0*']\n  test: ['n1*']"
    text = GOOD.replace("dataset: clinic", roles)
    assert load_sweep(write(tmp_path, text))
    text = text.replace("encoder:", "adapt_to: subject\nencoder:")
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_sweep(path)
    said = str(caught.value)
    where = place(text, "subject\nencoder")
    assert said.startswith(f'{path}:{where}: adapt_to is "subject": ')
    assert "target.adapt and target.test do not name the same subjects" in said
    assert "name them in target.subjects instead" in said
    assert caught.value.exit_code == 2


def test_a_budget_of_all_subjects_teaches_no_sweep(tmp_path: Path) -> None:
    text = GOOD.replace("n_steps: 30", MORE + "warm_start: [old]").replace(
        "name: probe", "name: probe\nadapt_to: subject"
    )
    assert load_sweep(write(tmp_path, text))
    text = text.replace("tau_quantile: {uniform: [0.25, 0.75]}", "tau_budget: {integer: [2, 4]}")
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match="does not go with tau_budget") as caught:
        load_sweep(path)
    assert str(caught.value).startswith(f"{path}:{place(text, '[old]')}: search.warm_start")


NIGHTS = [f"n{i:02d}" for i in range(6)]


def test_subjects_stand_for_both_roles(tmp_path: Path) -> None:
    for target in (loaded(tmp_path).target, with_roles(tmp_path, "subjects: ['n*']").target):
        roles = target.roles(NIGHTS)
        assert roles.adapt == roles.test == roles.subjects == tuple(NIGHTS)


def test_one_may_adapt_to_some_and_judge_others(tmp_path: Path) -> None:
    sweep = with_roles(tmp_path, "adapt: ['n0[0-3]']\n  test: ['n0[3-5]']\n  exclude: [n01, n05]")
    roles = sweep.target.roles(NIGHTS)
    assert (roles.adapt, roles.test, roles.validation) == (
        ("n00", "n02", "n03"), ("n03", "n04"), (),
    )  # fmt: skip
    assert roles.subjects == ("n00", "n02", "n03", "n04")


def test_validation_is_apart_from_test(tmp_path: Path) -> None:
    sweep = with_roles(
        tmp_path,
        "adapt: [n00]\n  test: ['n0[1-3]']\n  validation: [n01, n05]",
        ("source_val", "oracle_target_val"),
    )
    roles = sweep.target.roles(NIGHTS)
    assert (roles.adapt, roles.test, roles.validation) == (
        ("n00",), ("n02", "n03"), ("n01", "n05"),
    )  # fmt: skip
    check_objective(sweep, roles)
    with pytest.raises(ConfigError, match=r"target\.validation takes all of n01, n02, n03"):
        check(sweep.model_copy(update={"target": sweep.target.model_copy(
            update={"validation": ("n0[1-3]",)})}), NIGHTS)  # fmt: skip


def test_roles_are_stored_as_they_were_written(tmp_path: Path) -> None:
    sweep = with_roles(tmp_path, "adapt: [n00]\n  test: [n01]")
    path = tmp_path / "stored.yaml"
    path.write_text(dump(sweep), encoding="utf-8")
    assert "subjects" not in sweep.resolved()["target"]
    assert load_sweep(path) == sweep
    assert loaded(tmp_path).resolved()["target"]["subjects"] == ["*"]
    assert not loaded(tmp_path).resolved()["target"].keys() & {"adapt", "test"}


@pytest.mark.parametrize(
    ("roles", "message"),
    [
        ("adapt: [a]", r"target\.adapt is \[\"a\"\]: needs 'test' next to it"),
        ("test: [a]", r"target\.test is \[\"a\"\]: needs 'adapt' next to it"),
        ("adapt: [a]\n  test: [b]\n  subjects: [c]", "target.subjects .* stands for 'adapt' and 'test'"),
        ("subjects: ", "target.subjects is empty: must have a value"),
        ("adapt: []\n  test: [b]", "target.adapt is .*must have at least 1 item"),
        ("adpt: [b]", "unknown key 'adpt' in target. Did you mean 'adapt'"),
    ],
)  # fmt: skip
def test_mistakes_in_roles(tmp_path: Path, roles: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        with_roles(tmp_path, roles)
    assert len(str(caught.value).splitlines()) == 1


def test_a_sweep_cannot_be_changed_in_memory(tmp_path: Path) -> None:
    sweep: Any = loaded(tmp_path)
    with pytest.raises(ValueError, match="frozen"):
        sweep.seed = 2
