"""A sleepmg sweep -> the files of its review. Reads the store; `orchestrator.reviews.report` writes."""

from collections.abc import Mapping
from itertools import groupby

from orchestrator.methods.sleepmg.config.objectives import FURTHER
from orchestrator.methods.sleepmg.results import TrialRow
from orchestrator.methods.sleepmg.review import wording
from orchestrator.methods.sleepmg.review.balance_plot import balance_png
from orchestrator.methods.sleepmg.review.cautions import cautions
from orchestrator.methods.sleepmg.review.confusion_plot import confusion_png
from orchestrator.methods.sleepmg.review.domains_plot import domains_png
from orchestrator.methods.sleepmg.review.findings import Findings, find, folds_of, steps_per_fold
from orchestrator.methods.sleepmg.review.notes import folds_text, provenance, reading_notes
from orchestrator.methods.sleepmg.review.parameters import TITLES, value_of, value_text
from orchestrator.methods.sleepmg.review.parameters_plot import parameters_png
from orchestrator.methods.sleepmg.review.records import read_sweep
from orchestrator.methods.sleepmg.review.tables import tables
from orchestrator.reviews.formats import range_text
from orchestrator.reviews.page import Figure, Section, drawn, rendered
from orchestrator.reviews.parameters import Contrast, Sensitivity, sensitivity_note
from orchestrator.reviews.trials import front_of
from orchestrator.store.store import Store

_OWN = "methods/sleepmg/review/sections"

PARAMETERS: Figure[Findings] = Figure(
    file="parameters.png",
    alt=lambda _: (
        "One panel for each searched parameter: its value in every trial against the objective, enqueued and sampled "
        "trials marked apart, rows as horizontal lines, the mean of each option of a choice. The numbers are in "
        "parameters.csv."
    ),
    draw=parameters_png,
    is_shown=lambda found: bool(found.sensitivities),
    template=f"{_OWN}/parameters.html.j2",
)
BALANCE: Figure[Findings] = Figure(
    file="balance.png",
    alt=lambda found: (
        f"Over the passes of {found.traced.name if found.traced else '-'}: ratio rho and coefficient k of each "
        "modality in the classifier and in the discriminator, and each modality's own validation macro-F1. The "
        "numbers are in balance.csv."
    ),
    draw=balance_png,
    is_shown=lambda found: found.traced is not None,
    template=f"{_OWN}/balance.html.j2",
)
DOMAINS: Figure[Findings] = Figure(
    file="domains.png",
    alt=lambda _: (
        "Accuracy of the subject discriminator and chance, one line for each trial and row. The numbers are in "
        "domains.csv."
    ),
    draw=domains_png,
    is_shown=lambda found: bool(found.domains),
    template=f"{_OWN}/domains.html.j2",
)
CONFUSION: Figure[Findings] = Figure(
    file="confusion.png",
    alt=lambda found: (
        "Confusion matrices of true against predicted stage, counts and row per cent, for: "
        f"{', '.join(entry.name for entry in found.shown)}. The numbers are in confusion.csv."
    ),
    draw=confusion_png,
    is_shown=lambda found: bool(found.matrices),
    template=f"{_OWN}/confusion.html.j2",
)

SECTIONS: tuple[Section[Findings], ...] = (
    f"{_OWN}/header.html.j2",
    f"{_OWN}/answer.html.j2",
    f"{_OWN}/comparisons.html.j2",
    "reviews/sections/limits.html.j2",
    PARAMETERS,
    BALANCE,
    DOMAINS,
    CONFUSION,
    f"{_OWN}/trials.html.j2",
    f"{_OWN}/rows.html.j2",
    f"{_OWN}/recordings.html.j2",
    f"{_OWN}/folds.html.j2",
    "reviews/sections/reading.html.j2",
    "reviews/sections/provenance.html.j2",
)
"""The page, from top to bottom."""


def review_files(store: Store, name: str) -> dict[str, bytes]:
    """File name -> content: ``review.html``, PNG and CSV of every figure, CSV of every table.

    A figure without anything to show is left out: parameters without a search, the balance without modalities, the
    discriminator where no network has one.

    Raises
    ------
    DataError
        The tables of the sweep were written by another version.
    """
    found = find(read_sweep(store, name))
    pictures = drawn(SECTIONS, found)
    page = render_page(found, pictures).encode()
    return {**pictures, **tables(found), "review.html": page}


def render_page(found: Findings, pictures: Mapping[str, bytes]) -> str:
    """The page as HTML that needs no other file.

    Parameters
    ----------
    found : Findings
    pictures : mapping of str to bytes
        File name -> PNG.
    """
    sweep = found.sweep
    example = found.chosen or next(iter(found.ranked), None)
    return rendered(
        SECTIONS,
        found,
        pictures,
        title=sweep.manifest.name,
        style="methods/sleepmg/review/style.css",
        manifest=sweep.manifest,
        question=wording.title(found),
        answer=wording.answer(found),
        folds_text=folds_text(sweep.manifest),
        comparison_note=wording.comparison_note(found),
        cautions=cautions(found),
        ranges=[s for s in found.sensitivities if isinstance(s, Sensitivity)],
        contrasts=[s for s in found.sensitivities if isinstance(s, Contrast)],
        sensitivity_note=sensitivity_note(found.sensitivities),
        balance_caption=wording.balance_caption(found),
        confusion_title=wording.confusion_title(sweep.manifest),
        confusion_caption=wording.confusion_caption(found),
        ours_lead=wording.ours_lead(found),
        ours_notes=wording.ours_notes(found),
        steps={
            entry.name: range_text(steps_per_fold([entry], sweep.folds)) for entry in found.shown
        },
        modalities=list(dict.fromkeys(summary.modality for summary in found.modalities)),
        modality_table=[
            (name, {summary.modality: summary for summary in own})
            for name, own in groupby(found.modalities, key=lambda summary: summary.entry)
        ],
        balances_extractors=any(summary.k_f is not None for summary in found.modalities),
        comparison_of={c.entry.name: c for c in found.comparisons},
        trials=_by_objective(found),
        front=front_of(sweep.trials),
        objectives=FURTHER,
        failed_rows=[t for t in sweep.trials if t.is_row and t.is_failed],
        example=example,
        example_folds=[
            fold
            for fold in folds_of(example, sweep.folds)
            if (fold.trial, fold.seed) == (example.runs[0].trial, example.runs[0].seed)
        ]
        if example
        else [],
        titles=TITLES,
        value_of=value_of,
        value_text=value_text,
        reading_notes=reading_notes(found),
        provenance=provenance(found),
    )


def _by_objective(found: Findings) -> list[TrialRow]:
    """Trials of the search, highest objective first; without one, at the end."""
    return sorted(
        (trial for trial in found.sweep.trials if not trial.is_row),
        key=lambda t: (t.objective is None, -(t.objective or 0.0), not t.is_complete, t.trial),
    )
