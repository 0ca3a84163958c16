"""Problems of a data set, asked as an evaluation asks them: what a trainer samples answers to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from counterpoint.evaluation.dataset import data_file, load_dataset
from counterpoint.node import LeafModel
from counterpoint.prompt import Prompt
from counterpoint.recipe import Recipe
from counterpoint.rendering import render
from counterpoint.tasks import Words
from counterpoint.tokenizer import Tokenizer


@dataclass(frozen=True)
class Problems:
    """Prompts of a data set by the id of their example; their ``fields`` are the example's columns, which checkers read."""

    file: Path
    task: str
    prompts: dict[str, Prompt]
    stop: tuple[str, ...] = ()
    """Strings that end an answer."""


def read_problems(source: str, task: str | None = None, recipe: Recipe | None = None, limit: int | None = None) -> Problems:
    """Reads problems as ``counterpoint eval --data`` does.

    Args:
        source: file of JSON lines, or a card in YAML, here or in the data folder.
        task: name of the task type; by default the one whose columns fit.
        recipe: whose words they are asked in, where it has its own.
        limit: only the first so many.

    Raises:
        EvaluationError: there is no such file, a line is no example of the task, or a template cannot be filled.
    """
    dataset = load_dataset(source, task=task).first(limit)
    kind = dataset.task
    own = recipe.tasks.get(kind.name, Words()) if recipe is not None else Words()
    words = Words.first(own, dataset.words, Words(template=kind.template, prefix=kind.prefix, stop=kind.stop))
    return Problems(data_file(source), kind.name, dataset.prompts(words), words.stop or ())


def encode_prompt(prompt: Prompt, node: LeafModel, tokenizer: Tokenizer, path: str) -> tuple[int, ...]:
    """Ids of a prompt as ``node`` renders it, its ``prefix`` included.

    Raises:
        ModelError: the node's ``prompt_format`` does not fit.
    """
    ids, prefix = render(prompt, node.prompt_format, tokenizer, path)
    return (*ids, *prefix)
