"""What the examples of an evaluation ask: an evaluation keeps ids and answers, and the words stay in the data set. No Textual."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from counterpoint import paths
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.dataset import Dataset, load_dataset
from counterpoint.evaluation.records import Configuration
from counterpoint.registry import Registry
from counterpoint.tasks import Words

_ENDINGS = (".jsonl", ".yaml", ".yml", ".json")
_ID_COLUMNS = ("id", "task_id")
_LARGEST = 200_000_000
"""Bytes of the largest file that is looked into."""


@dataclass(frozen=True)
class Question:
    """What an example asks, and what a good answer is measured by."""

    prompt: str
    prefix: str
    """The start that answers go on from."""
    references: tuple[tuple[str, str], ...]
    """The example's other columns, those that no model sees."""


class Questions:
    """The questions of an evaluation's examples.

    Args:
        configuration: what was evaluated.
        dataset: its data set; None where that is not on this machine, or has been changed.
    """

    def __init__(self, configuration: Configuration, dataset: Dataset | None) -> None:
        self._words = Words(template=configuration.template, prefix=configuration.prefix)
        self._dataset = dataset
        self._headlines = dataset.questions() if dataset is not None else {}
        self.problem = ""
        """Why there are none."""
        if dataset is None:
            self.problem = (
                f"The data set '{configuration.data.name}' is not here as it was evaluated, so what the examples ask cannot be shown. "
                f"It is looked for in this folder and in {paths.data()} (COUNTERPOINT_DATA)."
            )

    def headline(self, example: str) -> str:
        """What an example asks, without how it is asked; empty where it is not known."""
        return self._headlines.get(example, "")

    def of(self, example: str) -> Question | None:
        """The question of an example; None where it is not known."""
        if self._dataset is None:
            return None
        try:
            only = self._dataset.only([example])
            prompt = only.prompts(self._words)[example]
        except CounterpointError:
            return None
        columns = only.examples[0].columns
        known = (*only.task.public, *_ID_COLUMNS)
        rest = [(name, value) for name, value in columns.items() if name not in known and value not in (None, "", [])]
        shown = ((name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)) for name, value in rest)
        return Question(prompt.text or "", prompt.prefix, tuple(shown))


def find_questions(configuration: Configuration, registry: Registry) -> Questions:
    """Looks for the data set that was evaluated, by its name, and takes it only if it is the very same."""
    for file in _files(configuration.data.name):
        try:
            dataset = load_dataset(file, registry=registry, task=configuration.task)
            dataset = dataset.after(configuration.data.skipped).first(configuration.data.examples)
        except (CounterpointError, OSError):
            continue
        if dataset.sha256 == configuration.data.sha256:
            return Questions(configuration, dataset)
    return Questions(configuration, None)


def _files(name: str) -> Iterator[Path]:
    """Files that may be the data set: those called so, then every card, for a card says itself what it is called."""
    folders = list(dict.fromkeys((Path.cwd(), paths.data())))
    found: dict[Path, None] = dict.fromkeys(folder / f"{name}{ending}" for folder in folders for ending in _ENDINGS)
    found |= dict.fromkeys(card for folder in folders for ending in (".yaml", ".yml") for card in _listed(folder, ending))
    for file in found:
        try:
            if file.is_file() and file.stat().st_size <= _LARGEST:
                yield file
        except OSError:
            continue


def _listed(folder: Path, ending: str) -> Iterable[Path]:
    try:
        return sorted(entry for entry in folder.iterdir() if entry.suffix == ending)
    except OSError:
        return ()
