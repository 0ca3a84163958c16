"""What there is on this machine: recipes, stored runs, models and plugins. Blocking, and fit for a thread; no Textual."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from counterpoint import paths
from counterpoint.errors import CounterpointError
from counterpoint.evaluation.folder import CONFIG, EXAMPLES, SUMMARY, EvaluationFolder
from counterpoint.evaluation.records import Configuration
from counterpoint.node import LeafModel, Node, Trainer, Verifier
from counterpoint.prompt import Prompt
from counterpoint.recipe import Recipe, parse_recipe, read_recipe, recipe_files
from counterpoint.registry import Registry
from counterpoint.runstore import RunStore, StoredRun
from counterpoint.store import ModelStore
from counterpoint.store.kinds import StoredModel
from counterpoint.store.sources import parse_source
from counterpoint_tui.state.compare import evaluations_in


@dataclass(frozen=True)
class RecipeEntry:
    """A recipe that can be opened, whether or not it can be read."""

    name: str
    text: str = field(repr=False)
    origin: str
    """``shipped``, ``yours``, ``file``, or ``run`` for that of a stored run."""
    path: Path | None = None
    """Its file, where it is the user's."""
    description: str = ""
    problem: str = ""
    """Why it cannot be read."""
    does: str = "answers"
    """What its output does: ``answers``, ``scores`` or ``trains``."""
    missing: tuple[str, ...] = ()
    """Models that are not here."""


@dataclass(frozen=True)
class PluginEntry:
    """An installed plugin; ``failure`` says why it, or a part of it, was left out."""

    name: str
    kinds: tuple[str, ...] = ()
    brings: tuple[str, ...] = ()
    """Its other hooks: recipes, tasks, commands, panels."""
    failure: str = ""


@dataclass(frozen=True)
class ModelEntry:
    """A model of the store or of the catalogue, and what is to be downloaded of it."""

    model: StoredModel
    download_bytes: int = 0


@dataclass(frozen=True)
class EvaluationEntry:
    """An evaluation that is kept on this machine; ``problem`` says why it cannot be read."""

    path: Path
    configuration: Configuration | None = None
    answers: int = 0
    """How many there are so far."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Its figures by scorer, where it is finished."""
    started: float = 0.0
    """Seconds since the epoch."""
    problem: str = ""


def recipes(registry: Registry, given: Sequence[Path] = ()) -> list[RecipeEntry]:
    """The files that were given, and the recipes with a name: the user's own first, then those that answer."""
    store = ModelStore()
    here: dict[str, bool] = {}
    own = paths.recipes()
    found = [_recipe(str(path), read_recipe(path, registry)[0], "file", path, registry, store, here) for path in given]
    named = []
    for name, text in sorted(recipe_files(registry).items()):
        path = own / f"{name}.yaml"
        is_own = path.is_file()
        named.append(_recipe(name, text, "yours" if is_own else "shipped", path if is_own else None, registry, store, here))
    return found + sorted(named, key=lambda entry: (entry.origin != "yours", entry.does != "answers"))


def recipe_entry(source: str, registry: Registry) -> RecipeEntry:
    """One recipe, by name or file.

    Raises:
        RecipeError: there is none, or its file cannot be read.
    """
    text, place = read_recipe(source, registry)
    path = Path(source)
    is_file = path.suffix in {".yaml", ".yml"} or "/" in source
    own = path if is_file else paths.recipes() / f"{source}.yaml"
    origin = "file" if is_file else "yours" if own.is_file() else "shipped"
    return _recipe(place, text, origin, own if origin != "shipped" else None, registry, ModelStore(), {})


def recipe_of_run(text: str, registry: Registry, prompt: Prompt | None = None) -> RecipeEntry:
    """The recipe that a run was of, as its text; what it was asked stands in it where that was more than a text."""
    try:
        name = str(yaml.safe_load(text).get("name") or "recipe")
    except (yaml.YAMLError, AttributeError):
        name = "recipe"
    if prompt is not None and (prompt.messages or prompt.prefix or prompt.fields):
        with contextlib.suppress(CounterpointError):
            text = parse_recipe(text, name, registry=registry).model_copy(update={"prompt": prompt}).to_yaml()
    return _recipe(name, text, "run", None, registry, ModelStore(), {})


def _recipe(
    name: str, text: str, origin: str, path: Path | None, registry: Registry, store: ModelStore, here: dict[str, bool]
) -> RecipeEntry:
    try:
        recipe = parse_recipe(text, name, registry=registry)
    except CounterpointError as error:
        return RecipeEntry(name, text, origin, path, problem=error.message)
    missing = []
    for source in sources(recipe):
        if source not in here:
            here[source] = _is_here(source, store)
        if not here[source]:
            missing.append(source)
    return RecipeEntry(name, text, origin, path, recipe.description, does=does(recipe), missing=tuple(missing))


COMMANDS = {"trains": "train", "scores": "score"}
"""The commands for recipes whose output gives no answer, by what it does."""


def does(recipe: Recipe) -> str:
    """What a recipe's output does: ``answers``, ``scores`` or ``trains``."""
    node = recipe.nodes.get(recipe.output)
    return "trains" if isinstance(node, Trainer) else "scores" if isinstance(node, Verifier) else "answers"


def sources(recipe: Recipe) -> list[str]:
    """The sources of a recipe's models, inline ones included."""
    found: dict[str, None] = {}

    def visit(node: Node) -> None:
        source = getattr(node, "source", None)
        if isinstance(node, LeafModel) and isinstance(source, str):
            found[source] = None
        for _, _, reference in node.references():
            if isinstance(reference, Node):
                visit(reference)

    for node in recipe.nodes.values():
        visit(node)
    return list(found)


def _is_here(source: str, store: ModelStore) -> bool:
    try:
        parsed = parse_source(source, catalogue=store.catalogue)
        if parsed.scheme == "path":  # not hashed for this
            return parsed.file.exists()
        return store.locate(parsed) is not None
    except CounterpointError:
        return False


def runs() -> list[StoredRun]:
    """Stored runs, newest first; damaged ones say what is wrong.

    Raises:
        RunError: the folder of runs cannot be read.
    """
    return RunStore().list()


def evaluations(elsewhere: Sequence[str] = ()) -> list[EvaluationEntry]:
    """Evaluations, newest first: those in the usual folder, and others by their folders, where these are still there."""
    found = [*evaluations_in(paths.evaluations()), *(Path(folder) for folder in elsewhere if Path(folder).is_dir())]
    return sorted((_evaluation(folder) for folder in dict.fromkeys(found)), key=lambda entry: -entry.started)


def _evaluation(path: Path) -> EvaluationEntry:
    try:
        configuration = EvaluationFolder(path).configuration()
        answers = next((file for name in (EXAMPLES, f"{EXAMPLES}.gz") if (file := path / name).is_file()), path / CONFIG)
        count, scores = _summary(path) or (_lines(answers), {})
        return EvaluationEntry(path, configuration, count, scores, answers.stat().st_mtime)
    except (CounterpointError, OSError) as error:
        return EvaluationEntry(path, problem=error.message if isinstance(error, CounterpointError) else str(error))


def _summary(path: Path) -> tuple[int, Mapping[str, float]] | None:
    """Answers and figures of a finished evaluation."""
    try:
        data = json.loads((path / SUMMARY).read_text(encoding="utf-8"))
        figures = {str(name): float(one["value"]) for name, one in data.get("figures", {}).items() if one["value"] is not None}
        return int(data["answers"]), figures
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _lines(file: Path) -> int:
    if file.name != EXAMPLES:
        return 0
    with file.open("rb") as opened:
        return sum(block.count(b"\n") for block in iter(lambda: opened.read(1 << 20), b""))


def models() -> list[ModelEntry]:
    """The store's models and the catalogue's."""
    store = ModelStore()
    return [
        ModelEntry(model, (store.download_size(model.name) or 0) if model.state == "absent" else 0) for model in store.list()
    ]


def plugins(registry: Registry) -> list[PluginEntry]:
    """Installed plugins, those with a failure first."""
    kinds: dict[str, list[str]] = {}
    for entry in registry.kinds():
        kinds.setdefault(entry.plugin, []).append(entry.kind)
    conflicts: dict[str, list[str]] = {}
    for kind, names in registry.conflicts().items():
        for name in names:
            conflicts.setdefault(name, []).append(f"kind '{kind}' cannot be used: {' and '.join(names)} claim it")
    found = {name: PluginEntry(name, failure=reason) for name, reason in registry.failures.items()}
    for name, plugin in registry.manager.list_name_plugin():
        if plugin is None:
            continue
        hooks = [hook.name.removeprefix("counterpoint_") for hook in registry.manager.get_hookcallers(plugin) or []]
        problems = [*([registry.failures[name]] if name in registry.failures else []), *conflicts.get(name, [])]
        brings = tuple(sorted(hook for hook in hooks if hook != "nodes"))
        found[name] = PluginEntry(name, tuple(kinds.get(name, ())), brings, "; ".join(problems))
    return sorted(found.values(), key=lambda entry: (not entry.failure, entry.name))
