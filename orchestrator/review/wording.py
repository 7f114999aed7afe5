"""The sentences of a review: the answer, what limits it, and how to read it. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orchestrator.review.records import Manifest, Trial
from orchestrator.review.statistics import (
    CEILING,
    FEW_SOURCE_BATCHES,
    NO_DIFFERENCE,
    STRONG_CONFOUND,
    STRONG_SENSITIVITY,
    Agreement,
    Comparison,
    Sensitivity,
    StageShare,
    Verdict,
    moved_mix,
    strongest_confound,
)

DASH = "\u2013"  # en dash, for "no value" and between the ends of a range
MINUS = "\u2212"

ARM_TITLES = {
    "no_adapt": "no adaptation",
    "all_source": "all source batches",
    "random": "a random half of the source batches",
}


class Level(StrEnum):
    """How loud a caution is; also its CSS class."""

    ALARM = "alarm"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True, slots=True)
class Caution:
    """One thing that limits what the page says."""

    level: Level
    title: str
    text: str


def number(value: float | None, digits: int = 3) -> str:
    """Fixed decimals; an en dash for no value.

    >>> number(0.12345), number(None), number(-0.5, 1)
    ('0.123', '\u2013', '\u22120.5')
    """
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "\u221e" if value > 0 else f"{MINUS}\u221e"
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", MINUS)  # + 0.0: no minus zero


def signed(value: float | None, digits: int = 3) -> str:
    """Fixed decimals with a sign.

    >>> signed(0.04), signed(-0.04)
    ('+0.040', '\u22120.040')
    """
    text = number(value, digits)
    return text if text == DASH or text.startswith(MINUS) else f"+{text}"


def significant(value: float | None, digits: int = 4) -> str:
    """Significant digits, for numbers without a natural size such as rewards and learning rates.

    >>> significant(0.000123456), significant(None)
    ('0.0001235', '\u2013')
    """
    if value is None or not math.isfinite(value):
        return number(value)
    return f"{value:#.{digits}g}".replace("-", MINUS)


def rate(value: float | None) -> str:
    """Return a learning rate with two digits.

    >>> rate(0.0001), rate(None)
    ('1.0e\u221204', '\u2013')
    """
    return DASH if value is None else f"{value:.1e}".replace("-", MINUS)


def percent(value: float | None) -> str:
    """Whole percent; a space that does not break keeps number and sign together.

    >>> percent(0.5) == "50\N{NO-BREAK SPACE}%"
    True
    """
    return DASH if value is None else f"{100 * value:.0f}\u00a0%"


def counted(n: int, noun: str, plural: str | None = None) -> str:
    """Number and noun.

    >>> counted(1, "trial"), counted(2, "batch", "batches")
    ('1 trial', '2 batches')
    """
    return f"{n} {noun if n == 1 else plural or noun + 's'}"


def answer(
    chosen: Trial | None,
    sensitivity: Sensitivity | None,
    comparisons: Sequence[Comparison],
) -> str:
    """Say in one sentence how much tau matters, which tau the objective chooses, and whether that helped."""
    if chosen is None:
        return "No trial finished with an objective, so this sweep says nothing about tau."
    parts = []
    if sensitivity is not None:
        parts.append(
            f"Staging is {sensitivity.word} sensitive to tau (target macro-F1 "
            f"{number(sensitivity.lowest)}{DASH}{number(sensitivity.highest)} over "
            f"{sensitivity.n_points} enqueued taus)"
        )
    parts.append(
        f"{'the' if parts else 'The'} objective chooses tau_quantile "
        f"{number(chosen.tau_quantile, 2)}, R > {significant(chosen.tau_absolute)}, which keeps "
        f"{chosen.n_kept} of {chosen.n_selectable} source batches ({percent(chosen.kept_fraction)})"
    )
    judged = [c for c in comparisons if c.verdict is not None]
    if judged:
        parts.append(f"finetuning on them {_judgement(judged)}")
    return "; ".join(parts) + "."


def _judgement(judged: Sequence[Comparison]) -> str:
    """For example: hurt compared with A (-0.04) and helped compared with B (+0.02) and C (+0.01)."""
    verbs = {
        Verdict.HURT: "hurt",
        Verdict.NO_DIFFERENCE: "made no difference",
        Verdict.HELPED: "helped",
    }
    said = []
    for verdict, verb in verbs.items():
        arms = [
            f"{ARM_TITLES[comparison.arm]} ({signed(comparison.difference)})"
            for comparison in judged
            if comparison.verdict is verdict
        ]
        if arms:
            said.append(f"{verb} compared with {_and(arms)}")
    return _and(said)


def _and(parts: Sequence[str]) -> str:
    """One, two, three -> one, two and three."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def interval_note(manifest: Manifest) -> str:
    """Say why the differences carry no interval."""
    n_subjects = len(manifest.target_subjects)
    if n_subjects == 1:
        return (
            f"One target subject and one seed ({manifest.seed}): there is no interval, neither "
            "over subjects nor over seeds. Each difference is a single observation and may be "
            "chance."
        )
    return (
        f"One seed ({manifest.seed}), and the metric pools the epochs of {n_subjects} target "
        "subjects: there is no interval. Each difference is a single observation and may be "
        "chance."
    )


def cautions(
    manifest: Manifest,
    trials: Sequence[Trial],
    chosen: Trial | None,
    comparisons: Sequence[Comparison],
    shares: Sequence[StageShare],
    agreement: Agreement | None,
) -> tuple[Caution, ...]:
    """Everything that limits the answer, the loudest first."""
    found = [
        *_oracle(manifest),
        *_hurt(comparisons),
        *_ceiling(comparisons),
        *_transductive(manifest),
        *_confound(shares),
        *_few_batches(manifest),
        *_failed(trials),
        *_missing_arms(comparisons),
        *_no_selection(chosen),
        *_agreement(agreement),
        *_weak_encoder(manifest),
    ]
    return tuple(sorted(found, key=lambda caution: list(Level).index(caution.level)))


def _oracle(manifest: Manifest) -> list[Caution]:
    if not manifest.is_oracle:
        return []
    return [
        Caution(
            level=Level.ALARM,
            title=f"The objective {manifest.objective} read stages of the target.",
            text="The chosen tau could not have been found without target labels. It is a bound on "
            "what tuning can reach on other target subjects, not a result of adaptation.",
        )
    ]


def _hurt(comparisons: Sequence[Comparison]) -> list[Caution]:
    hurt = [c for c in comparisons if c.verdict is Verdict.HURT]
    meanings = {
        "no_adapt": "the pretrained encoder as it was would have been better (negative transfer)",
        "all_source": "using every source batch would have been better than selecting",
        "random": "choosing batches by chance would have been better than by reward",
    }
    return [
        Caution(
            level=Level.ALARM,
            title=f"The chosen trial hurt: {signed(c.difference)} macro-F1 against {c.arm}.",
            text=f"On this target, {meanings[c.arm]}.",
        )
        for c in hurt
    ]


def _ceiling(comparisons: Sequence[Comparison]) -> list[Caution]:
    reached = next((c.target_macro_f1 for c in comparisons if c.arm == "no_adapt"), None)
    if reached is None or reached < CEILING:
        return []
    return [
        Caution(
            level=Level.WARNING,
            title="At the ceiling: this target leaves nothing to gain.",
            text=f"Without any adaptation the encoder reaches a target macro-F1 of {number(reached)}, so "
            "this sweep can show harm but no benefit. A flat curve here says nothing about tau on a "
            "harder target.",
        )
    ]


def _transductive(manifest: Manifest) -> list[Caution]:
    if not manifest.transductive:
        return []
    return [
        Caution(
            level=Level.WARNING,
            title=f"Transductive, with {counted(len(manifest.target_subjects), 'target subject')}.",
            text="The selection saw the signals, never the stages, of the "
            f"{manifest.n_target_epochs} target epochs, and the metric is computed on "
            f"{manifest.target_evaluation_epochs} of the same epochs. The numbers say how well "
            "these very epochs are staged; they say nothing about the next subject, and no "
            "target subject is left to validate tau on.",
        )
    ]


def _confound(shares: Sequence[StageShare]) -> list[Caution]:
    strongest = strongest_confound(shares)
    if strongest is None or strongest.emd_correlation is None:
        return []
    rho = strongest.emd_correlation
    steers = abs(rho) >= STRONG_CONFOUND
    moved = moved_mix(shares)
    text = (
        f"Spearman correlation between the share of {strongest.stage} in a source batch and its "
        f"EMD: {signed(rho, 2)}, the strongest of the stages; batches with more "
        f"{strongest.stage} are {'farther from' if rho > 0 else 'closer to'} the target. "
    )
    if moved is not None:
        text += (
            f"{percent(moved)} of the kept epochs would need another stage to restore the mix of "
            "all selectable batches. "
        )
    text += (
        "A batch of consecutive epochs can be close to the target because it holds the same "
        "stages, not because it was recorded alike, and this sweep cannot tell the two apart."
    )
    return [
        Caution(
            level=Level.WARNING if steers else Level.NOTE,
            title="Stage-mix confound: the EMD goes with the stages in a batch."
            if steers
            else "Stage-mix confound: weak here.",
            text=text,
        )
    ]


def _few_batches(manifest: Manifest) -> list[Caution]:
    if manifest.n_selectable >= FEW_SOURCE_BATCHES:
        return []
    return [
        Caution(
            level=Level.WARNING,
            title=f"Only {counted(manifest.n_selectable, 'source batch', 'source batches')} to select from.",
            text=f"With fewer than {FEW_SOURCE_BATCHES}, neighbouring taus keep the same batches "
            "and one batch decides the curve. A smaller batch_size gives more of them.",
        )
    ]


def _failed(trials: Sequence[Trial]) -> list[Caution]:
    failed = [t for t in trials if not t.is_complete]
    if not failed:
        return []
    named = "; ".join(f"{t.trial}: {_first_line(t.error)}" for t in failed[:5])
    more = f"; and {len(failed) - 5} more" if len(failed) > 5 else ""
    return [
        Caution(
            level=Level.WARNING,
            title=f"{len(failed)} of {len(trials)} trials and arms failed.",
            text=f"They are missing from the curve and the verdicts. {named}{more}.",
        )
    ]


def _first_line(error: str | None) -> str:
    lines = (error or "").strip().splitlines()
    return lines[0].rstrip(".") if lines else "no message was stored"


def _missing_arms(comparisons: Sequence[Comparison]) -> list[Caution]:
    missing = [c.arm for c in comparisons if c.state == "not run"]
    if not missing:
        return []
    return [
        Caution(
            level=Level.WARNING,
            title=f"Not run: {', '.join(missing)}.",
            text="Without its control arms a gain cannot be attributed to the selection.",
        )
    ]


def _no_selection(chosen: Trial | None) -> list[Caution]:
    if chosen is None or chosen.n_kept < chosen.n_selectable:
        return []
    return [
        Caution(
            level=Level.NOTE,
            title="The objective prefers no selection.",
            text=f"The chosen trial {chosen.trial} keeps every selectable batch.",
        )
    ]


def _agreement(agreement: Agreement | None) -> list[Caution]:
    if agreement is None or agreement.correlation is None:
        return []
    rho = agreement.correlation
    text = (
        f"Spearman correlation of objective and target macro-F1 over {agreement.n_trials} trials: "
        f"{signed(rho, 2)}. In hindsight the best trial was {agreement.best_trial} with "
        f"{number(agreement.best_macro_f1)}"
    )
    if agreement.given_up is not None:
        text += f"; choosing by the objective gives up {number(agreement.given_up)}"
    return [
        Caution(
            level=Level.NOTE if rho >= 0.5 else Level.WARNING,
            title="The objective ranks the trials much as the target does."
            if rho >= 0.5
            else "The objective is a poor guide to the target."
            if rho >= 0
            else "The objective ranks the trials against the target.",
            text=f"{text}.",
        )
    ]


def _weak_encoder(manifest: Manifest) -> list[Caution]:
    reached = manifest.pretrain.get("source_val_macro_f1")
    majority = manifest.pretrain.get("majority_macro_f1")
    if reached is None or majority is None or reached > majority:
        return []
    return [
        Caution(
            level=Level.WARNING,
            title="The encoder did not learn to stage sleep.",
            text=f"Its macro-F1 on held-out source subjects, {number(reached)}, is not above "
            f"always answering the most frequent stage ({number(majority)}), so its features "
            "carry no distance of use.",
        )
    ]


def reading_notes(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    """Term and explanation, for the foot of the page."""
    return (
        (
            "Source batch",
            f"{manifest.batch_size} consecutive usable epochs (30 s each) of one recording. The "
            "unit that is kept or dropped, and one training batch in finetuning.",
        ),
        (
            "Reward and tau",
            "R = 1/EMD, where EMD is the earth mover's distance of a source batch to the "
            "target batches. A batch is kept when R > tau. tau_quantile p keeps the share 1 "
            "\u2212 p of the selectable batches with the highest reward; tau_absolute is the "
            "same cut on R, and it means nothing for another encoder.",
        ),
        (
            "Chosen trial",
            f"The one with the highest objective ({manifest.objective}); the target metric plays "
            "no part in choosing it.",
        ),
        (
            "Arms",
            "no_adapt is the pretrained encoder untouched; all_source and random are finetuned "
            "for as many steps as every trial, at the default learning rate, on all batches and "
            "on as many as tau_quantile 0.5 keeps, drawn by seed.",
        ),
        (
            "Helped, hurt, no difference",
            f"Chosen trial minus arm in target macro-F1; below {number(NO_DIFFERENCE, 2)} it is "
            "called no difference. Sensitivity is called hardly, moderately (from "
            f"{number(NO_DIFFERENCE, 2)}) or strongly (from {number(STRONG_SENSITIVITY, 2)}) by the "
            "range over the enqueued taus. These words are conventions, not tests.",
        ),
        (
            "What is reconstruction",
            "The method, R = 1/EMD and keeping R > tau, is that of the SelectiveFinetuning paper "
            "(arXiv 2501.03764). It publishes neither the value of tau, nor the layer of the "
            "features, nor the batch; batch, layer, distance to several target batches, learning "
            "rate and steps are choices made here, and the numbers on this page are not a "
            "reproduction of its tables.",
        ),
    )
