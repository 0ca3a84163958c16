"""What `counterpoint calibrate` has found, for people and as plain data."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from counterpoint.cli.console import Cli, flops_text, table

if TYPE_CHECKING:
    from counterpoint.evaluation.accepting import Thresholds, Trust
    from counterpoint.evaluation.calibrating import Calibration
    from counterpoint.evaluation.statistics import Estimate


def plain(found: Calibration) -> dict[str, Any]:
    """As plain data for JSON."""
    data: dict[str, Any] = {
        "recipe": found.recipe.name,
        "node": found.node,
        "data": found.data,
        "truth": found.truth,
        "examples": found.examples,
        "candidates": found.candidates,
        "settings": _json(found.settings),
        "without_score": found.silent.answers,
        "without_truth": found.unknown.answers,
    }
    if (trust := found.trust) is not None:
        data |= {
            "completeness": trust.completeness.as_dict(),
            "soundness": trust.soundness.as_dict(),
            "right": trust.right.as_dict(),
            "difficulty": list(trust.difficulty),
            "ceiling": None if math.isnan(trust.ceiling) else trust.ceiling,
            "predicted": [vars(outcome) for outcome in trust.predicted],
            "measured": list(trust.measured),
            "pays": found.pays,
        }
    if (stages := found.thresholds) is not None:
        data |= {
            "quality": stages.quality.as_dict(),
            "cost": stages.cost.as_dict(),
            "reached": stages.reached,
            "answered_by": list(stages.answered_by),
            "resumed": list(found.resumed),
            "alone": [{"quality": quality, "cost": cost} for quality, cost in stages.alone],
        }
    return data


def _json(data: Any) -> Any:
    """Plain data with infinities as texts, which recipes read as numbers; JSON has no others."""
    if isinstance(data, dict):
        return {name: _json(value) for name, value in data.items()}
    if isinstance(data, list):
        return [_json(value) for value in data]
    return ("Infinity" if data > 0 else "-Infinity") if isinstance(data, float) and math.isinf(data) else data


def present(cli: Cli, found: Calibration) -> None:
    """For people."""
    head = f"{found.recipe.name}, {found.node}, on {found.data}: {found.examples} examples, {found.candidates} candidates"
    cli.out.print(f"{head}; the truth is {found.truth}", markup=False, soft_wrap=True)
    if found.trust is not None:
        _present_trust(cli, found, found.trust)
    if found.thresholds is not None:
        _present_thresholds(cli, found.thresholds)
        for stage in found.resumed:
            cli.warn(
                f"stage {stage + 1} alone costs more than is shown: an earlier stage or its verifier had the model read the prompt"
            )
    if missing := found.silent.answers:
        cli.warn(f"{missing} answers have no score, and count as not accepted; the first: {found.silent.first}")
    if missing := found.unknown.answers:
        cli.warn(f"of {missing} answers '{found.truth}' does not know whether they are right; the first: {found.unknown.first}")
    import yaml

    cli.out.print("settings:", markup=False)
    text = yaml.safe_dump(found.settings, sort_keys=False, default_flow_style=None, width=120)
    cli.out.print("".join(f"  {line}\n" for line in text.splitlines()).rstrip(), markup=False, soft_wrap=True)


def _present_trust(cli: Cli, found: Calibration, trust: Trust) -> None:
    shown = table("", "share", "95 % interval", right="share,95 % interval")
    for name, estimate in (
        ("right answers accepted (completeness)", trust.completeness),
        ("wrong answers rejected (soundness)", trust.soundness),
        ("samples that are right", trust.right),
    ):
        shown.add_row(name, f"{estimate.value:.3f}", _interval(estimate))
    cli.out.print(shown)
    a, b = trust.difficulty
    ceiling = f"of accepted answers at most {trust.ceiling:.1%} are right, however many samples"
    cli.out.print(
        f"accepted from a score of {trust.accept:.4g}; difficulty is spread as Beta({a:.3g}, {b:.3g}); "
        f"{'none is accepted' if math.isnan(trust.ceiling) else ceiling}",
        markup=False,
        soft_wrap=True,
    )
    rows = table(
        "samples", "right, predicted", "right, measured", "wrong and accepted", "drawn", right="samples,right,wrong,drawn"
    )
    for outcome, measured in zip(trust.predicted, trust.measured, strict=True):
        rows.add_row(
            str(outcome.samples),
            f"{outcome.right_if_kept:.3f}",
            f"{measured:.3f}",
            f"{outcome.wrong:.3f}",
            f"{outcome.drawn:.2f}",
        )
    cli.out.print(rows)
    stakes = found.stakes
    worth = (
        f"with {stakes.right:g} for a right answer, {stakes.wrong:g} for a wrong one and a price of {stakes.price:g} a sample"
    )
    most = 2 * (found.candidates // found.examples)
    pays = f"{found.pays} samples pay" if found.pays != 1 else "1 sample pays"
    pays = pays if found.pays else "not even one sample pays: abstain"
    more = " or more" if found.pays == most else ""
    cli.out.print(f"{worth}, {pays}{more}", markup=False, soft_wrap=True)


def _present_thresholds(cli: Cli, found: Thresholds) -> None:
    columns = ("quality alone", "cost alone", "answers", "accepted from")
    shown = table("stage", *columns, right=",".join(columns))
    for number, (alone, price) in enumerate(found.alone):
        last = number == len(found.alone) - 1
        accepted = "always" if last else "never" if found.thresholds[number] == math.inf else f"{found.thresholds[number]:.4g}"
        shown.add_row(str(number + 1), f"{alone:.3f}", flops_text(price), f"{found.answered_by[number]:.0%}", accepted)
    cli.out.print(shown)
    quality, cost, dearest = found.quality, found.cost, found.alone[-1][1]
    share = f", {cost.value / dearest:.0%} of the last stage alone" if dearest else ""  # what is recorded costs nothing
    cli.out.print(
        f"on examples that did not choose the thresholds: quality {quality.value:.3f} ({_interval(quality)}), an answer costs "
        f"{flops_text(cost.value)}{share}",
        markup=False,
        soft_wrap=True,
    )
    if not found.reached:
        cli.warn("no thresholds reach the goal; these come closest")


def _interval(estimate: Estimate) -> str:
    return f"{estimate.low:.3f} – {estimate.high:.3f}"
