"""Reports: one file, whatever models wrote."""

from __future__ import annotations

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from counterpoint.errors import EvaluationError
from counterpoint.evaluation.comparison import Comparison, compare
from counterpoint.evaluation.figures import Settings
from counterpoint.evaluation.outcomes import Measure
from counterpoint.evaluation.report import Limits, render_report, write_report

TESTS = Measure("tests", verdicts=True)
QUICK = Settings(resamples=99)
EVIL = "</pre></script><script>alert(1)</script><img src=https://example.org/x onerror=alert(2)>{{ 7 * 7 }}\x00\x1b[31m"
VOID = {"meta", "input", "br", "link", "img"}


class Page(HTMLParser):
    """What a browser would find: elements, their attributes, text outside of scripts; refuses what is not closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert not self.open, "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag == "p" and self.open[-1] != "p":
            return
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def make(invented: Any, names: tuple[str, str] = ("large", "small"), **text: Any) -> Comparison:
    large = invented.records([1.0] * 8 + [0.0] * 4, flops=4e12, seconds=2.0, **text)
    small = invented.records([[1.0, 0.0]] * 9 + [[0.0, 0.0]] * 3, flops=1e12, **text)
    return compare(
        [
            (invented.configuration(names[0], reads_references={"judge": ["tests"]}), large),
            (invented.configuration(names[1], samples=2), small),
        ],
        [TESTS],
        settings=QUICK,
    )


@pytest.fixture(scope="module")
def html(invented: Any) -> str:
    return render_report(make(invented))


def test_verdicts_come_first_then_warnings_figures_plots_examples_and_configuration(html: str) -> None:
    page = Page(html)
    order = ["In words", "No difference shown", "Read with care", "Figures and costs", "Quality and cost", "Differences"]
    order += ["Probability that at least one", "At equal budget", "12 of 12 examples", "Notes", "Configuration", "3f2a3f2a"]
    places = [page.text.index(words) for words in order]
    assert places == sorted(places)
    assert page.all("title")
    assert "large against small on small" in page.text
    assert "its verifier judge reads tests" in page.text
    assert "66.7 %" in page.text


def test_the_file_needs_nothing_else(html: str) -> None:
    page = Page(html)
    assert "default-src 'none'" in html
    assert not page.all("link")
    assert not page.all("img")
    assert len(page.all("script")) == 1
    assert not any("src" in attributes for _, attributes in page.elements)
    links = [value for _, attributes in page.elements for name, value in attributes.items() if name.endswith("href")]
    assert all((link or "").startswith("#") for link in links)
    outside = set(re.findall(r"https?://[^\s\"'<>]+", html))
    assert outside <= {"http://www.w3.org/1999/xlink", "http://www.w3.org/2000/svg"}  # names, not addresses


def test_ids_are_unique_and_every_reference_leads_somewhere(html: str) -> None:
    page = Page(html)
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    wanted = set(re.findall(r"url\(#([^)]+)\)", html)) | set(re.findall(r'href="#([^"]+)"', html))
    wanted |= {name for _, one in page.elements for name in (one.get("aria-labelledby") or "").split()}
    assert wanted <= set(ids)


def test_plots_and_tables_can_be_heard(html: str) -> None:
    page = Page(html)
    labels = [one["aria-label"] or "" for one in page.all("svg") if one.get("role") == "img"]
    assert len(labels) == 3  # FLOPs, seconds, differences
    assert "large: 66.7 % at 4 TFLOP" in labels[0]
    assert "No difference shown" in labels[2]
    assert all("scope" in one for one in page.all("th"))


def test_what_models_write_stays_text(invented: Any) -> None:
    comparison = make(invented, (EVIL, "$x^2$ & co"), text=EVIL)
    html = render_report(comparison, title=EVIL, questions={"e000": EVIL})
    page = Page(html)
    assert len(page.all("script")) == 1
    assert not page.all("img")
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7 * 7 }}" in page.text
    assert "$x^2$ & co" in page.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", html)


def test_the_same_comparison_gives_the_same_file(invented: Any, html: str) -> None:
    assert render_report(make(invented)) == html


def test_questions_are_shown_only_when_handed_in(invented: Any, html: str) -> None:
    assert 'aria-label="question"' not in html
    shown = Page(render_report(make(invented), questions={"e003": "What is asked here?"}))
    assert "What is asked here?" in shown.text


def test_what_is_left_out_is_said(invented: Any) -> None:
    comparison = make(invented, text="x" * 500)
    page = Page(render_report(comparison, limits=Limits(examples=5, answer=100)))
    assert "5 of 12 examples" in page.text
    assert "The other 7 are left out" in page.text
    assert "10 long texts are cut" in page.text
    assert "[… 400 characters more]" in page.text
    assert len([one for one in page.all("details") if one.get("class") == "example"]) == 5
    few = Page(render_report(comparison, limits=Limits(characters=2100)))
    assert "2 of 12 examples" in few.text


def test_examples_on_which_recipes_differ_come_first(html: str) -> None:
    page = Page(html)
    ids = [one["data-id"] for one in page.all("details") if one.get("class") == "example"]
    assert ids == [*(f"e{index:03}" for index in range(9)), "e009", "e010", "e011"]
    values = [one["data-values"] for one in page.all("details") if one.get("class") == "example"]
    assert (values[0], values[-1]) == ("1.0,0.5", "0.0,0.0")


def test_one_evaluation_has_a_report_too(invented: Any) -> None:
    alone = compare([(invented.configuration("a"), invented.records([0.0, 1.0]))], [TESTS], settings=QUICK)
    page = Page(render_report(alone))
    assert "a: 50.0 % on tests" in page.text
    assert "Differences" not in page.text


def test_failed_answers_and_several_scorers_are_shown(invented: Any) -> None:
    def both(values: list[float]) -> Any:
        records = invented.records(values)
        return [
            one.model_copy(update={"scores": one.scores | {"bits": one.scores["tests"]}, "finish_reason": "budget"})
            for one in records
        ]

    names = ("tests", "bits")
    comparison = compare(
        [
            (invented.configuration("a", *names), [*both([1.0, 0.0]), invented.failed(2)]),
            (invented.configuration("b", *names), both([1.0, 1.0, 1.0])),
        ],
        [TESTS, Measure("bits", lower_is_better=True)],
        settings=QUICK,
    )
    page = Page(render_report(comparison))
    for words in ("failed: it broke", "hint: mend it", "ended early: budget", "By the other scorers", "lower is better"):
        assert words in page.text


def test_a_report_is_written_where_it_can_be(invented: Any, tmp_path: Path) -> None:
    comparison = make(invented)
    write_report(tmp_path / "new" / "report.html", comparison)
    assert (tmp_path / "new" / "report.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    with pytest.raises(EvaluationError, match="cannot be written"):
        write_report(tmp_path, comparison)


def test_plots_need_matplotlib(invented: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(EvaluationError, match="plots need matplotlib") as caught:
        render_report(make(invented))
    assert caught.value.hint == "pip install 'counterpoint[eval]'"


def test_of_many_pairs_those_that_differ_are_in_sight(invented: Any) -> None:
    values = [[1.0] * 20, [1.0] * 20, [1.0] * 20, [0.0] * 20]
    comparison = compare(
        [(invented.configuration(name), invented.records(one)) for name, one in zip("abcd", values, strict=True)],
        [TESTS],
        settings=QUICK,
    )
    page = Page(render_report(comparison))
    assert "No difference shown in 3 of 6 pairs on tests" in page.text
    first = page.text[: page.text.index("No difference shown in")]
    assert first.count(" is better than d ") == 3
