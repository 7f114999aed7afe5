"""A sweep of pretrainings -> the files of its review. Reads the store; `orchestrator.reviews.report` writes."""

from collections.abc import Mapping

from orchestrator.methods.pretrain.results import SubjectRow, TrialRow
from orchestrator.methods.pretrain.review import wording
from orchestrator.methods.pretrain.review.cautions import cautions
from orchestrator.methods.pretrain.review.findings import TITLES, Findings, find
from orchestrator.methods.pretrain.review.records import read_sweep
from orchestrator.reviews.page import Figure, Section, drawn, rendered, rows_csv, table_csv
from orchestrator.reviews.parameters import sensitivity_note
from orchestrator.reviews.parameters_plot import parameters_png
from orchestrator.store.store import Store

_OWN = "methods/pretrain/review/sections"

PARAMETERS: Figure[Findings] = Figure(
    file="parameters.png",
    alt=lambda _: (
        "One panel for each searched parameter: its value in every trial against the objective, enqueued and sampled "
        "trials marked apart, always answering one stage as a horizontal line. The numbers are in parameters.csv."
    ),
    draw=lambda found: parameters_png(
        found.sensitivities,
        found.sweep.trials,
        found.chosen,
        [(f"always {found.sweep.manifest.majority.stage}", found.sweep.manifest.majority.macro_f1)],
        "source macro-F1",
    ),
    template=f"{_OWN}/parameters.html.j2",
)

SECTIONS: tuple[Section[Findings], ...] = (
    f"{_OWN}/header.html.j2",
    f"{_OWN}/answer.html.j2",
    "reviews/sections/limits.html.j2",
    PARAMETERS,
    f"{_OWN}/trials.html.j2",
    f"{_OWN}/subjects.html.j2",
    "reviews/sections/reading.html.j2",
    "reviews/sections/provenance.html.j2",
)
"""The page, from top to bottom."""


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
    pictures = drawn(SECTIONS, found)
    return {
        **pictures,
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
        "review.html": render_page(found, pictures).encode(),
    }


def render_page(found: Findings, pictures: Mapping[str, bytes]) -> str:
    """The page as HTML that needs no other file.

    Parameters
    ----------
    found : Findings
    pictures : mapping of str to bytes
        File name -> PNG.
    """
    return rendered(
        SECTIONS,
        found,
        pictures,
        title=found.sweep.manifest.name,
        style="methods/pretrain/review/style.css",
        manifest=found.sweep.manifest,
        chosen=found.chosen,
        answer=wording.answer(found),
        cautions=cautions(found),
        sensitivity_note=sensitivity_note(found.sensitivities),
        titles=TITLES,
        value_text=wording.value_text,
        reading_notes=wording.reading_notes(found),
        provenance=wording.provenance(found),
    )
