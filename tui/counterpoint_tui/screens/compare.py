"""Two runs side by side, or evaluations example by example."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.containers import Container, VerticalScroll
from textual.timer import Timer
from textual.widgets import Static, Tab, Tabs
from textual.worker import Worker

from counterpoint_tui import keys
from counterpoint_tui.answers import Answers
from counterpoint_tui.comparetext import asked_text, figures_table, figures_text, headline
from counterpoint_tui.comparing import Subject
from counterpoint_tui.examples import OUTCOMES, Examples, Item
from counterpoint_tui.screens.base import CounterpointScreen
from counterpoint_tui.texts import one_line
from counterpoint_tui.widgets.answers import AnswerPair
from counterpoint_tui.widgets.parts import PartTabs, as_part, part
from counterpoint_tui.widgets.rows import Row, RowList

PARTS = {"examples": "Examples", "answers": "Answers", "figures": "Figures", "asked": "Prompt"}
_PAUSE = 0.08
"""Seconds for which the cursor has to stay on an example before its answers are compared."""
_ALL = "all"
_BAD = ("loss", "wrong", "failed")


class CompareScreen(CounterpointScreen):
    """What two runs, or one or two evaluations, have answered; with evaluations there is a list of examples to choose from.

    Args:
        subjects: what is compared.
        content: what was read of it (:func:`counterpoint_tui.comparing.load`).
    """

    HELP_TEXT = (
        "Two answers, and where they differ: what only one of them has is underlined, \N{LEFT ONE EIGHTH BLOCK} stands where the other "
        "one has more, and ≠ before every line with a difference. Both scroll together.\n"
        "Of evaluations there is a list of examples: those that A wins come first, then those that it loses."
    )
    BINDINGS = [*keys.bindings("compare")]
    AUTO_FOCUS = ""

    def __init__(self, subjects: Sequence[Subject], content: Answers | Examples) -> None:
        super().__init__()
        self.subjects = tuple(subjects)
        self.examples = content if isinstance(content, Examples) else None
        self.answers = content if isinstance(content, Answers) else None
        self.kind = _ALL
        """Which kind of examples is listed."""
        self.sample = 0
        self._items = {item.id: item for item in self.examples.items} if self.examples else {}
        self._timer: Timer | None = None

    @property
    def tabs(self) -> PartTabs:
        """The names of the parts."""
        return self.query_one(PartTabs)

    def parts(self) -> ComposeResult:
        yield Static(id="title")
        yield PartTabs({name: label for name, label in PARTS.items() if name != "examples" or self.examples is not None})
        with Container(id="compare-parts", classes="examples" if self.examples else "runs"):
            if self.examples is not None:
                counts = self.examples.counts
                kinds = {_ALL: len(self.examples.items), **(counts if len(counts) > 1 else {})}
                labels = {_ALL: "All", **OUTCOMES}
                with part("examples", PARTS["examples"]):
                    tabs = Tabs(*(Tab(f"{labels[kind]} {count}", id=kind) for kind, count in kinds.items()), id="kinds")
                    tabs.can_focus = False  # a click leaves the list the focus: arrows go from example to example
                    yield tabs
                    yield RowList(widest=18, id="list")
            yield as_part(AnswerPair(), "answers", PARTS["answers"])
            with as_part(VerticalScroll(), "figures", PARTS["figures"]):
                yield Static(id="figures")
            with as_part(VerticalScroll(), "asked", PARTS["asked"]):
                yield Static(id="asked")

    def on_mount(self) -> None:
        """Shows what was read."""
        self.app.theme_changed_signal.subscribe(self, lambda _: self._say_figures())
        self.tabs.turn_to("examples")
        self._say_title()
        self._say_figures()
        if self.answers is not None:
            self._show_answers(self.answers)
        else:
            self._list()

    # --- examples -------------------------------------------------------------------------------------------------------------

    @property
    def item(self) -> Item | None:
        """The example under the cursor."""
        return self._items.get(self.query_one(RowList).key) if self.examples is not None else None

    def _list(self) -> None:
        assert self.examples is not None
        asks = self.examples.questions.headline
        rows = [
            Row(
                (item.id, item.outcome, *map(_score, item.scores), one_line(asks(item.id))),
                item.id,
                bad=item.outcome in _BAD,
            )
            for item in self.examples.items
            if self.kind in (_ALL, item.outcome)
        ]
        self.query_one(RowList).show(rows, "no such example")

    @on(Tabs.TabActivated, "#kinds")
    def _kind_chosen(self, event: Tabs.TabActivated) -> None:
        if event.tab.id == event.tabs.active and event.tab.id != self.kind:
            self.kind = event.tab.id or _ALL
            self._list()

    @on(RowList.Highlighted)
    def _example_shown(self) -> None:
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(_PAUSE, self._compare)

    def _compare(self) -> None:
        item, examples = self.item, self.examples
        if item is None or examples is None:
            return
        self.sample = min(self.sample, max(0, item.samples - 1))
        self.run_worker(lambda: examples.answers(item, self.sample), thread=True, exclusive=True, group="answers")

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        """Answers have been compared."""
        if event.worker.group == "answers" and event.worker.is_finished and isinstance(event.worker.result, Answers):
            self._show_answers(event.worker.result)

    @on(RowList.Opened)
    def _example_opened(self) -> None:
        self.tabs.turn_to("answers")

    # --- what is shown --------------------------------------------------------------------------------------------------------

    def _show_answers(self, answers: Answers) -> None:
        self.answers = answers
        self.query_one(AnswerPair).show(answers)
        self.query_one("#asked", Static).update(asked_text(answers.asked))
        self._say_figures()
        self._say_title()
        self.offer()

    @on(AnswerPair.LaidOut)
    def _say_title(self) -> None:
        """What is compared, and which answers are shown; where there is room for one part only, what belongs to that."""
        wide = self.has_class("-wide")
        title = Text(no_wrap=True)
        if self.examples is None:
            title.append("Two runs", style="bold")
        elif wide or self.tabs.shown == "examples":
            title.append_text(headline(self.examples))
        if wide or self.tabs.shown != "examples":
            title.append("  " if title else "")
            title.append_text(self._place())
        self.query_one("#title", Static).update(title)

    def _place(self) -> Text:
        """Which answers are shown, and how much they differ."""
        text = Text()
        if (item := self.item) is not None:
            text.append(one_line(item.id), style="bold")
            text.append(f"  {item.outcome}")
            text.append(f"  answer {self.sample + 1} of {item.samples}" if item.samples > 1 else "")
        pair = self.query_one(AnswerPair)
        count = pair.differences
        if self.answers is not None and len(self.answers.sides) == 2 and count is not None:
            shown = f"{pair.number} of {count} places that differ" if pair.number else f"{count} places that differ"
            text.append(f"  {shown if count > 1 else 'one place that differs' if count else 'no difference'}", style="italic")
        return text

    def on_resize(self) -> None:
        """There is room for more, or for less."""
        self.call_after_refresh(self._say_title)

    def _say_figures(self) -> None:
        styles = self.application.styles_of_levels
        tables: list[tuple[str, Table]] = []
        notes: list[str] = []
        remarks: tuple[str, ...] = ()
        if self.answers is not None:
            item = self.item
            two = len(self.answers.sides) == 2
            heading = f"the answer{'s' if two else ''} to {item.id}" if item else ""
            tables.append((heading, figures_table(self.answers.figures, styles, two=two)))
            notes += self.answers.notes
            remarks = self.answers.remarks
        if self.examples is not None:
            two = len(self.examples.names) == 2
            tables.append(("an answer, on average", figures_table(self.examples.figures, styles, two=two)))
            notes += self.examples.notes
        self.query_one("#figures", Static).update(figures_text(tables, styles, notes=notes, remarks=remarks))

    # --- parts ----------------------------------------------------------------------------------------------------------------

    def on_part_tabs_turned(self, event: PartTabs.Turned) -> None:
        """Another part is shown."""
        target = {"examples": "#list", "answers": "#text-a"}.get(event.name, f"#part-{event.name}")
        self.call_after_refresh(self.set_focus, self.query_one(target))
        self._say_title()
        self.offer()

    # --- actions --------------------------------------------------------------------------------------------------------------

    def action_next_change(self) -> None:
        """Goes to the next difference."""
        self._go(1)

    def action_previous_change(self) -> None:
        """Goes to the difference before."""
        self._go(-1)

    def _go(self, step: int) -> None:
        self.query_one(AnswerPair).step(step)
        self._say_title()

    def action_next_example(self) -> None:
        """Goes to the next example."""
        self.query_one(RowList).action_move(1)

    def action_previous_example(self) -> None:
        """Goes to the example before."""
        self.query_one(RowList).action_move(-1)

    def action_next_kind(self) -> None:
        """Lists examples of the next kind only."""
        self.query_one("#kinds", Tabs).action_next_tab()

    def action_next_sample(self) -> None:
        """Shows the next answer to the same example."""
        if (item := self.item) is not None:
            self.sample = (self.sample + 1) % item.samples
            self._compare()

    def action_next_scorer(self) -> None:
        """Orders the examples by another scorer."""
        if self.examples is not None:
            names = self.examples.scorers
            self.application.open_comparison(self.subjects, names[(names.index(self.examples.scorer) + 1) % len(names)], self)

    def action_reload(self) -> None:
        """Reads everything anew."""
        self.application.open_comparison(self.subjects, self.examples.scorer or None if self.examples else None, self)

    def action_open_a(self) -> None:
        """Opens the one run."""
        self._open(0)

    def action_open_b(self) -> None:
        """Opens the other run."""
        self._open(1)

    def _open(self, place: int) -> None:
        if self.answers is not None:
            self.application.open_stored(self.answers.sides[place].run)

    def action_back(self) -> None:
        """To the list of examples, then to the screen before."""
        if self.examples is not None and self.tabs.shown != "examples":
            self.tabs.turn_to("examples")
        else:
            self.app.pop_screen()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Offers what can be done."""
        answers, examples = self.answers, self.examples
        if action in ("next_change", "previous_change"):
            in_sight = self.tabs.shown == "answers" or self.has_class("-wide")
            return in_sight and answers is not None and any(not change.same for change in answers.changes)
        if action in ("open_a", "open_b"):
            return answers is not None and any(side.run for side in answers.sides)
        if action == "next_kind":
            in_sight = self.tabs.shown == "examples" or self.has_class("-wide")
            return in_sight and examples is not None and len(examples.counts) > 1
        if action in ("next_example", "previous_example"):
            return examples is not None
        if action == "next_scorer":
            return examples is not None and len(examples.scorers) > 1
        if action == "next_sample":
            in_sight = self.tabs.shown != "examples" or self.has_class("-wide")
            return in_sight and examples is not None and any(item.samples > 1 for item in examples.items)
        return True


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
