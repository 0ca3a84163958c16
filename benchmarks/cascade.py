"""A cascade from the 0.5B to the 1.5B by the small model's confidence: what thresholds that calibration finds are worth.

    python benchmarks/cascade.py               # half an hour; goes on where it was stopped

The first 100 problems of HumanEval. Both models answer each of them once, greedily, on llama.cpp (the files are quantised;
``--backend huggingface`` runs them otherwise), and are kept in ``results/cascade``. From these answers `counterpoint calibrate`
finds thresholds for several goals; quality and cost are of examples that did not choose them. Beside them is what asking one of the
two models by lot gives at the same cost: a cascade has to beat that. FLOPs are counted, nothing is timed.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

from common import RESULTS, Results

import counterpoint as cp
from counterpoint.cli.backend import with_backend
from counterpoint.cli.calibrated import plain
from counterpoint.cli.console import Cli
from counterpoint.cli.evaluating import Counting
from counterpoint.evaluation.accepting import Goal
from counterpoint.evaluation.calibrating import calibrate
from counterpoint.evaluation.candidates import OWN_SCORE
from counterpoint.evaluation.folder import EvaluationFolder

FOLDER = RESULTS / "cascade"
DATA, PROBLEMS = "humaneval.jsonl", 100
GOALS = {
    "cost 50 %": Goal(cost=0.5, relative=True),
    "cost 75 %": Goal(cost=0.75, relative=True),
    "quality 90 %": Goal(quality=0.9, relative=True),
    "quality 100 %": Goal(quality=1.0, relative=True),
}
TOKENS = 320


def by_lot(alone: list[dict[str, float]], cost: float) -> float:
    """Quality where the large model is asked, by lot, about as many examples as the cost allows, and the small one about the others."""
    small, large = alone
    share = min(1.0, max(0.0, (cost - small["cost"]) / (large["cost"] - small["cost"])))
    return small["quality"] + share * (large["quality"] - small["quality"])


def main() -> None:
    """Answers what is missing, calibrates for every goal, and writes the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backend", default="llama_cpp")
    options = parser.parse_args()
    summary: dict[str, Any] = {"backend": options.backend, "max_tokens": TOKENS, "goals": {}}
    with cp.Engine(offline=True) as engine:
        recipe = with_backend(engine.recipe("cascade"), options.backend, engine.registry)
        for name, goal in GOALS.items():
            with Counting(Cli(engine.registry), "cascade") as counting:
                found = calibrate(
                    recipe,
                    DATA,
                    engine=engine,
                    goal=goal,
                    limit=PROBLEMS,
                    out=FOLDER,
                    progress=counting,
                    sampling=cp.Sampling(temperature=0.0, max_tokens=TOKENS),
                    in_flight=8,
                )
            assert found is not None
            row = plain(found)
            row["by lot at this cost"] = by_lot(row["alone"], row["cost"]["value"])
            summary["goals"][name] = row
    folder = EvaluationFolder(FOLDER)
    small = [record for record in folder.records() if record.sample == 0]
    known = [(record.scores[OWN_SCORE].value or 0.0, record.scores["unit_tests"].value == 1) for record in small]
    summary["confidence of the small model"] = {
        "0.9 or more": sum(value >= 0.9 for value, _ in known),
        "0.95 or more": sum(value >= 0.95 for value, _ in known),
        "median of right answers": round(statistics.median(value for value, right in known if right), 3),
        "median of wrong answers": round(statistics.median(value for value, right in known if not right), 3),
    }
    folder.pack()
    Results("cascade").summarize(summary)


if __name__ == "__main__":
    main()
