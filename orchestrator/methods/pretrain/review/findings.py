"""Everything that a review of pretrainings shows, found once for its page and its tables. Pure."""

from dataclasses import dataclass

from orchestrator.config.yaml_source import dump_yaml
from orchestrator.methods.pretrain.results import SubjectRow, TrialRow
from orchestrator.methods.pretrain.review.records import Sweep
from orchestrator.reviews import known
from orchestrator.reviews.parameters import Sensitivity, sensitivities
from search_spaces.pretrain import PARAMETERS, SECTIONS
from search_spaces.space import titles_of

TITLES = titles_of(PARAMETERS)
"""Words for parameters whose own name is not the word."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """What follows from the tables of a sweep."""

    sweep: Sweep
    chosen: TrialRow | None
    """Trial with the highest objective; None where no trial has one."""
    ranked: tuple[TrialRow, ...]
    """All trials, the highest objective first, those without one at the end."""
    sensitivities: tuple[Sensitivity, ...]
    subjects: tuple[SubjectRow, ...]
    """Held-out subjects as the chosen trial's encoder stages them."""
    subject_sd: float | None
    """Standard deviation (n - 1) of their macro-F1; None with fewer than two."""
    within_spread: tuple[TrialRow, ...]
    """Other finished trials whose objective is no further from the chosen one's than that."""
    sections: str | None
    """The ``encoder`` and ``pretrain`` sections of a sweep file that finds the chosen trial's encoder, as YAML."""


def find(sweep: Sweep) -> Findings:
    """Find what a sweep shows."""
    ranked = tuple(
        sorted(
            sweep.trials,
            key=lambda t: (t.objective is None, -(t.objective or 0.0), not t.is_complete, t.trial),
        )
    )
    chosen = next((t for t in ranked if t.is_complete and t.objective is not None), None)
    subjects = tuple(s for s in sweep.subjects if chosen and s.trial == chosen.trial)
    subject_sd = known.sd(subject.macro_f1 for subject in subjects)
    return Findings(
        sweep=sweep,
        chosen=chosen,
        ranked=ranked,
        sensitivities=tuple(
            parameter
            for parameter in sensitivities(
                {name: sweep.manifest.space[name] for name in sweep.manifest.searched},
                sweep.trials,
                chosen,
                TITLES,
            )
            if isinstance(parameter, Sensitivity)  # each has a range
        ),
        subjects=subjects,
        subject_sd=subject_sd,
        within_spread=_within(ranked, chosen, subject_sd),
        sections=sections_of(sweep, chosen) if chosen else None,
    )


def sections_of(sweep: Sweep, trial: TrialRow) -> str:
    """Return the sections of a sweep file that say how a trial's encoder was trained, as YAML with every digit."""
    sections: dict[str, dict[str, object]] = {
        "encoder": dict(sweep.manifest.encoder),
        "pretrain": dict(sweep.manifest.pretrain),
    }
    for name, section in SECTIONS.items():
        sections[section][name] = trial.params[name]
    return dump_yaml(sections)


def _within(
    ranked: tuple[TrialRow, ...], chosen: TrialRow | None, spread: float | None
) -> tuple[TrialRow, ...]:
    if chosen is None or chosen.objective is None or spread is None:
        return ()
    best = chosen.objective
    return tuple(
        trial
        for trial in ranked
        if trial is not chosen
        and trial.encoder_id != chosen.encoder_id
        and trial.objective is not None
        and best - trial.objective <= spread
    )
