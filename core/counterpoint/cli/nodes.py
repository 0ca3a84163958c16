"""`counterpoint nodes` and `counterpoint plugins`: what recipes can be made of, and who brings it."""

from __future__ import annotations

import inspect
from typing import Annotated, Any

import typer

from counterpoint.cli.completion import complete_kind
from counterpoint.cli.console import cli_of, table
from counterpoint.node import ROLES
from counterpoint.registry import NodeKind

_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<", "minLength": "length ≥"}


def add(app: typer.Typer) -> None:
    """Adds the commands."""
    group = typer.Typer(
        name="nodes", help="Node kinds: list them, show their fields.", no_args_is_help=True, rich_markup_mode=None
    )
    group.command("list")(list_nodes)
    group.command("show")(show)
    app.add_typer(group)
    plugins = typer.Typer(name="plugins", help="Installed plugins.", no_args_is_help=True, rich_markup_mode=None)
    plugins.command("list")(list_plugins)
    app.add_typer(plugins)


def list_nodes(
    context: typer.Context,
    role: Annotated[str | None, typer.Option("--role", metavar="ROLE", help="Only kinds that play this role.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the node kinds of all plugins."""
    cli = cli_of(context)
    roles = {known.__name__.lower(): known.__name__ for known in ROLES}
    wanted = roles.get(role.lower()) if role else None
    if role and wanted is None:
        raise typer.BadParameter(f"no role is called '{role}'; roles: {', '.join(roles.values())}")
    found = [entry for entry in cli.registry.kinds() if wanted is None or wanted in entry.roles]
    if json:
        cli.json([_entry(entry) for entry in found])
        return
    shown = table("kind", "roles", "plugin", "what it is")
    for entry in found:
        shown.add_row(entry.kind, ", ".join(entry.roles), entry.plugin, entry.summary)
    cli.out.print(shown)


def show(
    context: typer.Context,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="A node kind.", autocompletion=complete_kind)],
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a node kind is, and its fields."""
    cli = cli_of(context)
    entry = cli.registry.kind(kind)
    fields = describe_fields(entry)
    if json:
        cli.json({**_entry(entry), "doc": inspect.getdoc(entry.node) or "", "fields": fields})
        return
    cli.out.print(f"[bold]{entry.kind}[/] · {', '.join(entry.roles)} · plugin {entry.plugin}\n", soft_wrap=True)
    cli.out.print(inspect.getdoc(entry.node) or "", markup=False)
    cli.out.print()
    shown = table("field", "type", "default", "what it is")
    for name, field in fields.items():
        default = "(required)" if field["required"] else _short(field["default"])
        bounds = f" ({field['bounds']})" if field["bounds"] else ""
        shown.add_row(name, field["type"], default, field["description"] + bounds)
    cli.out.print(shown)


def list_plugins(context: typer.Context, json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List installed plugins, those that failed, and kinds that several claim."""
    cli = cli_of(context)
    registry = cli.registry
    conflicts = registry.conflicts()
    found: dict[str, dict[str, Any]] = {}
    for name, plugin in registry.manager.list_name_plugin():
        if plugin is not None:
            hooks = [hook.name for hook in registry.manager.get_hookcallers(plugin) or []]
            found[name] = {"kinds": [], "hooks": sorted(hook.removeprefix("counterpoint_") for hook in hooks)}
    for entry in registry.kinds():
        found[entry.plugin]["kinds"].append(entry.kind)
    if json:
        cli.json({"plugins": found, "failures": registry.failures, "conflicts": conflicts})
        return
    shown = table("plugin", "kinds", "also brings")
    for name, brings in sorted(found.items()):
        shown.add_row(name, ", ".join(brings["kinds"]), ", ".join(hook for hook in brings["hooks"] if hook != "nodes"))
    cli.out.print(shown)
    for name, reason in registry.failures.items():
        cli.out.print(f"failed: {name}: {reason}", markup=False, soft_wrap=True)
    for kind, plugins in conflicts.items():
        claimed = " and ".join(plugins)
        cli.out.print(f"kind '{kind}' cannot be used: {claimed} claim it; uninstall all but one", markup=False, soft_wrap=True)


def _entry(entry: NodeKind) -> dict[str, Any]:
    return {"kind": entry.kind, "roles": list(entry.roles), "plugin": entry.plugin, "summary": entry.summary}


def describe_fields(entry: NodeKind) -> dict[str, dict[str, Any]]:
    """Every field of a kind: type, default, bounds, description."""
    schema = entry.node.model_json_schema()
    found = {}
    for name, field in schema["properties"].items():
        if name != "kind":
            found[name] = {
                "type": type_text(field),
                "required": name in schema.get("required", []),
                "default": field.get("default"),
                "bounds": bounds_text(field),
                "description": field.get("description", ""),
            }
    return found


def type_text(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "x-role" in schema:
        return f"a {schema['x-role']}"
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if "anyOf" in schema:
        return " | ".join(dict.fromkeys("none" if one == {"type": "null"} else type_text(one) for one in schema["anyOf"]))
    kind = schema.get("type", "any")
    if kind == "array":
        items = schema.get("items") or schema.get("prefixItems")
        return f"list of {type_text(items).removeprefix('a ')}" if isinstance(items, dict) else "list"
    if kind == "object":
        return "mapping"
    return {"integer": "whole number", "boolean": "true | false", "string": "text"}.get(kind, str(kind))


def bounds_text(schema: dict[str, Any]) -> str:
    """``≥ 1, ≤ 64``; of alternatives, those of the first that has any."""
    for one in [schema, *schema.get("anyOf", [])]:
        if found := [f"{sign} {one[name]:g}" for name, sign in _BOUNDS.items() if name in one]:
            return ", ".join(found)
    return ""


def _short(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else "[]" if value == [] else str(value)
