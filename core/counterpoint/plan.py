"""What can be said of a recipe before any weights load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import psutil

from counterpoint.bridge import Bridges
from counterpoint.errors import CounterpointError, RecipeError
from counterpoint.graph import Graph, build_graph
from counterpoint.node import Generator, LeafModel, Node, Trainer, Verifier, roles_of
from counterpoint.planning import Finding, ModelFacts, NodePlan, Resources
from counterpoint.prompt import Prompt
from counterpoint.recipe import Recipe
from counterpoint.registry import Registry
from counterpoint.training.makers import absent_artifact, how_to_make


@dataclass
class Plan:
    """A recipe made ready: its graph, its models, and everything found out about them."""

    recipe: Recipe
    graph: Graph
    facts: dict[str, ModelFacts] = field(default_factory=dict)
    """Per leaf model's path."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def download_bytes(self) -> int:
        """What must be fetched before the first run."""
        return sum({facts.source: facts.download_bytes for facts in self.facts.values()}.values())

    @property
    def weight_bytes(self) -> int | None:
        """Memory of all weights; None while a model is not here to be looked at."""
        weights = {facts.key: facts.weight_bytes for facts in self.facts.values()}
        return None if None in weights.values() else sum(value or 0 for value in weights.values())

    @property
    def cache_bytes_per_token(self) -> int:
        """Bytes of KV cache for each token of one row, over all models."""
        return sum(facts.shape.kv_bytes for facts in self.facts.values() if facts.shape)

    def roles(self) -> dict[str, tuple[str, ...]]:
        """The roles every node plays."""
        return {path: roles_of(type(node)) for path, node in self.graph.nodes.items()}

    def check(self) -> None:
        """Raises what stands in the way.

        Raises:
            RecipeError: the recipe cannot run; every reason.
        """
        errors = [finding for finding in self.findings if finding.level == "error"]
        if errors:
            raise RecipeError(
                "\n".join(f"{self.recipe.name}, {finding.node}: {finding.message}" for finding in errors),
                hint="; ".join(dict.fromkeys(finding.hint for finding in errors if finding.hint)),
            )


def make_plan(
    recipe: Recipe, registry: Registry, resources: Resources, prompt: Prompt | None = None, bridges: Bridges | None = None
) -> Plan:
    """Checks all that is checkable before weights load (blocking; reads files, uses no network).

    Raises:
        RecipeError: the graph does not hold together.
    """
    plan = Plan(recipe, build_graph(recipe, registry))
    for name in plan.graph.unused:
        plan.findings.append(Finding("warning", name, "no other node refers to this one", "remove it, or refer to it"))
    used = {path: node for path, node in plan.graph.nodes.items() if path not in plan.graph.unused}
    for path, node in used.items():
        if isinstance(node, LeafModel):
            try:
                plan.facts[path] = node.inspect(resources)
            except CounterpointError as error:
                plan.findings.append(Finding("error", path, error.message, how_to_make(node, registry) or error.hint))
        elif (artifact := absent_artifact(node)) is not None:
            hint = how_to_make(node, registry) or "make it with the recipe that trains it: `counterpoint train RECIPE`"
            plan.findings.append(Finding("error", path, f"{artifact} is not on this machine", hint))
    for path, facts in plan.facts.items():
        if resources.offline and facts.weight_bytes is None:
            plan.findings.append(
                Finding(
                    "error",
                    path,
                    f"the model '{facts.source}'{_size(facts)} is not here, and the network may not be used",
                    "run it once without --offline, or `counterpoint models pull` it",
                )
            )
    bridges = bridges or Bridges()
    if isinstance(plan.graph.nodes[plan.graph.output], Trainer):
        prompt = None  # it brings prompts of its own
    for path, node in used.items():
        _check_node(plan, path, node, prompt, bridges)
    _check_memory(plan)
    return plan


def _check_node(plan: Plan, path: str, node: Node, prompt: Prompt | None, bridges: Bridges) -> None:
    sampling = plan.recipe.sampling
    if isinstance(node, Generator):
        try:
            sampling = sampling.merged(node.sampling)
        except ValueError as error:
            message = str(error).split("Value error, ")[-1].split(" [type=")[0]
            plan.findings.append(Finding("error", path, message))
    view = NodePlan(path, sampling, _resolver(plan), _fact_finder(plan), plan.graph.target, bridges, plan.findings)
    node.check(view)
    if isinstance(node, Verifier) and prompt is not None:
        missing = [name for name in node.requires if name not in prompt.fields]
        if missing:
            view.refuse(f"needs the prompt's field(s) {', '.join(missing)}", "pass them with --field NAME=VALUE")
    facts = plan.facts.get(path)
    if isinstance(node, LeafModel) and facts is not None and facts.has_chat_template is False:
        has_messages = prompt is not None and prompt.text is None
        if node.prompt_format == "chat" or (node.prompt_format is None and has_messages):
            view.refuse("has no chat template to render messages with", "set prompt_format to raw, roles or Jinja text")


def _size(facts: ModelFacts) -> str:
    return f" ({facts.download_bytes / 1e9:.1f} GB)" if facts.download_bytes else ""


def _resolver(plan: Plan) -> Callable[[str | Node], tuple[str, Node]]:
    def resolve(reference: str | Node) -> tuple[str, Node]:
        path = plan.graph.path_of(reference)
        return path, plan.graph.nodes[path]

    return resolve


def _fact_finder(plan: Plan) -> Callable[[str | Node], ModelFacts | None]:
    def find(reference: str | Node) -> ModelFacts | None:
        return plan.facts.get(plan.graph.path_of(reference))

    return find


def _check_memory(plan: Plan) -> None:
    weights = plan.weight_bytes
    if weights is None or any(facts.device != "cpu" for facts in plan.facts.values()):
        return
    memory = psutil.virtual_memory()
    if weights > memory.total:
        plan.findings.append(
            Finding(
                "error",
                plan.recipe.output,
                f"the weights need {weights / 1e9:.1f} GB, and this machine has {memory.total / 1e9:.1f} GB of memory",
                "use smaller models, or dtype bfloat16",
            )
        )
    elif weights > memory.available:
        plan.findings.append(
            Finding(
                "warning",
                plan.recipe.output,
                f"the weights need {weights / 1e9:.1f} GB, and only {memory.available / 1e9:.1f} GB of memory is free now",
                "close other programs, or use smaller models",
            )
        )
