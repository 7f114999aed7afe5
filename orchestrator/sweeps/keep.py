"""Keep the model of a trial of a finished sweep: train it again, and keep what predicts the same.

A sweep keeps the models of its best trial and of its controls; another one may turn out to be wanted. Weights that
are in the store for good, those of folds and encoders, are taken as they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.errors import ConfigError, ReplayError
from orchestrator.method import Done, Method, Trained, method_of, table_name
from orchestrator.store import paths
from orchestrator.store.decoding import damaged
from orchestrator.store.store import Store
from orchestrator.sweeps.comparison import Comparison, Recorded
from orchestrator.sweeps.done import done_control, done_trial
from orchestrator.sweeps.finished import (
    WHERE_IT_IS_THE_SAME,
    FinishedSweep,
    Row,
    check_known,
    final_rows,
    finished_sweep,
    opened,
)
from orchestrator.sweeps.models import lost_weights, write_model
from orchestrator.sweeps.search.study import name_of
from orchestrator.telemetry.progress import note, progress


def keep_trials(
    store: Store, name: str, trials: Sequence[str], *, n_cpus: int | None = None
) -> Iterator[str]:
    """Keep the models of some trials of a finished sweep, and give the URI of each folder as soon as it is written.

    Each is trained into a folder that is thrown away, and its model written if its predictions are those that the sweep
    recorded. Those that are kept already come first. Nothing else of the sweep is written; labels are read through the
    ledger of replays, test labels not at all.

    Parameters
    ----------
    store : Store
    name : str
        Of the sweep.
    trials : sequence of str
        Names of trials, arms or rows, as in the final table; a control's also without its kind.
    n_cpus : int, optional
        CPUs of the Ray session that several workers run in; one worker needs none.

    Raises
    ------
    ConfigError
        There is no such sweep or trial, the sweep has not finished, its data changed, or a trial has nothing to keep.
        Nothing is trained then.
    DataError
        The store lacks the encoder or the score table of the sweep.
    IntegrityError
        A file of the sweep is damaged.
    ReplayError
        Trained again, some gave something else than recorded. Their models are not written; those of others are.
    InterruptedSweepError
        Ctrl-C: what is written stays; the same call goes on with the others.
    """
    sweep = finished_sweep(store, name, "has no trials to keep yet")
    # Whatever the sweep has kept, these trainings are to leave their weights.
    method = method_of(store, sweep.model_copy(update={"keep_models": "all"}))
    rows = final_rows(store, name)
    wanted = dict.fromkeys(_trained_name(method, rows, trial) for trial in trials)
    due = []
    for trial in wanted:
        if store.exists(paths.model_json(name, trial)):
            note(f"{trial} of sweep {name!r} is kept already")
            yield _uri(store, name, trial)
        else:
            due.append(trial)
    if due:
        yield from _trained_again(store, method, due, n_cpus)


def _trained_name(method: Method[Any], rows: Mapping[str, Row], given: str) -> str:
    """Return what the final table calls a trial that was trained to its end.

    Raises
    ------
    ConfigError
        There is none of this name, or it has nothing to keep.
    """
    control = given.removeprefix(f"{method.control_kind}-")
    is_control = {given, control} & set(method.controls)
    trial = table_name(method, given, rows)
    if trial is None and not is_control:
        check_known(given, list(rows))
    row = rows[trial] if trial is not None else None
    why = _why_nothing(method, row)
    if why is not None:
        raise ConfigError(
            f"{trial or given} of sweep {method.sweep.name!r} has no model to keep: {why}. Choose another trial."
        )
    assert trial is not None, "a control without a row trains nothing"
    return trial


def _why_nothing(method: Method[Any], row: Row | None) -> str | None:
    """Say why a trial has no model; None where it can have one."""
    if row is not None and row["state"] == "failed":
        cause, *_ = row["error"].splitlines()
        return f"it failed ({cause})"
    if row is not None and row["state"] == "stopped":
        return f"the scheduler ended it after report {row['stopped_after']}"
    untrained = method.untrained(row)
    return None if untrained is None else f"it was never trained; it is {untrained}"


def _trained_again(
    store: Store, method: Method[Any], due: Sequence[str], n_cpus: int | None
) -> Iterator[str]:
    name = method.sweep.name
    interrupted = (
        f"keeping trials of sweep {name!r} was interrupted. The models that are written stay; the same command goes on "
        "with the others."
    )
    with (
        opened(store, method) as finished,
        finished.begun("keep_started", due, interrupted=interrupted, n_cpus=n_cpus) as (
            comparison,
            log,
        ),
        progress("keep", len(due)) as advance,
    ):
        differing = {}
        for trial in due:
            differs = _keep(finished, comparison, _record_of(finished, trial))
            advance(f"{trial}: {'differs' if differs else 'kept'}")
            if differs:
                differing[trial] = differs
            else:
                log.emit("model_kept", trial=trial)
                yield _uri(store, name, trial)
        if differing:
            raise _not_the_same(finished, differing)


def _keep(finished: FinishedSweep, comparison: Comparison, recorded: Recorded) -> Sequence[str]:
    """Write the model of a trial if it is as it was; return what differs."""
    store, method = finished.store, finished.method
    trial, row = recorded.trial, finished.rows[recorded.trial]
    trained = method.trained(_done(finished, row), row)
    if _is_stored(store, trained):
        source, differs = store, comparison.record_differs(recorded)
    else:
        # What shares the training of another trial is trained as that one was.
        again = comparison.replayed(replace(recorded, reused_from=None))
        source, differs = finished.scratch, list(again.differs)
    if not differs:
        write_model(store, method.sweep, trial, trained, source)
    return differs


def _record_of(finished: FinishedSweep, trial: str) -> Recorded:
    for recorded in finished.recorded:
        if recorded.trial == trial:
            return recorded
    where = finished.store.uri_of(paths.sweep_journal(finished.name))
    raise damaged(where, f"it lacks trial {trial}, which the final table has")


def _is_stored(store: Store, trained: Trained) -> bool:
    """Whether all weights are in the store, and are what their training noted."""
    is_noted = all(weights.record is not None for weights in trained.weights)
    return is_noted and not lost_weights(store, trained)


def _done(finished: FinishedSweep, row: Row) -> Done[Any]:
    method, study = finished.method, finished.study
    if row["kind"] != "trial":
        return done_control(method, row)
    assert study is not None, "a trial is proposed by a search"
    assert method.search is not None
    front = study.front if method.search.also else None
    (frozen,) = (frozen for frozen in study.trials if name_of(frozen) == row["trial"])
    return done_trial(method, frozen, front)


def _not_the_same(finished: FinishedSweep, differing: Mapping[str, Sequence[str]]) -> ReplayError:
    found = "; ".join(f"{trial} ({', '.join(differs)})" for trial, differs in differing.items())
    about = f" ({'; '.join(finished.notes)})" if finished.notes else ""
    return ReplayError(
        f"trained again, {len(differing)} of the trials of sweep {finished.name!r} gave something else than "
        f"recorded{about}: {found}. No model of these is written. Run the command {WHERE_IT_IS_THE_SAME}."
    )


def _uri(store: Store, name: str, trial: str) -> str:
    return store.uri_of(paths.model_folder(name, trial))
