"""`counterpoint plan`: everything that can be said of a recipe before any weights load."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from counterpoint.cli import ERROR, OK, options
from counterpoint.cli.backend import BackendKind, with_backend
from counterpoint.cli.console import Cli, bytes_text, cli_of, flops_text, say, seconds_text, table
from counterpoint.cli.run import Fields, Messages, Offline, Prefix, PromptFile, PromptText, RecipeName, Settings
from counterpoint.errors import CounterpointError
from counterpoint.node import LeafModel
from counterpoint.plan import Plan
from counterpoint.planning import ModelFacts
from counterpoint.prompt import Prompt

_CONTEXT = 256  # positions a token is taken to attend to, in predictions
_ENDLESS = 1 << 30  # a context of so many tokens is that of a model which has no limit of its own


def add(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("plan")(plan)


def plan(
    context: typer.Context,
    recipe: RecipeName,
    prompt: Annotated[str | None, typer.Argument(metavar="PROMPT", help="The prompt it is to answer.")] = None,
    text: PromptText = None,
    file: PromptFile = None,
    messages: Messages = None,
    prefix: Prefix = "",
    field: Fields = None,
    setting: Settings = None,
    backend: BackendKind = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    offline: Offline = False,
) -> None:
    """Check a recipe and say what it needs, without loading any weights.

    Exit status: 1 when something stands in the way.
    """
    from counterpoint.engine import Engine

    cli = cli_of(context)
    with Engine(registry=cli.registry, offline=offline) as engine:
        loaded = engine.recipe(recipe, options.settings(setting or []))
        loaded = with_backend(loaded, backend, cli.registry, lambda line: say(cli.err, "note", line))
        extra = options.fields(field or [])
        given = options.prompt(prompt, text, file, messages, prefix=prefix, extra=extra, own=loaded.prompt, stdin=False)
        made = engine.plan(loaded, given)
    if json:
        cli.json(as_data(made, given))
    else:
        show(cli, made, given)
    raise typer.Exit(ERROR if any(finding.level == "error" for finding in made.findings) else OK)


def as_data(plan: Plan, prompt: Prompt | None) -> dict[str, Any]:
    """A plan as JSON."""
    roles = plan.roles()
    return {
        "recipe": plan.recipe.name,
        "output": plan.graph.output,
        "nodes": [
            {
                "node": path,
                "kind": node.kind,
                "roles": list(roles[path]),
                "refers_to": {edge.field: edge.target for edge in plan.graph.edges if edge.owner == path},
            }
            for path, node in plan.graph.nodes.items()
        ],
        "models": [
            {
                "node": path,
                "source": facts.source,
                "download_bytes": facts.download_bytes,
                "weight_bytes": facts.weight_bytes,
                "cache_bytes_per_token": facts.shape.kv_bytes if facts.shape else None,
                "dtype": facts.dtype,
                "device": facts.device,
                "context": facts.context,
                "vocabulary": facts.tokenizer.size if facts.tokenizer else None,
                "prompt_tokens": prompt_tokens(plan, path, prompt),
                "flops_per_token": flops_per_token(facts),
                "seconds_per_pass": seconds_per_pass(facts),
            }
            for path, facts in plan.facts.items()
        ],
        "download_bytes": plan.download_bytes,
        "memory": memory(plan, prompt),
        "findings": [vars(finding) for finding in plan.findings],
    }


def show(cli: Cli, plan: Plan, prompt: Prompt | None) -> None:
    """A plan as tables."""
    roles = plan.roles()
    cli.out.print(f"[bold]{plan.recipe.name}[/], answered by [bold]{plan.graph.output}[/]\n", soft_wrap=True)
    nodes = table("node", "kind", "roles", "refers to")
    for path, node in plan.graph.nodes.items():
        if ":" not in path:  # what only wraps a model is named where it is referred to
            below = [f"{edge.field}: {_through(edge.target)}" for edge in plan.graph.edges if edge.owner == path]
            nodes.add_row(path, node.kind, ", ".join(roles[path]), ", ".join(below))
    cli.out.print(nodes)
    if plan.facts:
        _show_models(cli, plan, prompt)
    for finding in plan.findings:
        colour = {"error": "red", "warning": "yellow"}.get(finding.level, "cyan")
        cli.out.print(f"[bold {colour}]{finding.level}[/]", end=" ")
        cli.out.print(f"{finding.node}: {finding.message}", markup=False, soft_wrap=True)
        if finding.hint:
            cli.out.print(f"  hint: {finding.hint}", markup=False, soft_wrap=True)
    if not any(finding.level == "error" for finding in plan.findings):
        cli.out.print("nothing stands in the way", markup=False)


def _show_models(cli: Cli, plan: Plan, prompt: Prompt | None) -> None:
    models = table(
        *(
            "model",
            "source",
            "files",
            "weights",
            "dtype",
            "device",
            "context",
            "vocabulary",
            "prompt",
            "a token costs",
            "a pass takes",
        ),
        right="weights,context,vocabulary,prompt,a token costs,a pass takes",
    )
    for path, facts in plan.facts.items():
        seconds, tokens = seconds_per_pass(facts), prompt_tokens(plan, path, prompt)
        models.add_row(
            path,
            facts.source,
            f"{bytes_text(facts.download_bytes)} to download" if facts.download_bytes else "here",
            "?" if facts.weight_bytes is None else bytes_text(facts.weight_bytes),
            facts.dtype,
            facts.device,
            "?" if facts.context is None else "no limit" if facts.context >= _ENDLESS else str(facts.context),
            str(facts.tokenizer.size) if facts.tokenizer else "?",
            "" if tokens is None else f"{tokens} tokens",
            _costs(facts),
            "?" if seconds is None else seconds_text(seconds),
        )
    cli.out.print()
    cli.out.print(models)
    needs = memory(plan, prompt)
    known = {name: "not known yet" if needs[name] is None else bytes_text(needs[name]) for name in ("weights", "cache")}
    limit = plan.recipe.sampling.max_tokens
    line = f"memory: weights {known['weights']}, cache {known['cache']} for a row of {limit} new tokens"
    line += f"; this machine has {bytes_text(needs['total'])}, {bytes_text(needs['available'])} of it free"
    cli.out.print()
    cli.out.print(line, markup=False, soft_wrap=True)
    if plan.download_bytes:
        cli.out.print(f"to download: {bytes_text(plan.download_bytes)}", markup=False, soft_wrap=True)


def _costs(facts: ModelFacts) -> str:
    """What a token costs; and what one that an encoder reads does, which is paid once for all answers to a prompt."""
    flops = flops_per_token(facts)
    if flops is None or facts.shape is None:
        return "?"
    if (encoder := facts.shape.encoder) is None:
        return flops_text(flops)
    return f"{flops_text(flops)}, of a prompt {flops_text(encoder.flops(_CONTEXT) / _CONTEXT)}"


def _through(target: str) -> str:
    path, colon, wrapper = target.partition(":")
    return f"{path} (as {wrapper})" if colon else path


def memory(plan: Plan, prompt: Prompt | None) -> dict[str, Any]:
    """Bytes: of the weights, of the cache of one row (prompt and longest answer), and what the machine has."""
    import psutil

    machine = psutil.virtual_memory()
    cache: int | None = 0
    for path, facts in plan.facts.items():
        if facts.shape is None:
            cache = None
        elif cache is not None and facts.cache_bytes is not None:
            cache += facts.cache_bytes
        elif cache is not None:
            cache += facts.shape.kv_bytes * (plan.recipe.sampling.max_tokens + (prompt_tokens(plan, path, prompt) or 0))
    return {"weights": plan.weight_bytes, "cache": cache, "total": machine.total, "available": machine.available}


def flops_per_token(facts: ModelFacts) -> float | None:
    """FLOPs of one more token and the distribution after it."""
    return facts.shape.flops(1, _CONTEXT, 1) if facts.shape else None


def seconds_per_pass(facts: ModelFacts) -> float | None:
    """Seconds of a pass of one token, where this machine has measured it before."""
    from counterpoint.calibration import known_costs

    costs = known_costs(facts.key)
    return costs.at(1) if costs is not None else None


def prompt_tokens(plan: Plan, path: str, prompt: Prompt | None) -> int | None:
    """Tokens of the prompt as a model renders it; None while its tokenizer is not here, or when it cannot."""
    from counterpoint.rendering import render

    node, facts = plan.graph.nodes[path], plan.facts[path]
    if prompt is None or facts.tokenizer is None or not isinstance(node, LeafModel):
        return None
    try:
        ids, prefix = render(prompt, node.prompt_format, facts.tokenizer, path)
    except CounterpointError:
        return None
    return len(ids) + len(prefix)
