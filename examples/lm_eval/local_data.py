"""Data sets of the harness's own tasks from local files, for machines that do not reach the hub.

The harness calls these functions with the model arguments and ``--metadata``; the files are in the folder that
``COUNTERPOINT_DATA`` names, by default ``../shared/data``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import datasets


def _rows(name: str) -> datasets.Dataset:
    path = Path(os.environ.get("COUNTERPOINT_DATA", "../shared/data")) / name
    if not path.is_file():
        raise FileNotFoundError(f"{path.resolve()} is not there: set COUNTERPOINT_DATA to the folder that has {name}")
    return datasets.Dataset.from_json(str(path))


def gsm8k(**_: Any) -> dict[str, datasets.Dataset]:
    """Grade-school mathematics (Cobbe et al. 2021, arXiv 2110.14168): examples to show, and 200 test questions."""
    return {"train": _rows("gsm8k_train_2000.jsonl"), "test": _rows("gsm8k_test_200.jsonl")}


def truthfulqa(**_: Any) -> dict[str, datasets.Dataset]:
    """TruthfulQA (Lin et al. 2022, arXiv 2109.07958): its answers as the choices of the tasks mc1 and mc2.

    The file lists right and wrong answers, from which the authors made the choices of mc1 (one of them right) and mc2 by
    hand; here they are taken as they are, so that scores are near to those of the original task and not the same.
    """
    return {"validation": _rows("truthfulqa_400.jsonl").map(_choices)}


def _choices(row: dict[str, Any]) -> dict[str, Any]:
    right, wrong = (
        [answer.strip() for answer in row[name].split(";") if answer.strip()]
        for name in ("correct_answers", "incorrect_answers")
    )
    return {
        "mc1_targets": {"choices": [row["best_answer"], *wrong], "labels": [1] + [0] * len(wrong)},
        "mc2_targets": {"choices": right + wrong, "labels": [1] * len(right) + [0] * len(wrong)},
    }
