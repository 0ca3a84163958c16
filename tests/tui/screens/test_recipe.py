"""The recipe screen: form and text in step, problems on their lines, plans, prompts, saving."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.css.query import NoMatches
from textual.events import Paste
from textual.widgets import Button, Input, Select, Static, Switch, TextArea

from counterpoint.errors import CounterpointError
from counterpoint.prompt import Prompt
from counterpoint_tui.screens import recipe as module
from counterpoint_tui.screens import screen_class
from counterpoint_tui.screens.base import CounterpointScreen
from counterpoint_tui.screens.dialogs import ErrorDialog, Question
from counterpoint_tui.screens.home import HomeScreen
from counterpoint_tui.screens.recipe import RecipeScreen
from counterpoint_tui.screens.saving import SaveDialog
from counterpoint_tui.settings import Settings, save_settings
from counterpoint_tui.widgets.asking import AskPane
from counterpoint_tui.widgets.editor import PromptArea, YamlEditor
from counterpoint_tui.widgets.field_row import FieldRow
from counterpoint_tui.widgets.form import RecipeForm
from counterpoint_tui.widgets.graph import GraphView
from counterpoint_tui.widgets.settings import SettingsRow
from counterpoint_tui.worker.client import RunRequest

WIDE = (160, 48)


@pytest.fixture
def recipe(own_recipe: Callable[[str, str], Path], pair_text: str) -> Path:
    return own_recipe("pair", pair_text)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PAUSE", 0.01)
    monkeypatch.setattr(module, "_PLAN_PAUSE", 0.01)


@pytest.fixture
def no_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    """No worker is started."""
    monkeypatch.setattr(module, "_PLAN_PAUSE", 3600)


def row(app: Any, label: str) -> FieldRow:
    for one in app.screen.query(FieldRow):
        if one.field.label == label:
            return one
    raise NoMatches(label)


def said(app: Any, selector: str) -> str:
    return str(app.screen.query_one(selector, Static).render())


async def opened(app: Any, until: Any) -> None:
    """Waits until the form of the output is there."""
    await until(lambda: isinstance(app.screen, RecipeScreen) and app.screen.checked.graph)
    await until(lambda: app.screen.query_one(RecipeForm)._built)


@pytest.mark.usefixtures("no_plan")
async def test_form_and_text_are_in_step(make_app: Any, until: Any, recipe: Path, pair_text: str) -> None:
    app = make_app("pair")
    async with app.run_test(size=WIDE) as pilot:
        await opened(app, until)
        editor, form = app.screen.query_one(YamlEditor), app.screen.query_one(RecipeForm)
        assert form.chosen.name == "spec"
        # the form writes its place in the text, and comments stay
        row(app, "max_draft").query_one(Input).value = "5"
        await until(lambda: editor.text == pair_text.replace("max_draft: 3", "max_draft: 5"))
        row(app, "adaptive").query_one(Switch).value = True  # the default, which needs no saying
        await until(lambda: "adaptive" not in editor.text)
        assert "#" not in editor.text  # this could not be done in place
        editor.action_undo()
        await until(lambda: editor.text == pair_text.replace("max_draft: 3", "max_draft: 5"))
        await until(lambda: row(app, "adaptive").query_one(Switch).value is False)
        # the text changes the form
        renamed = editor.text.replace("spec:", "speculative:").replace("output: spec", "output: speculative")
        editor.change(renamed.replace("max_draft: 5", "max_draft: 7"))
        await until(lambda: form._built and form._built[0].name == "speculative")
        assert row(app, "max_draft").query_one(Input).value == "7"
        assert "not saved" in said(app, "#title")
        # nodes are chosen among those that fit
        select = row(app, "target").query_one(Select)
        assert [value for _, value in select._options] == ["large", "small"]
        select.value = "small"
        await until(lambda: "target: small" in editor.text)
        added = row(app, "draft").query(Select).last()
        added.value = "large"
        await until(lambda: "draft: [small, large]" in editor.text and form._built and form._built[2] == (2,))
        row(app, "draft").query(Select).first().value = Select.NULL
        await until(lambda: "draft: [large]" in editor.text and form._built and form._built[2] == (1,))
        # what is no value is said at once, and written nowhere
        row(app, "max_draft").query_one(Input).value = "many"
        await until(lambda: "'many' is no whole number" in said(app, "#field-help"))
        assert row(app, "max_draft").has_class("-wrong")
        assert "many" not in editor.text
        # what is absent as a whole is shown when it is wanted
        assert "sampling.top_k" not in [one.field.label for one in app.screen.query(FieldRow)]
        await until(lambda: app.screen.query_one("GroupRow Button", Button).press())
        await until(lambda: form._built and row(app, "sampling.top_k"))
        row(app, "sampling.top_k").query_one(Input).value = "5"
        await until(lambda: "sampling: {top_k: 5}" in editor.text)
        # a click in the graph shows a node's form
        graph = app.screen.query_one(GraphView)
        place = graph._drawing.places["large"]
        await pilot.click("#picture", offset=(place.x + 3, place.y + 1))
        await until(lambda: form._built and form._built[0].name == "large")
        await until(lambda: row(app, "end_bias").query_one(Input).value == "-50")
        row(app, "end_bias").query_one(Input).focus()
        await until(lambda: "Added to the end-of-turn token's logit." in said(app, "#field-help"))
        form.choose("(recipe)")
        await until(lambda: form._built and row(app, "sampling.max_tokens").query_one(Input).value == "24")


@pytest.mark.usefixtures("no_plan")
async def test_what_is_wrong_is_marked_and_gone_to(make_app: Any, until: Any, recipe: Path, pair_text: str) -> None:
    app = make_app("pair")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app, until)
        editor = app.screen.query_one(YamlEditor)
        editor.change(pair_text.replace("target: large", "target: larg").replace("max_draft", "max_draf"))
        await until(lambda: app.screen.checked.problems)
        assert editor._problems == {5}
        assert said(app, "#problem").startswith("line 6: nodes.spec.max_draf: no such field")
        await pilot.press("f4")
        await pilot.pause()
        assert app.focused is editor
        assert editor.cursor_location == (5, 0)
        assert "underline" in str(editor.get_line(5).spans[-1].style)
        editor.change("nodes: {")
        await until(lambda: "line 1" in said(app, "#problem") or "line 2" in said(app, "#problem"))
        editor.change(pair_text)
        await until(lambda: not app.screen.checked.problems)
        assert not app.screen.query_one("#problem").display
        assert not editor._problems


@pytest.mark.usefixtures("no_plan")
async def test_a_recipe_that_no_longer_holds_opens_with_its_error(make_app: Any, until: Any, own_recipe: Any) -> None:
    own_recipe("old", "nodes:\n  m: {kind: vanished}\noutput: m\n")
    app = make_app("old")
    async with app.run_test(size=(80, 24)):
        await until(lambda: isinstance(app.screen, RecipeScreen) and app.screen.checked.problems)
        await until(lambda: app.focused is app.screen.query_one(YamlEditor))
        assert "unknown node kind 'vanished'" in said(app, "#problem")


@pytest.mark.usefixtures("no_plan")
async def test_saving_never_replaces_unasked_and_leaving_asks(make_app: Any, until: Any, recipe: Path, pair_text: str) -> None:
    def written() -> str:
        return recipe.read_text()

    app = make_app("pair")
    async with app.run_test(size=(100, 30)) as pilot:
        await opened(app, until)
        app.screen.query_one(YamlEditor).change("name: own\n" + pair_text.replace("blur: 2", "blur: 1"))
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, Question) and app.screen.query("Button:focus"))
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, RecipeScreen))
        await pilot.press("ctrl+s")
        await until(lambda: isinstance(app.screen, SaveDialog) and app.screen.query("#name:focus"))
        name = app.screen.query_one("#name", Input)
        assert name.value == "pair"
        await pilot.press("enter")
        await until(lambda: "exists" in said(app, "#where"))
        assert written() == pair_text
        name.value = "../out"
        await pilot.press("enter")
        await until(lambda: "a name is made of" in said(app, "#where"))
        name.value = "pair"
        await pilot.press("enter", "enter")
        await until(lambda: isinstance(app.screen, RecipeScreen))
        assert written().startswith("name: pair\n# Two fakes")
        assert "blur: 1" in written()
        assert "not saved" not in said(app, "#title")
        # who types a file's name means the recipe; one that is installed is not hidden unsaid
        await pilot.press("ctrl+s")
        await until(lambda: isinstance(app.screen, SaveDialog) and app.screen.query("#name:focus"))
        app.screen.query_one("#name", Input).value = "speculative"
        await until(lambda: "instead of the one" in said(app, "#where"))
        app.screen.query_one("#name", Input).value = "other.yaml"
        await until(lambda: said(app, "#where").endswith("other.yaml") and "other.yaml.yaml" not in said(app, "#where"))
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, RecipeScreen) and app.screen.entry.name == "other")
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, HomeScreen))


@pytest.mark.usefixtures("no_plan")
async def test_prompts_of_any_length_and_settings(make_app: Any, until: Any, recipe: Path) -> None:
    kept = Settings()
    kept.keep_prompt("pair", "kept from last time")
    save_settings(kept)
    app = make_app("pair")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app, until)
        screen = app.screen
        ask, area = screen.query_one(AskPane), screen.query_one(PromptArea)
        assert ask.text == "kept from last time"
        area.set_value("hello there")
        assert ask.prompt(screen.checked.recipe) is None  # the recipe's own
        area.post_message(Paste("lorem ipsum\n" * 90_000))
        await until(lambda: len(area.value) > 1_000_000)
        assert len(area.text) < 3_000
        assert area.value.endswith("lorem ipsum\n")
        assert "1,080,011 characters" in said(app, "#prompt-note")
        assert ask.prompt(screen.checked.recipe) == Prompt(text=area.value)
        area.focus()
        await pilot.press("backspace")
        await until(lambda: area.value == "")
        editor = screen.query_one(YamlEditor)
        before = editor.text
        editor.post_message(Paste("x" * 300_000))
        await pilot.pause()
        assert editor.text == before
        settings = screen.query_one(SettingsRow)
        assert settings.query_one("#max_tokens", Input).placeholder == "24"
        for name, text in {"temperature": "0.5", "seed": "3", "budget": "seconds=2"}.items():
            settings.query_one(f"#{name}", Input).value = text
        chosen = ask.settings(screen.checked.recipe)
        assert chosen.sampling.model_dump(exclude_unset=True) == {"temperature": 0.5}
        assert (chosen.seed, chosen.budget.seconds) == (3, 2)
        for name, text, problem in [
            ("temperature", "-1", "temperature: "),
            ("seed", "x", "seed: 'x' is not a whole number"),
            ("budget", "much", "budget 'much'"),
        ]:
            settings.query_one(f"#{name}", Input).value = text
            with pytest.raises(CounterpointError, match=problem):
                ask.settings(screen.checked.recipe)
            settings.query_one(f"#{name}", Input).value = ""


async def test_a_plan_and_a_run_that_is_asked_for(
    make_app: Any, until: Any, recipe: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a real worker; the screen of runs is one that only notes what it is to run."""
    begun: list[RunRequest] = []

    class Noted(CounterpointScreen):
        def __init__(self, request: RunRequest) -> None:
            super().__init__()
            begun.append(request)

    monkeypatch.setattr("counterpoint_tui.app.screen_class", lambda name: Noted if name == "run" else screen_class(name))
    app = make_app("pair")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app, until)
        await until(lambda: app.screen.plan)
        assert "nothing stands in the way" in said(app, "#plan-text")
        await pilot.press("f5")
        await until(lambda: begun)
        assert begun[0].recipe.name == "pair"
        assert begun[0].prompt is None
        await app.pop_screen()
        editor = app.screen.query_one(YamlEditor)
        # what stands in the way is said, and nothing begins
        editor.change(editor.text + "extra: [")
        await pilot.press("f5")
        await until(lambda: app.screen.checked.problems and app.focused is editor)
        best = "b: {kind: best_of_n, generators: m, verifiers: {kind: exact_match}}"
        editor.change("nodes: {m: {kind: fake}, " + best + "}\noutput: b\nprompt: a\n")
        await until(lambda: app.screen.plan and app.screen.plan.errors)
        assert "it cannot run yet" in said(app, "#plan-text")
        await pilot.press("f5")
        await until(lambda: isinstance(app.screen, ErrorDialog) and app.screen.query("Button:focus"))
        assert "needs the prompt's field(s) answer" in "".join(str(one.render()) for one in app.screen.query(Static))
        await pilot.click(Button)
        await until(lambda: isinstance(app.screen, RecipeScreen))
        editor.change("nodes: {m: {kind: llama_cpp, source: smollm2-135m-instruct}}\noutput: m\nprompt: a\n")
        await until(lambda: app.screen.plan and app.screen.plan.missing)
        await pilot.press("f5")
        await until(lambda: isinstance(app.screen, Question) and app.screen.query("Button:focus"))
        await pilot.press("escape")
        await until(lambda: isinstance(app.screen, RecipeScreen))
        editor.change("nodes: {v: {kind: exact_match}}\noutput: v\nprompt: a\n")
        await pilot.press("f5")
        await until(lambda: isinstance(app.screen, ErrorDialog))
        assert len(begun) == 1


@pytest.mark.usefixtures("no_plan")
async def test_parts_by_keys_in_a_narrow_terminal(make_app: Any, until: Any, recipe: Path) -> None:
    app = make_app("pair")
    async with app.run_test(size=(80, 24)) as pilot:
        await opened(app, until)
        shown = []
        for _ in range(5):
            await pilot.pause()
            shown.append([pane.id for pane in app.screen.query(".part") if pane.region])
            await pilot.press("f8")
        assert shown == [["part-graph"], ["part-plan"], ["part-form"], ["part-yaml"], ["part-ask"]]
        await pilot.press("shift+f8")
        await until(lambda: isinstance(app.focused, TextArea) and app.focused.id == "prompt")
        await pilot.resize_terminal(160, 48)
        await until(lambda: all(pane.region for pane in app.screen.query(".part")))
    assert app.settings.recipe_part == "ask"
