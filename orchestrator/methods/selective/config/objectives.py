"""What a search of a selective sweep may maximise, and what it may weigh against that."""

from collections.abc import Mapping

from orchestrator.config.objectives import COST, Objective
from orchestrator.methods.pretrain.config import SOURCE_VAL

OBJECTIVES: Mapping[str, Objective] = {
    "source_val": SOURCE_VAL,
    "target_information": Objective(
        what="how certain the predictions for the target are and how evenly they spread over the stages, without a "
        "label",
        reads="target signals",
        measure="0 to 1",
        caption="The solid line is macro-F1 on the target, the dashed one how certain\n"
        "  and how evenly spread the predictions for it are.",
    ),
    "target_emd": Objective(
        what="minus the EMD of the source to the target under the finetuned encoder, without a label either",
        reads="target signals",
        measure="minus a distance",
        is_drawn=False,
        caption="The line is macro-F1 on the target; the\n"
        "  objective, minus the distance of the source to it after finetuning, is on another scale and in the table "
        "alone.",
        note=" This objective is minus the earth mover's distance of the source epochs that a "
        "tau chooses from to the target's, under the finetuned encoder and in units of each feature's "
        "spread over the source; no label is read. How it is taken is a choice made here.",
    ),
    "target_certainty": Objective(
        what="how certain the predictions for the target are, epoch by epoch, without a label either (always the same "
        "answer is certain, too)",
        reads="target signals",
        measure="0 to 1",
        caption="The solid line is macro-F1 on the target, the dashed one how certain\n"
        "  the predictions for it are.",
        note=" This objective is one minus the mean entropy of the predictions for the target, in units of "
        "the logarithm of the number of stages (Morerio et al., 2018); no label is read. It cannot tell certainty from "
        "certain error.",
    ),
    "oracle_target_val": Objective(
        what="macro-F1 on labelled target subjects (an oracle no one has in practice)",
        reads="target labels",
    ),
}
"""What a search may maximise; how it is computed is in ``run/objective_values.py``."""

FURTHER: Mapping[str, Objective] = {
    "cost": COST,
    "transfer_margin": Objective(
        what="what adaptation gains for the objective's subject who gains least (more is better)",
        reads="held-out labels",
        title="gain of the subject who gains least",
        format="+.3f",
    ),
}
"""What it may weigh against that."""
