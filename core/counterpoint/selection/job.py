"""What is scored, by what, and what of it is kept: a :class:`ScoreJob` from what callers say."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from counterpoint.engine import Engine, RecipeLike
from counterpoint.errors import EvaluationError, RecipeError
from counterpoint.evaluation.dataset import data_file
from counterpoint.graph import build_graph
from counterpoint.inputs import parse_seed
from counterpoint.node import Trainer, Verifier
from counterpoint.recipe import Recipe
from counterpoint.selection.choosing import Top, Wanted
from counterpoint.selection.reading import Layout, Line, identity, read_lines

RowsLike = str | Path | Iterable[Mapping[str, Any]]

SELECTED = "selected"
"""The column of the number of the answer that is selected, where a line has several."""


@dataclass(frozen=True)
class ScoreOptions:
    """How a file is scored, and what of it is kept.

    Raises:
        EvaluationError: a number makes no sense.
    """

    prompt: str = "prompt"
    """The column of the prompt."""
    template: str | None = None
    """The prompt instead: Jinja text over the columns."""
    answers: Sequence[str] | str = "response"
    """The columns of answers; one that holds a list holds several."""
    name: str = ""
    """The column of the score; by default the verifier's kind."""
    into: str = "answer"
    """The column of the answer that is selected, where a line has several."""
    keep_below: float | None = None
    """Keep answers with a lower score."""
    keep_above: float | None = None
    """Keep answers with a higher score."""
    top: int | str | None = None
    """Keep the best so many lines of those left, as in 500, or the best share of all, as in ``"10%"``."""
    limit: int | None = None
    """Only the first so many lines."""
    seed: int | None = None
    """Instead of the recipe's."""
    in_flight: int = 8
    """Lines at once."""

    def __post_init__(self) -> None:
        if self.in_flight < 1 or (self.limit is not None and self.limit < 1):
            raise EvaluationError("in_flight and limit have to be 1 or more", hint="for example in_flight=8, limit=100")
        if not self.layout.answers:
            raise EvaluationError("no column of answers is named", hint='for example answers=["small", "large"]')
        _ = self.wanted  # says so now where it makes no sense

    @property
    def layout(self) -> Layout:
        """Which columns are what."""
        answers = (self.answers,) if isinstance(self.answers, str) else tuple(self.answers)
        return Layout(self.prompt, self.template, answers)

    @property
    def wanted(self) -> Wanted:
        """What is kept."""
        return Wanted(self.keep_below, self.keep_above, None if self.top is None else Top.of(self.top))


@dataclass(frozen=True)
class ScoreJob:
    """What is scored, and by what."""

    recipe: Recipe
    verifier: Verifier
    lines: tuple[Line, ...]
    options: ScoreOptions

    @property
    def name(self) -> str:
        """The column of the score."""
        return self.options.name or self.verifier.kind

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the scores, as plain data; what is kept of them does not."""
        recipe = self.recipe.to_dict()
        layout = self.options.layout
        return {
            "recipe": {key: recipe[key] for key in ("nodes", "output", "sampling", "budget") if key in recipe},
            "seed": self.recipe.seed,
            "prompt": layout.prompt if layout.template is None else layout.template,
            "answers": list(layout.answers),
            "lines": len(self.lines),
            "data": identity(self.lines)[:16],
        }


def make_score_job(
    engine: Engine, recipe: RecipeLike, data: RowsLike, options: ScoreOptions, out: str | Path | None = None
) -> ScoreJob:
    """Everything that decides the scores, checked as far as it can be before weights load.

    Raises:
        EvaluationError: a line lacks what is wanted, or ``out`` cannot be the file to write.
        RecipeError: the recipe cannot run, or its output is no verifier.
    """
    loaded = engine.recipe(recipe)
    if options.seed is not None:
        loaded = loaded.model_copy(update={"seed": parse_seed(options.seed)})
    graph = build_graph(loaded, engine.registry)
    verifier = _verifier(loaded)
    used = {path: node for path, node in graph.nodes.items() if path not in graph.unused and isinstance(node, Verifier)}
    required = {name: path for path, node in used.items() for name in node.requires}
    if out is not None:
        _check_out(Path(out), data)
    job = ScoreJob(loaded, verifier, read_lines(data, options.layout, required=required, limit=options.limit), options)
    _check_columns(job)
    engine.plan(loaded, job.lines[0].prompt).check()
    return job


def _verifier(recipe: Recipe) -> Verifier:
    node = recipe.nodes[recipe.output]
    if isinstance(node, Verifier):
        return node
    does = "trains a model" if isinstance(node, Trainer) else "generates"
    raise RecipeError(
        f"{recipe.name}: its output '{recipe.output}' ({node.kind}) {does}, and scores nothing",
        hint="name a recipe whose output is a verifier; `counterpoint eval RECIPE --data FILE` answers a data set, and scores that",
    )


def _check_columns(job: ScoreJob) -> None:
    name, into = job.name, job.options.into
    if len({name, into, SELECTED}) < 3:
        raise EvaluationError(
            f"the columns of the score, '{name}', of the selected answer, '{into}', and '{SELECTED}' are to be three",
            hint="name them otherwise: --name NAME, --into COLUMN",
        )
    for line in job.lines:
        if name in line.columns:
            raise EvaluationError(f"{line.place}: has a column '{name}' already", hint="name that of the score: --name NAME")
        if line.several and into in line.columns:
            raise EvaluationError(
                f"{line.place}: has a column '{into}', where the answer that is selected is to go",
                hint="name another column for it: --into COLUMN",
            )
        if line.several and SELECTED in line.columns:
            raise EvaluationError(
                f"{line.place}: has a column '{SELECTED}', where the number of the answer that is selected is to go",
                hint=f"rename it, as in: jq -c '.earlier = .{SELECTED} | del(.{SELECTED})'",
            )
    if job.verifier.compares and all(len(line.answers) == 1 for line in job.lines):
        raise EvaluationError(
            f"{job.recipe.name}: '{job.verifier.kind}' compares the answers to a prompt, and every line has one alone",
            hint="name each model's column, --answer ONE --answer OTHER, or a column that holds a list",
        )


def _check_out(out: Path, data: RowsLike) -> None:
    if out.is_dir():
        raise EvaluationError(f"{out}: is a folder", hint=f"name a file in it: {out / 'scored.jsonl'}")
    if not out.exists():
        return
    if isinstance(data, (str, Path)) and out.samefile(data_file(data)):
        raise EvaluationError(f"{out}: is the file that is to be scored", hint="name another one to write to")
    if not beside(out).exists():  # where there is, this process' predecessor was killed between its last two steps
        raise EvaluationError(f"{out}: is there already", hint="name another file, or remove this one")


def beside(out: Path) -> Path:
    """Where scores are kept until there is an ``out``."""
    return out.with_name(f"{out.name}.partial")
