"""A trial or arm as a model that stages recordings."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.method import Done, StoredWeights, Trained
from orchestrator.methods.pretrain.plan.source import subjects_of
from orchestrator.methods.selective.plan import SweepPlan
from orchestrator.methods.selective.run.scoring import Scored
from orchestrator.methods.selective.trial.configuration import (
    Configuration,
    Trial,
    TrialInputs,
)
from orchestrator.store import paths


def trained(
    plan: SweepPlan, scored: Scored, inputs: TrialInputs, one: Done[Trial], row: Mapping[str, Any]
) -> Trained:
    """Return the model of a trial or arm; of one that was not finetuned, the encoder.

    Parameters
    ----------
    plan : SweepPlan
    scored : Scored
    inputs : TrialInputs
    one : Done
    row : mapping
        Its row of the final table.
    """
    sweep, first = plan.sweep, one.trial.of_first_seed
    return Trained(
        network="mrcnn",
        weights=[
            StoredWeights(
                path=paths.trial_weights(sweep.name, name)
                if _has_weights(configuration)
                else paths.encoder_weights(scored.encoder.encoder_id),
                seed=configuration.seed,
                subject=configuration.subject,
                record=None
                if _has_weights(configuration)
                else paths.encoder_json(scored.encoder.encoder_id),
            )
            for configuration, name in zip(one.trial.configurations, one.trial.stored, strict=True)
        ],
        modalities=(sweep.modality,),
        scale="recording",
        stages=inputs.learned_stages,
        learned_from=plan.train,
        metrics=_metrics(plan, one, row),
        about={
            **_taus(first, len(inputs.reward_S)),
            "learning_rate": first[0].learning_rate,
            "n_steps": first[0].n_steps,
            "signature": one.signature,
            "encoder_id": scored.encoder.encoder_id,
            "score_id": scored.score_id,
            "adapted_to": {
                "dataset": sweep.target.dataset,
                "subjects": list(plan.adapted_alone) or subjects_of(plan.target_adapt),
            },
            "early_stop_subjects": subjects_of(plan.early_stop),
        },
    )


def _has_weights(configuration: Configuration) -> bool:
    """Whether its training wrote weights: of a subject it does, even where nothing was trained for that one."""
    return configuration.is_trained or configuration.subject is not None


def _taus(configurations: Sequence[Configuration], n_selectable: int) -> dict[str, Any]:
    """Return tau in all readings, or in all readings for each subject who was adapted to alone."""
    taus = {
        each.subject: {
            "tau_quantile": each.tau_quantile,
            "tau_absolute": each.tau_absolute,
            "tau_budget": len(each.kept),
            "n_selectable": n_selectable,
        }
        for each in configurations
    }
    return {"tau": taus[None]} if None in taus else {"tau_by_subject": taus}


def _metrics(plan: SweepPlan, one: Done[Trial], row: Mapping[str, Any]) -> list[dict[str, Any]]:
    sweep = plan.sweep
    found: list[dict[str, Any]] = [
        {
            "split": "objective",
            "what": sweep.search.objective,
            "subjects": subjects_of(plan.objective_recordings),
            "value": one.objective,
        }
    ]
    if plan.judged:
        found.append(
            {
                "split": "target test",
                "dataset": sweep.target.dataset,
                "subjects": subjects_of(plan.target_test),
                "transductive": plan.transductive,
                "macro_f1": row["target_macro_f1"],
                "accuracy": row["target_accuracy"],
                "kappa": row["target_kappa"],
            }
        )
    return found
