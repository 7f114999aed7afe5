"""A sweep of pretrainings -> the files of its review. Reads the store; `orchestrator.review.report` writes."""

from orchestrator.review.page import rows_csv, table_csv, template
from orchestrator.review.parameters import sensitivity_note
from orchestrator.review.parameters_plot import parameters_png
from orchestrator.review.pretrain import wording
from orchestrator.review.pretrain.cautions import cautions
from orchestrator.review.pretrain.findings import TITLES, Findings, find
from orchestrator.review.pretrain.records import read_sweep
from orchestrator.store.store import Store
from orchestrator.tables.pretrain import SubjectRow, TrialRow


def review_files(store: Store, name: str) -> dict[str, bytes]:
    """File name -> content: ``review.html``, the figure with its CSV, CSV of the tables, and ``encoder.yaml``.

    ``encoder.yaml`` holds the two sections of a selective sweep file that finds the chosen trial's encoder; without a
    finished trial there is none.

    Raises
    ------
    DataError
        The tables of the sweep were written by another version.
    """
    found = find(read_sweep(store, name))
    sweep, names = found.sweep, [parameter.name for parameter in found.sensitivities]
    figure = parameters_png(
        found.sensitivities,
        sweep.trials,
        found.chosen,
        [(f"always {sweep.manifest.majority.stage}", sweep.manifest.majority.macro_f1)],
        "source macro-F1",
    )
    return {
        "parameters.png": figure,
        "parameters.csv": table_csv(
            ("trial", "enqueued", *names, "objective"),
            (
                [t.trial, t.enqueued, *(t.params[name] for name in names), t.objective]
                for t in sweep.trials
                if t.is_complete
            ),
        ),
        "trials.csv": rows_csv(TrialRow, sweep.trials, leave_out=("kind", "signature")),
        "subjects.csv": rows_csv(SubjectRow, sweep.subjects),
        **({"encoder.yaml": found.sections.encode()} if found.sections else {}),
        "review.html": render_page(found, figure).encode(),
    }


def render_page(found: Findings, figure: bytes) -> str:
    """The page as HTML that needs no other file."""
    return template("pretrain/page.html.j2").render(
        found=found,
        manifest=found.sweep.manifest,
        chosen=found.chosen,
        figure=figure,
        answer=wording.answer(found),
        cautions=cautions(found),
        sensitivity_note=sensitivity_note(found.sensitivities),
        titles=TITLES,
        value_text=wording.value_text,
        reading_notes=wording.reading_notes(found),
        provenance=wording.provenance(found),
    )
