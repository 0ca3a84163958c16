"""The renderer and the progress display, on a terminal and piped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rich.console import Console

from counterpoint.cli.console import Cli, bytes_text, flops_text, seconds_text
from counterpoint.cli.progress import ProgressDisplay
from counterpoint.cli.render import Renderer, settings_of
from counterpoint.events import (
    BudgetSpent,
    CandidateScored,
    CandidateSelected,
    Emitted,
    Event,
    EventBase,
    Forward,
    Progress,
    RunFinished,
    RunStarted,
)
from counterpoint.prompt import Completion, Prompt

Written = Callable[[Console], str]
RECIPE = {"nodes": {"large": {"source": "x"}, "small": {}, "spec": {}}, "output": "spec"}


def started(recipe: dict[str, Any] | None = None) -> RunStarted:
    return RunStarted(run_id="r1", recipe=recipe or RECIPE, prompt=Prompt(text="hi"), seed=0)


def emitted(text: str, proposer: str, span: int = 1) -> Emitted:
    return Emitted(text=text, ids=(1,), proposer=proposer, decider="large", span=span, parent=0)


def finished(**completion: Any) -> RunFinished:
    return RunFinished(completion=Completion(**{"text": "", "finish_reason": "stop", **completion}))


def drawn(cli: Cli, *events: EventBase, **options: Any) -> Renderer:
    renderer = Renderer(cli, **options)
    for number, event in enumerate(events):
        renderer.add(event.model_copy(update={"seq": number, "t": float(number)}))  # type: ignore[arg-type]
    return renderer


def test_pieces_have_their_proposers_colours(screen: Cli, written: Written) -> None:
    drawn(screen, started(), emitted("a", "large"), emitted("b", "small"), emitted("c", "inline.draft"), finished()).finish()
    out, err = written(screen.out), written(screen.err)
    colours = [out.split(letter)[0].rpartition("\x1b[")[2] for letter in "abc"]
    assert len(set(colours)) == 3
    assert all(colour.startswith("38;5;") for colour in colours)
    assert "■" in err
    assert "large" in err
    assert "spec" not in err


def test_a_lone_model_has_no_colour(screen: Cli, written: Written) -> None:
    drawn(screen, started({"nodes": {"m": {}}, "output": "m"}), emitted("plain", "m"), finished()).finish()
    assert written(screen.out) == "plain\n"
    assert "■" not in written(screen.err)


def test_no_colour_when_none_is_wanted(screen: Cli, written: Written) -> None:
    screen.out.no_color = True
    drawn(screen, started(), emitted("a", "large"), finished()).finish()
    assert written(screen.out) == "a\n"


def test_a_model_cannot_move_the_cursor(screen: Cli, paper: Cli, written: Written) -> None:
    recipe = {"nodes": {"m": {}}, "output": "m"}
    evil = "a\x1b[2Jb\r\n\tc\x9b"
    drawn(screen, started(recipe), emitted(evil, "m")).finish()
    assert written(screen.out) == "a\ufffd[2Jb\n\tc\ufffd\n"
    drawn(paper, started(recipe), emitted(evil, "m")).finish()
    assert written(paper.out) == evil + "\n"


def test_text_is_written_as_it_is(paper: Cli, written: Written) -> None:
    text = "[bold]not markup[/] :smile:  \n\n" + "x" * 500 + " \t\n"
    drawn(
        paper, started(), emitted(text[:20], "large"), emitted(text[20:], "small"), emitted("ignored", "small", span=2)
    ).finish()
    assert written(paper.out) == text


def test_an_answer_without_text(paper: Cli, written: Written) -> None:
    drawn(paper, started(), finished()).finish()
    assert written(paper.out) == ""
    assert "0 tokens" in written(paper.err)


def test_the_table(paper: Cli, written: Written) -> None:
    def forward(node: str, number: int, **more: Any) -> Forward:
        return Forward(
            node=node,
            pass_id=number,
            pass_rows=1,
            tokens=3,
            context=9,
            logits_rows=1,
            flops=2e9,
            seconds=0.5,
            share=0.5,
            **more,
        )

    summary = drawn(paper, started(), forward("large", 1), emitted("ab", "large"), emitted("c", "small"), finished()).finish()
    large, small = (
        next(line for line in written(paper.err).splitlines() if line.startswith(name)) for name in ("large", "small")
    )
    assert large.split() == ["large", "1", "3", "1", "2", "GFLOP", "0.5", "s"]
    assert small.split() == ["small", "1"]
    assert "ended by itself · run r1" in written(paper.err)
    assert summary.answer_tokens == 2


@pytest.mark.parametrize(("reason", "words"), [("length", "longest"), ("cancelled", "cancelled"), ("failed", "failed")])
def test_how_it_ended(paper: Cli, written: Written, reason: str, words: str) -> None:
    drawn(paper, started(), finished(finish_reason=reason)).finish()
    assert words in written(paper.err)


def test_an_interrupted_run(paper: Cli, written: Written) -> None:
    drawn(paper, started(), emitted("a", "large")).finish()
    assert "interrupted" in written(paper.err)


def test_a_spent_budget_says_what_was_needed(paper: Cli, written: Written) -> None:
    spent = BudgetSpent(unit="flops", limit=1e12, spent=9.5e11, needed=1e11)
    drawn(paper, started(), spent, finished(finish_reason="budget")).finish()
    assert "9.5e+11 of 1e+12 flops spent, the next pass needed 1e+11" in written(paper.err)


def test_candidates_are_remarked_on(paper: Cli, written: Written) -> None:
    scored = CandidateScored(candidate=1, verifier="tests", score=0.5, detail="1 of 2 passed")
    drawn(
        paper, started(), scored, CandidateSelected(candidate=1, reason="highest score"), emitted("a", "large"), finished()
    ).finish()
    assert "candidate 1: tests says 0.5 1 of 2 passed" in written(paper.err)
    assert "candidate 1 is the answer: highest score" in written(paper.err)


def test_quiet_draws_the_answer_alone(screen: Cli, written: Written) -> None:
    loading = Progress(node="large", phase="load", item="x", done=0, total=1)
    drawn(screen, started(), loading, emitted("a", "large"), finished(), quiet=True).finish()
    assert written(screen.err) == ""


def test_a_licence_notice_comes_once_and_before_the_download(paper: Cli, written: Written) -> None:
    def progress(done: float) -> Progress:
        return Progress(node="large", phase="download", item="x.gguf", done=done, total=100.0, unit="bytes")

    nodes: list[dict[str, Any]] = []

    def notice(node: dict[str, Any]) -> str:
        nodes.append(node)
        return "You may use it."

    drawn(paper, started(), progress(0), progress(50), progress(100), finished(), notice=notice).finish()
    assert nodes == [{"source": "x"}]
    err = written(paper.err)
    assert err.count("licence: You may use it.") == 1
    assert err.index("licence") < err.index("downloading x.gguf")


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("a", "A"),
        ("a.b", "B"),
        ("spec.target", "T"),
        ("spec.draft[1]", "D"),
        ("spec.draft[1].model", "M"),
        ("none.at[3].all", None),
    ],
)
def test_settings_of_a_node_wherever_it_is_written(path: str, source: str | None) -> None:
    draft = [{}, {"source": "D", "model": {"source": "M"}}]
    nodes = {"a": {"source": "A"}, "a.b": {"source": "B"}, "spec": {"target": {"source": "T"}, "draft": draft}}
    assert settings_of({"nodes": nodes}, path).get("source") == source


def test_a_replay_downloads_nothing(paper: Cli, written: Written) -> None:
    events: list[Event] = [started(), Progress(node="large", phase="download", item="x", done=1, total=9, unit="bytes")]
    drawn(paper, *events, live=False, notice=lambda _: "notice").finish()
    assert "downloading" not in written(paper.err)
    assert "notice" not in written(paper.err)


# --- progress -----------------------------------------------------------------------------------------------------------


def report(done: float, item: str = "m (part 1 of 2)", total: float | None = 2e9, phase: str = "download") -> Progress:
    return Progress(phase=phase, item=item, done=done, total=total, unit="bytes" if phase == "download" else "")


def test_lines_are_sparse(paper: Cli, written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    with ProgressDisplay(paper.err) as display:
        for step in range(200):
            now += 0.25
            display.add(report(step * 1e7, f"m (part {step // 100 + 1} of 2)"))
        display.add(report(2e9, "m (part 2 of 2)"))
    lines = written(paper.err).splitlines()
    assert lines[0] == "downloading m (part 1 of 2): 0 B of 2 GB"
    assert len(lines) == 6
    assert lines[-1] == "downloading m (part 2 of 2): done in 25 s"


def test_a_bar_goes_when_it_is_full(screen: Cli, written: Written) -> None:
    with ProgressDisplay(screen.err) as display:
        display.add(report(1e9))
        display.add(report(2e9))
        assert display._bars is None
    assert "1 GB of 2 GB" in written(screen.err)
    assert written(screen.err).count("\x1b[?25l") == written(screen.err).count("\x1b[?25h")


def test_what_is_quick_or_unknown(paper: Cli, written: Written) -> None:
    with ProgressDisplay(paper.err) as display:
        display.add(report(0, "m", 1, "load"))
        display.add(report(1, "m", 1, "load"))
        display.add(report(3, "x", None, "brooding"))
        display.add(report(3, "head", 10, "train"))
        display.add(report(3, "parts", 10, "assemble"))
    assert written(paper.err).splitlines() == ["loading m", "brooding x", "training head: 3 of 10"]


# --- numbers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (98362432, "98 MB"),
        (491400064, "491 MB"),
        (1.1173e9, "1.1 GB"),
        (999.6e6, "1 GB"),
    ],
)
def test_bytes(amount: float, text: str) -> None:
    assert bytes_text(amount) == text


def test_flops() -> None:
    assert flops_text(3.21e12) == "3.2 TFLOP"
    assert flops_text(9.96e9) == "10 GFLOP"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (0.0421, "42 ms"),
        (0.42, "0.42 s"),
        (1.26, "1.3 s"),
        (12.4, "12 s"),
        (192, "3 min 12 s"),
        (7260, "2 h 1 min"),
    ],
)
def test_seconds(seconds: float | None, text: str) -> None:
    assert seconds_text(seconds) == text
