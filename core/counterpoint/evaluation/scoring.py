"""Scorers of an evaluation: verifiers that stand beside a recipe's own nodes and read what these may not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from counterpoint.errors import CounterpointError, EvaluationError
from counterpoint.evaluation.records import ScoreRecord
from counterpoint.node import LanguageModel, Node, Verifier, wanted_role
from counterpoint.recipe import Recipe
from counterpoint.registry import InvalidNode, Registry
from counterpoint.streaming import RunResult
from counterpoint.tasks import TaskType

ScorerLike = str | Mapping[str, Any] | Verifier


@dataclass(frozen=True)
class Scorer:
    """One scorer: its name in reports, the node, and the recipe that runs it."""

    name: str
    node: Verifier
    recipe: Recipe
    """The evaluated recipe's nodes, so that models are shared, with the scorer as output."""

    def records(self, result: RunResult, answers: int) -> list[ScoreRecord]:
        """The scores of a verification run, one per answer."""
        if result.error is not None:
            error = result.error
            reason = error.message if isinstance(error, CounterpointError) else str(error)
            return [ScoreRecord(value=None, error=reason.split("\n")[0])] * answers
        return [
            ScoreRecord(value=None if score != score else float(score), detail=score.detail, data=score.data)
            for score in result.scores
        ]


def split_scorers(
    given: Sequence[ScorerLike] | ScorerLike | None, registry: Registry
) -> tuple[list[ScorerLike] | None, list[ScorerLike]]:
    """Scorers of single answers (None: the task type's), and those that compare the answers of several recipes."""
    if given is None:
        return None, []
    alone: list[ScorerLike] = []
    together: list[ScorerLike] = []
    for one in _listed(given):
        kind = one if isinstance(one, Verifier) else _described(one, registry)[1]
        (together if kind.compares else alone).append(one)
    return alone, together


def make_scorers(
    given: Sequence[ScorerLike] | ScorerLike | None,
    recipe: Recipe,
    task: TaskType,
    registry: Registry,
    *,
    together: bool = False,
) -> dict[str, Scorer]:
    """The scorers of an evaluation by name, the headline first.

    Args:
        given: kinds, nodes as plain data or as YAML text, or nodes; by default the task type's.
        recipe: what is evaluated. A scorer that wants a language model and names none gets the recipe's output.
        task: whose examples are scored.
        registry: the kinds there are.
        together: whether answers of several recipes are scored together, so that scorers may compare them.

    Raises:
        EvaluationError: a scorer is no verifier, or reads columns that the task type does not have.
    """
    scorers: dict[str, Scorer] = {}
    for one in task.scorers if given is None else _listed(given):
        node = _node(one, recipe, registry)
        if node.compares and not together:
            raise EvaluationError(
                f"scorer '{node.kind}': compares the answers of several recipes", hint="`counterpoint compare` takes it"
            )
        name, number = node.kind, 2
        while name in scorers:
            name, number = f"{node.kind}_{number}", number + 1
        _check_fit(name, node, task, registry)
        inside = name
        while inside in recipe.nodes:
            inside += "_score"
        nodes = {**recipe.nodes, inside: node}
        scorers[name] = Scorer(name, node, recipe.model_copy(update={"nodes": nodes, "output": inside, "budget": None}))
    return scorers


def _listed(given: Sequence[ScorerLike] | ScorerLike) -> list[ScorerLike]:
    return [given] if isinstance(given, (str, Mapping, Verifier)) else list(given)


def _node(given: ScorerLike, recipe: Recipe, registry: Registry) -> Verifier:
    if isinstance(given, Verifier):
        return given
    data, kind = _described(given, registry)
    try:
        node = registry.build(_with_model(data, kind, recipe))
    except InvalidNode as error:
        problems = "; ".join(f"{'.'.join(map(str, place)) or 'node'}: {text}" for place, text in error.problems)
        raise EvaluationError(
            f"scorer '{data['kind']}': {problems}", hint=f"`counterpoint nodes show {data['kind']}`"
        ) from None
    assert isinstance(node, Verifier)
    return node


def _described(given: str | Mapping[str, Any], registry: Registry) -> tuple[dict[str, Any], type[Verifier]]:
    """A scorer as plain data, and its class."""
    data: Any = given
    if isinstance(given, str):
        try:
            data = yaml.safe_load(given)
        except yaml.YAMLError as error:
            raise EvaluationError(f"scorer '{given}': is no YAML: {error}", hint="write a kind, or {kind: KIND, …}") from None
        data = {"kind": data} if isinstance(data, str) else data
    if not isinstance(data, Mapping) or not isinstance(data.get("kind"), str):
        raise EvaluationError(f"scorer '{given}': has no kind", hint="write a kind, or {kind: KIND, …}")
    kind = registry.kind(data["kind"]).node
    if not issubclass(kind, Verifier):
        raise EvaluationError(
            f"scorer '{data['kind']}': does not score anything", hint=f"kinds that do: {', '.join(_verifiers(registry))}"
        )
    return dict(data), kind


def _with_model(data: dict[str, Any], kind: type[Node], recipe: Recipe) -> dict[str, Any]:
    """Names the recipe's output where a scorer wants the language model it is to measure, and no other is named."""
    for name, field in kind.model_fields.items():
        if name in data or not field.is_required() or wanted_role(field) is not LanguageModel:
            continue
        output = recipe.nodes[recipe.output]
        if not isinstance(output, LanguageModel):
            raise EvaluationError(
                f"scorer '{data['kind']}': measures a language model, and output '{recipe.output}' of {recipe.name} "
                f"({output.kind}) is none",
                hint=f"name one of its models: --scorer '{{kind: {data['kind']}, {name}: NODE}}'",
            )
        data[name] = recipe.output
    return data


def _check_fit(name: str, node: Verifier, task: TaskType, registry: Registry) -> None:
    columns = set(task.columns.model_fields)
    if missing := [field for field in node.requires if field not in columns]:
        fitting = [
            kind
            for kind in _verifiers(registry)
            if set(registry.kind(kind).node.requires) <= columns  # type: ignore[attr-defined]
        ]
        raise EvaluationError(
            f"scorer '{name}': reads {', '.join(missing)}, which examples of task '{task.name}' do not have",
            hint=f"scorers for this task: {', '.join(fitting) or 'none installed'}",
        )


def _verifiers(registry: Registry) -> list[str]:
    return [kind.kind for kind in registry.kinds() if issubclass(kind.node, Verifier)]


def references_read(recipe: Recipe, scorers: Mapping[str, Scorer], task: TaskType) -> dict[str, list[str]]:
    """Columns besides the question that a verifier of the recipe reads, by the verifier's name.

    None where no scorer reads such a column. That it is another one does not matter: columns hold one another's content (the
    worked solution ends with the answer).
    """
    public = set(task.public)
    if not any(set(scorer.node.requires) - public for scorer in scorers.values()):
        return {}
    return {
        name: read
        for name, node in _all_nodes(recipe)
        if isinstance(node, Verifier) and (read := sorted(set(node.requires) - public))
    }


def _all_nodes(recipe: Recipe) -> list[tuple[str, Node]]:
    """Every node of a recipe, inline ones under the path of their field."""
    found: list[tuple[str, Node]] = []

    def visit(name: str, node: Node) -> None:
        found.append((name, node))
        for field, _, target in node.references():
            if isinstance(target, Node):
                visit(f"{name}.{field}", target)

    for name, node in recipe.nodes.items():
        visit(name, node)
    return found
