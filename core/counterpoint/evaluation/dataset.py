"""Data sets: examples of one task type from JSON lines, parallel text files, or a card in YAML."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import jinja2
import yaml
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError
from pydantic_core import PydanticSerializationError

from counterpoint import paths
from counterpoint.errors import EvaluationError
from counterpoint.prompt import Prompt
from counterpoint.registry import Registry, describe_validation, load_plugins
from counterpoint.rendering import jinja_template
from counterpoint.tasks import TaskType, Words

_ID_COLUMNS = ("id", "task_id")


@dataclass(frozen=True)
class Example:
    """One example: its id, and its columns in the form the task type gives them."""

    id: str
    columns: dict[str, JsonValue]


@dataclass(frozen=True)
class Dataset:
    """Examples of one task type, and how they are asked."""

    name: str
    task: TaskType
    examples: tuple[Example, ...]
    words: Words = field(default_factory=Words)
    """The data set's own words; where it has none, the task type's."""
    skipped: int = 0
    """Examples that stood before these and were left out."""

    @property
    def sha256(self) -> str:
        """Identity of the examples as read."""
        digest = hashlib.sha256()
        for example in self.examples:
            digest.update(json.dumps([example.id, example.columns], sort_keys=True).encode())
        return digest.hexdigest()

    def first(self, limit: int | None) -> Dataset:
        """The first so many examples.

        Raises:
            EvaluationError: there is no such number.
        """
        if limit is not None and limit < 1:
            raise EvaluationError(f"{limit} examples cannot be taken", hint="a limit is a number from 1 on")
        return self if limit is None else replace(self, examples=self.examples[:limit])

    def after(self, count: int) -> Dataset:
        """What comes after the first so many examples.

        Raises:
            EvaluationError: there is no such number, or no example left.
        """
        if count < 0:
            raise EvaluationError(f"{self.name}: {count} examples cannot be skipped", hint="skip 0 or more")
        if count >= len(self.examples):
            raise EvaluationError(f"{self.name}: has {len(self.examples)} examples, and {count} are skipped", hint="skip fewer")
        return replace(self, examples=self.examples[count:], skipped=self.skipped + count) if count else self

    def only(self, ids: Iterable[str]) -> Dataset:
        """The examples with these ids.

        Raises:
            EvaluationError: there is no such example.
        """
        known = {example.id: example for example in self.examples}
        wanted = set(ids)
        if missing := sorted(wanted - set(known)):
            raise EvaluationError(f"{self.name}: has no example '{missing[0]}'", hint=f"ids look like '{self.examples[0].id}'")
        return replace(self, examples=tuple(example for example in self.examples if example.id in wanted))

    def questions(self) -> dict[str, str]:
        """What every example asks, by id: its columns that are the question, in the task type's order."""
        return {
            example.id: "\n\n".join(str(example.columns[name]) for name in self.task.public if name in example.columns)
            for example in self.examples
        }

    def prompts(self, words: Words) -> dict[str, Prompt]:
        """The prompt of every example, by id.

        Args:
            words: how it is asked, complete.

        Raises:
            EvaluationError: a template names a column that an example lacks, or is no Jinja text.
        """
        made = {}
        for example in self.examples:
            place = f"{self.name}, example '{example.id}'"
            text = fill(words.template or "", example.columns, f"{place}: the template")
            prefix = fill(words.prefix or "", example.columns, f"{place}: the prefix")
            if not text.strip():
                raise EvaluationError(f"{place}: the prompt is empty", hint="the template has to say something")
            check_characters(place, text, prefix)
            made[example.id] = Prompt(text=text, prefix=prefix, fields=example.columns)
        return made


class Card(BaseModel):
    """A data set described in a YAML file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(description="The file of JSON lines, relative to the card.")
    name: str = Field(default="", description="What the data set is called; by default the card's file name.")
    task: str | None = Field(default=None, description="The task type; by default the one whose columns fit.")
    template: str | None = Field(default=None, description="The prompt: Jinja text over the columns.")
    prefix: str | None = Field(default=None, description="The start of the answer, Jinja text too.")
    stop: tuple[str, ...] | None = Field(default=None, description="Strings that end an answer.")


def load_dataset(
    source: str | Path | Dataset | Sequence[Mapping[str, Any]],
    *,
    registry: Registry | None = None,
    task: str | None = None,
    references: Sequence[str | Path] | str | Path = (),
) -> Dataset:
    """Examples from a file (JSON lines, or a card in YAML), from parallel text files, or from Python.

    Args:
        source: the file; a data set; or the examples as mappings. With ``references``, a text file with a source a line.
            A name without a folder that is not here is looked for in the data folder (``COUNTERPOINT_DATA``).
        registry: the plugins, which bring task types; by default all installed ones.
        task: name of the task type; by default the one whose columns fit.
        references: text files parallel to ``source``, each with a reference a line (task type ``rewrite``).

    Raises:
        EvaluationError: no such file; a line that is not an example, naming it and what was expected; two examples with one
            id; no example at all.
    """
    if isinstance(source, Dataset):
        return source
    if isinstance(references, (str, Path)):
        references = [references]
    words = Words()
    if not isinstance(source, (str, Path)):
        name, rows = "examples", [(f"example {number}", row) for number, row in enumerate(source, 1)]
    elif references:
        path = data_file(source)
        name, rows = path.stem, _parallel(path, [data_file(file) for file in references])
        task = task or "rewrite"
    else:
        path = data_file(source)
        name = path.stem
        if path.suffix in (".yaml", ".yml"):
            card = _card(path)
            name, task = card.name or name, task or card.task
            words = Words(template=card.template, prefix=card.prefix, stop=card.stop)
            path = data_file(path.parent / card.data)
        rows = json_lines(path)
    if not rows:
        raise EvaluationError(f"{name}: holds no example", hint="a data set has one JSON object a line")
    kind = _task(task, registry or load_plugins(), rows[0][0], rows[0][1])
    return Dataset(name, kind, tuple(_examples(rows, kind)), words)


def data_file(source: str | Path) -> Path:
    """A file that is here or, by its name, in the data folder.

    Raises:
        EvaluationError: there is none.
    """
    path = Path(source).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        raise EvaluationError(f"{path}: is a folder, not a data set", hint="name a file of JSON lines in it")
    elsewhere = paths.data() / path
    if not path.is_absolute() and elsewhere.is_file():
        return elsewhere
    raise EvaluationError(
        f"no data set '{source}'", hint=f"looked here and in {paths.data()} (COUNTERPOINT_DATA says where data is)"
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{path}: is not UTF-8 text (byte {error.start})", hint="save it as UTF-8") from None
    except OSError as error:
        raise EvaluationError(f"{path}: cannot be read: {error.strerror}", hint="check its permissions") from None


def _card(path: Path) -> Card:
    try:
        return Card.model_validate(yaml.safe_load(_read(path)))
    except yaml.YAMLError as error:
        raise EvaluationError(f"{path}: is no YAML: {error}", hint="a card says data: FILE.jsonl, and may say more") from None
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, place)) or 'card'}: {text}" for place, text in describe_validation(error))
        raise EvaluationError(f"{path}: {problems}", hint=f"a card has: {', '.join(Card.model_fields)}") from None


def check_characters(place: str, *texts: str) -> None:
    """Refuses halves of surrogate pairs, which JSON can spell and no tokenizer reads.

    Raises:
        EvaluationError: there is one, naming the place.
    """
    if any("\ud800" <= char <= "\udfff" for text in texts for char in text):
        raise EvaluationError(
            f"{place}: its text holds half of a surrogate pair, which is no character",
            hint="remove the line, or write it anew from its source",
        )


def json_lines(path: Path) -> list[tuple[str, Any]]:
    """What the lines of a file hold, blank ones left out, each with the place it is at.

    Raises:
        EvaluationError: a line is not JSON, or the file cannot be read.
    """
    rows = []
    for number, line in enumerate(_read(path).split("\n"), 1):
        if not line.strip():
            continue
        place = f"{path}, line {number}"
        try:
            rows.append((place, json.loads(line)))
        except ValueError as error:
            raise EvaluationError(
                f"{place}: is not JSON: {error}", hint="every line is one JSON object, complete on that line"
            ) from None
        except RecursionError:
            raise EvaluationError(f"{place}: is nested too deeply to be read", hint="remove the line") from None
    return rows


def _parallel(source: Path, references: Sequence[Path]) -> list[tuple[str, Any]]:
    columns = [_read(path).removesuffix("\n").split("\n") for path in (source, *references)]
    for path, lines in zip(references, columns[1:], strict=True):
        if len(lines) != len(columns[0]):
            raise EvaluationError(
                f"{path}: has {len(lines)} lines, and {source} has {len(columns[0])}",
                hint="parallel files have the same number of lines",
            )
    rows = zip(*columns, strict=True)
    return [
        (f"{source}, line {number}", {"source": row[0], "references": list(row[1:])})
        for number, row in enumerate(rows, 1)
        if row[0].strip()
    ]


def _task(name: str | None, registry: Registry, place: str, row: Any) -> TaskType:
    """The task type that is named, or the one with the most columns among those that fit the first example."""
    known = registry.tasks()
    if name is not None:
        if name not in known:
            raise EvaluationError(f"no task type is called '{name}'", hint=f"there are: {', '.join(known) or 'none installed'}")
        return known[name]
    keys = frozenset(row) if isinstance(row, Mapping) else frozenset()
    fitting = [task for task in known.values() if task.fits(keys)]
    if not fitting:
        wants = "; ".join(f"{task.name}: {', '.join(_required(task))}" for task in known.values())
        raise EvaluationError(
            f"{place}: fits no task type; it has {', '.join(sorted(map(str, keys))) or 'no columns'}",
            hint=f"columns of {wants}",
        )
    return max(fitting, key=lambda task: len(_required(task)))


def _required(task: TaskType) -> list[str]:
    return [info.alias or name for name, info in task.columns.model_fields.items() if info.is_required()]


def _examples(rows: Sequence[tuple[str, Any]], task: TaskType) -> list[Example]:
    examples: dict[str, Example] = {}
    where: dict[str, str] = {}
    for number, (place, row) in enumerate(rows):
        if not isinstance(row, Mapping):
            raise EvaluationError(
                f"{place}: is a JSON {type(row).__name__}, not an object",
                hint=f"an example of task '{task.name}' has {', '.join(_required(task))}",
            )
        try:
            columns = task.columns.model_validate(dict(row)).model_dump(mode="json")
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, at)) or 'example'}: {text}" for at, text in describe_validation(error))
            raise EvaluationError(
                f"{place}: {problems}", hint=f"an example of task '{task.name}' has {', '.join(_required(task))}"
            ) from None
        except (PydanticSerializationError, RecursionError) as error:
            raise EvaluationError(
                f"{place}: holds a value that is no plain data: {error}",
                hint="text, numbers, true, false, null, lists, objects",
            ) from None
        name = next((str(row[column]) for column in _ID_COLUMNS if row.get(column) is not None), str(number))
        if name in examples:
            raise EvaluationError(
                f"{place}: its id '{name}' is that of {where[name]} too", hint="ids tell answers apart: give each its own"
            )
        examples[name], where[name] = Example(name, columns), place
    return list(examples.values())


def fill(template: str, columns: Mapping[str, Any], place: str) -> str:
    """Jinja text over columns; ``place`` names it in errors.

    Raises:
        EvaluationError: it names a column that is not there, or is no Jinja text.
    """
    try:
        return jinja_template(template).render(columns)
    except jinja2.UndefinedError as error:
        raise EvaluationError(
            f"{place} names what the example lacks: {error.message}", hint=f"columns: {', '.join(columns)}"
        ) from None
    except (TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        raise EvaluationError(f"{place} cannot be filled: {error}", hint="columns stand in braces: {{question}}") from None
    except jinja2.TemplateError as error:
        raise EvaluationError(f"{place} is no Jinja text: {error}", hint="columns stand in braces: {{question}}") from None
