"""What callers pass in, checked, with errors in their words."""

from __future__ import annotations

from pydantic import ValidationError

from counterpoint.errors import BudgetError, RecipeError
from counterpoint.prompt import Prompt, PromptLike
from counterpoint.recipe import Recipe
from counterpoint.registry import describe_validation
from counterpoint.settings import Budget, Sampling


def parse_budget(value: Budget | str) -> Budget:
    """A budget from text such as ``flops=1e12,seconds=30,tokens=200``.

    Raises:
        BudgetError: it makes no sense.
    """
    if isinstance(value, Budget):
        return value
    try:
        return Budget.model_validate(value)
    except ValidationError as error:
        raise BudgetError(
            f"budget '{value}': {_problems(error)}", hint="for example flops=1e12,seconds=30,tokens=200; each above 0"
        ) from None


def parse_prompt(prompt: PromptLike | None, recipe: Recipe) -> Prompt:
    """The prompt of a run: the caller's, or else the recipe's own.

    Raises:
        RecipeError: there is none, or it is no prompt.
    """
    if prompt is None:
        if recipe.prompt is None:
            raise RecipeError(f"{recipe.name}: no prompt given, and the recipe has none", hint="pass a prompt")
        return recipe.prompt
    try:
        return Prompt.of(prompt)
    except ValidationError as error:
        raise RecipeError(
            f"prompt: {_problems(error)}", hint='a prompt is text, or a list of {"role": …, "content": …} messages'
        ) from None


def parse_seed(seed: object) -> int:
    """A seed, checked as a recipe's is.

    Raises:
        RecipeError: it is none.
    """
    if not isinstance(seed, int) or not 0 <= seed < 2**63:
        raise RecipeError(f"seed: {seed!r} is not a whole number from 0 to 2^63 - 1", hint="for example seed=7")
    return seed


def merge_sampling(settings: Sampling, more: Sampling | None, place: str = "sampling") -> Sampling:
    """Sampling settings with others on top.

    Raises:
        RecipeError: together they contradict one another.
    """
    try:
        return settings.merged(more)
    except ValidationError as error:
        raise RecipeError(f"{place}: {_problems(error)}", hint="change one of them where it is set") from None


def _problems(error: ValidationError) -> str:
    return "; ".join(
        f"{'.'.join(map(str, path)) + ': ' if path else ''}{message}" for path, message in describe_validation(error)
    )
