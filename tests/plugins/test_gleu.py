"""GLEU: against its published formula written out naively, its known properties, and the figures published for JFLEG."""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from counterpoint import paths
from counterpoint.plugin import Completion, Prompt, Score
from counterpoint.testing import assert_verifier_laws
from counterpoint_plugins.gleu import ITERATIONS, Gleu, _draws, penn_tokens, statistics

WORDS = st.lists(st.sampled_from("abcd"), min_size=1, max_size=9)
SENTENCES = st.tuples(WORDS, WORDS, st.lists(WORDS, min_size=1, max_size=3))
"""Source, answer and references."""


def score(source: str, answer: str, references: Any, **settings: Any) -> Score:
    prompt = Prompt(text="p", fields={"source": source, "references": references})
    run: Any = None
    (found,) = asyncio.run(Gleu(**settings).verify(prompt, [Completion(text=answer, finish_reason="stop")], run))
    return found


def scores(rows: list[tuple[list[str], list[str], list[list[str]]]]) -> list[Score]:
    return [score(" ".join(s), " ".join(a), [" ".join(r) for r in refs], tokenize=False) for s, a, refs in rows]


# --- the formula, once more and differently -----------------------------------------------------------------------------


def occurrences(ngram: list[str], tokens: list[str]) -> int:
    return sum(tokens[i : i + len(ngram)] == ngram for i in range(len(tokens)))


def numerator(source: list[str], answer: list[str], reference: list[str], n: int) -> int:
    """Σ over the answer's n-grams: those the reference has, less those that only the source has."""
    total = 0
    seen: list[list[str]] = []
    for i in range(len(answer) - n + 1):
        ngram = answer[i : i + n]
        if ngram in seen:
            continue
        seen.append(ngram)
        in_answer, in_source, in_reference = (occurrences(ngram, tokens) for tokens in (answer, source, reference))
        total += min(in_answer, in_reference)
        if in_reference == 0:
            total -= min(in_answer, in_source)
    return max(0, total)


def corpus(rows: list[tuple[list[str], list[str], list[str]]]) -> float:
    """GLEU of answers with one reference each."""
    answer_words = sum(len(answer) for _, answer, _ in rows)
    reference_words = sum(len(reference) for _, _, reference in rows)
    precisions = []
    for n in (1, 2, 3, 4):
        denominator = sum(max(0, len(answer) - n + 1) for _, answer, _ in rows)
        if denominator:
            precisions.append(sum(numerator(*row, n) for row in rows) / denominator)
    if not answer_words or min(precisions) == 0:
        return 0.0
    brevity = min(1.0, math.exp(1 - reference_words / answer_words))
    return float(brevity * math.prod(precisions) ** (1 / len(precisions)))


@given(WORDS, st.lists(st.sampled_from("abcd"), max_size=9), WORDS)
def test_the_counts_are_those_of_the_formula(source: list[str], answer: list[str], reference: list[str]) -> None:
    counted = statistics(source, answer, reference)
    assert counted == [len(reference), *(numerator(source, answer, reference, n) for n in (1, 2, 3, 4))]


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), min_size=1, max_size=5))
def test_with_one_reference_it_is_the_formula(rows: list[tuple[list[str], list[str], list[str]]]) -> None:
    found = Gleu().overall(scores([(s, a, [r]) for s, a, r in rows]), [])
    assert found == pytest.approx(corpus(rows), abs=1e-12)
    assert 0 <= found <= 1 + 1e-12


def test_with_several_references_it_is_the_mean_over_the_draws() -> None:
    given = [
        ("the cat sit on mat", "the cat sits on the mat", ["a cat sits on the mat", "mat mat mat mat"]),
        ("she go home now", "she goes home now", ["she goes home now", "now she goes home"]),
    ]
    rows = [(source.split(), answer.split(), [text.split() for text in references]) for source, answer, references in given]
    every = [
        corpus([(source, answer, references[k]) for (source, answer, references), k in zip(rows, drawn, strict=True)])
        for drawn in itertools.product((0, 1), repeat=2)
    ]
    found = Gleu().overall(scores(rows), [])
    assert found == pytest.approx(sum(every) / len(every), abs=0.03)
    assert found == Gleu().overall(scores(rows), []), "the draws are fixed"


@given(st.lists(st.integers(1, 12), min_size=1, max_size=20))
def test_a_sentence_draws_each_reference_equally_often(references: list[int]) -> None:
    drawn = _draws(tuple(references))
    assert drawn.shape == (len(references), ITERATIONS)
    first = 0
    for row, count in zip(drawn, references, strict=True):
        often = [int((row == first + k).sum()) for k in range(count)]
        assert sum(often) == ITERATIONS
        assert max(often) - min(often) <= (0 if ITERATIONS % count == 0 else 1)
        first += count


# --- properties ---------------------------------------------------------------------------------------------------------


@given(WORDS, WORDS)
def test_a_perfect_answer_has_one(source: list[str], reference: list[str]) -> None:
    (found,) = scores([(source, reference, [reference])])
    assert found == pytest.approx(1)
    assert Gleu().overall([found], []) == pytest.approx(1)


@given(SENTENCES, st.randoms(use_true_random=False))
def test_bounds_and_the_order_of_references(row: tuple[list[str], list[str], list[list[str]]], random: Any) -> None:
    source, answer, references = row
    shuffled = list(references)
    random.shuffle(shuffled)
    one, other = scores([(source, answer, references), (source, answer, shuffled)])
    assert 0 <= one <= 1 + 1e-12
    assert one == pytest.approx(other)


def test_leaving_an_error_costs_more_than_another_word() -> None:
    source, reference = "he like the green apples very much", "he likes the green apples very much"
    left, other, right = (
        score(source, text, [reference]) for text in (source, "he loves the green apples very much", reference)
    )
    assert left < other < right == pytest.approx(1)
    node = Gleu()
    assert node.overall([left], []) < node.overall([other], []) < node.overall([right], [])


def test_repeated_words_count_as_often_as_the_reference_has_them() -> None:
    assert statistics(["x"], ["a", "a", "a"], ["a", "b"])[1] == 1


def test_what_cannot_be_scored() -> None:
    for references in ([], None, "", [" "]):
        assert math.isnan(score("a", "b", references))
    empty = score("a b", "", ["a b c d e"])
    assert empty == 0
    assert empty.detail == "no words"
    assert Gleu().overall([empty], []) == 0
    assert Gleu().overall([score("a", "x y z w v", ["a b c d e"])], []) == 0, "no match at all"


def test_data_holds_counts_and_no_words() -> None:
    found = score("he like it", "he likes it", ["he likes it", "he loved it all"])
    assert found.data == {"length": 3, "references": [[3, 3, 2, 1, 0], [4, 2, 0, 0, 0]]}
    assert found.detail.startswith("by reference: 1.00, ")


def test_the_laws_hold() -> None:
    texts = ["he likes it a lot .", "he like it a lot .", "", "It is."]
    for references in (["he likes it a lot .", "he really likes it ."], []):
        prompt = {"text": "hello", "fields": {"source": "he like it a lot .", "references": references}}
        assert_verifier_laws({"nodes": {"v": {"kind": "gleu"}}, "output": "v"}, texts, prompt=prompt)


# --- tokens -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("I can't go, he said.", "I ca n't go , he said ."),
        ("We cannot. They don\u2019t!", "We can not . They do n't !"),
        ("It's 3,000 at 5:30; 50% (or 2.5)...", "It 's 3,000 at 5:30 ; 50 % ( or 2.5 ) ..."),
        ("Mr. Brown, e.g. in the U.S. at home. Yes.", "Mr. Brown , e.g. in the U.S. at home . Yes ."),
        ("My parents' house and the well-to-do's", "My parents ' house and the well-to-do 's"),
        ("He said 'no' and \u201cyes\u201d.", "He said ' no ' and \" yes \" ."),
        ("It ended\nhere.\n", "It ended here ."),
    ],
)
def test_words_and_punctuation_are_set_apart(text: str, tokens: str) -> None:
    assert penn_tokens(text) == tokens.split()
    assert penn_tokens(tokens) == tokens.split(), "what is set apart stays so"


@given(st.text("ab.',\"() 0ns\n", max_size=30))
def test_tokens_lose_nothing(text: str) -> None:
    assert "".join(penn_tokens(text)) == "".join(text.split())


def test_answers_need_not_be_tokenized() -> None:
    source, reference = "He do n't like it , I think .", "He does n't like it , I think ."
    assert score(source, "He doesn't like it, I think.", [reference]) == pytest.approx(1)
    assert score(source, "He doesn't like it, I think.", [reference], tokenize=False) < 0.5


# --- JFLEG --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def jfleg() -> tuple[list[str], list[list[str]]]:
    """The development set: sources, and for each its references."""
    folder = paths.data() / "jfleg_dev"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    sources, *references = (
        (folder / name).read_text(encoding="utf-8").splitlines() for name in ("dev.src", *(f"dev.ref{k}" for k in range(4)))
    )
    return sources, [list(row) for row in zip(*references, strict=True)]


def figure(answers: list[str], sources: list[str], references: list[list[str]], **settings: Any) -> tuple[float, list[Score]]:
    found = [score(s, a, refs, **settings) for s, a, refs in zip(sources, answers, references, strict=True)]
    return Gleu().overall(found, answers), found


def test_the_figures_published_for_jfleg(jfleg: tuple[list[str], list[list[str]]]) -> None:
    """The README of JFLEG: source 38.21; people, each against the other three, 55.26."""
    sources, references = jfleg
    source, _ = figure(sources, sources, references, tokenize=False)
    assert source == pytest.approx(0.3821, abs=0.002)
    people = [
        figure([refs[k] for refs in references], sources, [refs[:k] + refs[k + 1 :] for refs in references], tokenize=False)[0]
        for k in range(4)
    ]
    assert sum(people) / 4 == pytest.approx(0.5526, abs=0.002)


def test_tokenizing_and_the_order_of_sentences_change_little(jfleg: tuple[list[str], list[list[str]]]) -> None:
    sources, references = jfleg
    value, found = figure(sources, sources, references)
    assert value == pytest.approx(0.3821, abs=0.005)
    assert Gleu().overall(found[::-1], sources) == pytest.approx(value, abs=1e-4)
    start = time.perf_counter()
    for _ in range(20):
        Gleu().overall(found, sources)
    assert (time.perf_counter() - start) / 20 < 0.5, "a bootstrap calls it a thousand times"
