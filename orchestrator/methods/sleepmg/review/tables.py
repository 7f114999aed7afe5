"""The CSV files of a sleepmg review, by name."""

from orchestrator.methods.sleepmg.results import FoldRow, RecordingRow, TrialRow
from orchestrator.methods.sleepmg.review.balance import QUANTITIES
from orchestrator.methods.sleepmg.review.findings import Findings
from orchestrator.reviews.page import records_csv, rows_csv, table_csv


def tables(found: Findings) -> dict[str, bytes]:
    """File name -> content; every digit, and no value is an empty cell."""
    sweep = found.sweep
    return {
        "trials.csv": rows_csv(TrialRow, sweep.trials),
        "folds.csv": rows_csv(FoldRow, sweep.folds),
        "recordings.csv": rows_csv(RecordingRow, sweep.recordings),
        "comparisons.csv": _comparisons(found),
        "modalities.csv": records_csv(
            ("entry", "modality", "n_folds", *QUANTITIES, "n_starved"), found.modalities
        ),
        "confusion.csv": _confusion(found),
        **({"parameters.csv": _parameters(found)} if found.sensitivities else {}),
        **({"balance.csv": _balance(found)} if found.traced else {}),
        **({"domains.csv": _domains(found)} if found.domains else {}),
    }


def _comparisons(found: Findings) -> bytes:
    names = (
        "entry,control,n_seeds,control_n_seeds,test_macro_f1,control_test_macro_f1,difference,seed_sd,n_subjects,"
        "subjects_mean,subjects_low,subjects_high,wilcoxon_p,verdict"
    )
    rows = []
    for c in found.comparisons:
        over = c.over_subjects
        rows.append(
            [
                c.entry.name,
                c.control.name,
                len(c.entry.runs),
                len(c.control.runs),
                c.entry.mean("test_macro_f1"),
                c.control.mean("test_macro_f1"),
                c.difference,
                c.seed_sd,
                *((over.n, over.mean, over.low, over.high, over.p_value) if over else [None] * 5),
                c.verdict,
            ]
        )
    return table_csv(names.split(","), rows)


def _parameters(found: Findings) -> bytes:
    names = [s.name for s in found.sensitivities]
    return table_csv(
        ["trial", "kind", "row", "seed", "enqueued", *names, "objective"],
        (
            [
                t.trial,
                t.kind,
                t.row,
                t.seed,
                t.enqueued,
                *(t.params[n] for n in names),
                t.objective,
            ]
            for t in found.sweep.trials
            if t.is_complete
        ),
    )


def _balance(found: Findings) -> bytes:
    name = found.traced.name if found.traced else None
    return table_csv(
        ["entry", "quantity", "modality", "pass", "n_folds", "mean", "sd"],
        ([name, p.quantity, p.modality, p.pass_, p.n_folds, p.mean, p.sd] for p in found.traces),
    )


def _domains(found: Findings) -> bytes:
    return table_csv(
        ["entry", "kind", "n_seeds", "accuracy", "chance"],
        (
            [
                entry.name,
                "row" if entry.is_row else "trial",
                len(entry.runs),
                entry.mean("domain_accuracy"),
                entry.mean("domain_chance"),
            ]
            for entry in found.domains
        ),
    )


def _confusion(found: Findings) -> bytes:
    return table_csv(
        ["entry", "true", "predicted", "n", "row_share"],
        (
            [m.entry.name, true, predicted, m.counts[i][j], m.share(i, j)]
            for m in found.matrices
            for i, true in enumerate(m.stages)
            for j, predicted in enumerate(m.stages)
        ),
    )
