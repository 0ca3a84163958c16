"""What goes over a recipe's settings for one run."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import ValidationError
from textual.app import ComposeResult
from textual.containers import Horizontal, HorizontalGroup
from textual.widgets import Input, Label

from counterpoint.errors import RecipeError
from counterpoint.inputs import merge_sampling, parse_budget, parse_seed
from counterpoint.recipe import Recipe
from counterpoint.settings import Budget, Sampling
from counterpoint_tui.fields import shown

_FIELDS = {
    "temperature": "temperature",
    "max_tokens": "max tokens",
    "seed": "seed",
    "budget": "budget",
}


_LONGEST = 200


@dataclass(frozen=True)
class RunSettings:
    """Settings of one run, over those of its recipe."""

    sampling: Sampling | None
    seed: int | None
    budget: Budget | None


class SettingsRow(Horizontal):
    """A few inputs; what is left empty is as the recipe says."""

    def compose(self) -> ComposeResult:
        """A label and an input each."""
        for name, label in _FIELDS.items():
            with HorizontalGroup(classes=name):
                yield Label(label)
                yield Input(id=name, compact=True, max_length=_LONGEST)

    def show(self, recipe: Recipe) -> None:
        """Says what the recipe says."""
        own = {
            "temperature": shown(recipe.sampling.temperature),
            "max_tokens": shown(recipe.sampling.max_tokens),
            "seed": shown(recipe.seed),
            "budget": _budget(recipe.budget) or "none (seconds=30)",
        }
        for name, text in own.items():
            self.query_one(f"#{name}", Input).placeholder = text

    def read(self, recipe: Recipe) -> RunSettings:
        """What is written into the inputs.

        Raises:
            CounterpointError: it makes no sense; the message names the input.
        """
        text = {name: self.query_one(f"#{name}", Input).value.strip() for name in _FIELDS}
        given = {name: text[name] for name in ("temperature", "max_tokens") if text[name]}
        sampling = None
        if given:
            try:
                sampling = Sampling.model_validate(given)
            except ValidationError as error:
                problem = error.errors()[0]
                name = _FIELDS[str(problem["loc"][0])] if problem["loc"] else "sampling"
                raise RecipeError(f"{name}: {problem['msg']}", hint="leave it empty for what the recipe says") from None
            merge_sampling(recipe.sampling, sampling)
        seed = None
        if text["seed"]:
            seed = parse_seed(int(text["seed"]) if text["seed"].isdecimal() else text["seed"])
        return RunSettings(sampling, seed, parse_budget(text["budget"]) if text["budget"] else None)


def _budget(budget: Budget | None) -> str:
    if budget is None:
        return ""
    return ",".join(f"{name}={value:g}" for name, value in budget.model_dump(exclude_none=True).items())
