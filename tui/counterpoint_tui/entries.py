"""What the home screen says of each recipe, run, model and plugin: a line, and a few more."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from rich.text import Text

from counterpoint.cli.console import bytes_text, seconds_text
from counterpoint.printable import plain
from counterpoint.runstore import StoredRun
from counterpoint_tui.library import COMMANDS, EvaluationEntry, ModelEntry, PluginEntry, RecipeEntry
from counterpoint_tui.texts import ago, one_line

SECTIONS = {"recipes": "Recipes", "runs": "Runs", "evaluations": "Evaluations", "models": "Models", "plugins": "Plugins"}
_DOES = {"answers": "", "scores": "scores answers", "trains": "trains a model"}


@dataclass(frozen=True)
class Entry:
    """One line of a list, and what it stands for."""

    section: str
    name: str
    cells: tuple[str, ...]
    item: object
    about: Callable[[], Text]
    """More about it."""
    problem: str = ""
    to_download: int = 0
    """Bytes."""

    @property
    def key(self) -> str:
        """Tells it apart from all others."""
        return f"{self.section}/{self.name}"

    @property
    def searched(self) -> str:
        """What a search looks at, besides its name."""
        return " ".join(self.cells[1:])


def recipe_entry(entry: RecipeEntry) -> Entry:
    """A recipe's line: name, state, description."""
    state = "unreadable" if entry.problem else "to download" if entry.missing else "ready"
    description = one_line(entry.problem or entry.description)

    def about() -> Text:
        lines = [("", plain(entry.problem or entry.description))]
        if _DOES[entry.does]:
            command = COMMANDS[entry.does]
            lines.append(("its output ", f"{_DOES[entry.does]}: run it with `counterpoint {command} {entry.name}`"))
        if entry.missing:
            lines.append(("not on this machine ", ", ".join(entry.missing)))
        lines.append(("", str(entry.path) if entry.path else "installed with a plugin"))
        return _text(entry.name, lines)

    name = entry.name if entry.origin == "shipped" else f"{entry.name} ({entry.origin})"
    return Entry("recipes", entry.name, (name, state, description), entry, about, entry.problem)


def run_entry(run: StoredRun) -> Entry:
    """A stored run's line: recipe, how it ended, when, prompt."""
    bad = run.status == "damaged"

    def about() -> Text:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(run.started))
        if bad:
            return _text(run.id, [("cannot be read ", plain(run.problem)), ("", when)])
        cost = f"{run.tokens} tokens, {seconds_text(run.seconds)}"
        return _text(
            run.id, [("recipe ", run.recipe), ("", f"{when}, {run.status}, {cost}"), ("prompt ", one_line(run.prompt))]
        )

    head = run.problem if bad else run.prompt
    cells = (one_line(run.recipe or run.id), run.status, ago(run.started), one_line(head))
    return Entry("runs", run.id, cells, run, about, run.problem if bad else "")


def evaluation_entry(entry: EvaluationEntry) -> Entry:
    """An evaluation's line: recipe, data set, figure or how far it is, when."""
    known = entry.configuration
    if known is None:

        def damaged() -> Text:
            return _text(str(entry.path), [("cannot be read ", plain(entry.problem))])

        cells = (entry.path.name, "damaged", "", one_line(entry.problem))
        return Entry("evaluations", str(entry.path), cells, entry, damaged, entry.problem)
    wanted = known.wanted * known.samples
    whole = entry.answers >= wanted
    figures = ", ".join(f"{name} {value:.4g}" for name, value in entry.scores.items())
    state = (figures or "not scored") if whole else f"{entry.answers} of {wanted} answers"

    def about() -> Text:
        samples = f", {known.samples} answers each" if known.samples > 1 else ""
        lines = [
            ("recipe ", str(known.recipe.get("name", ""))),
            ("data ", f"{known.data.name}, {known.wanted} examples{samples}"),
            ("", state if whole else f"{state} so far"),
            ("", str(entry.path)),
        ]
        return _text(one_line(known.name), lines)

    cells = (one_line(known.name), one_line(known.data.name), ago(entry.started), one_line(state))
    return Entry("evaluations", str(entry.path), cells, entry, about)


def model_entry(entry: ModelEntry) -> Entry:
    """A model's line: name, size, what it is."""
    model = entry.model
    here = model.state != "absent"
    size = bytes_text(model.bytes) if here else f"{bytes_text(entry.download_bytes)} to download"

    def about() -> Text:
        lines = [("", plain(model.description)), ("licence ", model.licence)]
        if here:
            lines.append(("on disk ", bytes_text(model.bytes) + (", converted" if model.state == "converted" else "")))
        else:
            lines.append(("to download ", bytes_text(entry.download_bytes)))
        return _text(model.name, lines)

    return Entry("models", model.name, (model.name, size, one_line(model.description)), entry, about, "", entry.download_bytes)


def plugin_entry(entry: PluginEntry) -> Entry:
    """A plugin's line: name, what it brings or why it failed."""
    brings = [*entry.kinds, *entry.brings]

    def about() -> Text:
        lines = [("left out ", plain(entry.failure))] if entry.failure else []
        if entry.kinds:
            lines.append(("kinds ", ", ".join(entry.kinds)))
        if entry.brings:
            lines.append(("also brings ", ", ".join(entry.brings)))
        return _text(entry.name, lines)

    state = "failed" if entry.failure else "works"
    cells = (entry.name, state, one_line(entry.failure) or ", ".join(brings))
    return Entry("plugins", entry.name, cells, entry, about, entry.failure)


def _text(title: str, lines: list[tuple[str, str]]) -> Text:
    text = Text(title, style="bold")
    for label, value in lines:
        if value:
            text.append("\n")
            text.append(label, style="dim")
            text.append(value, style="not bold")
    return text
