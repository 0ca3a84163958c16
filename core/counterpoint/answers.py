"""What an answer says, as verifiers and strategies compare it: for plugin authors.

:func:`extractor` takes out of an answer what counts (its final number, its text, what a pattern finds), in a form in which equal
answers are equal texts. :func:`rouge_l` tells how alike two texts are. Importing this loads neither torch nor transformers.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import time
import unicodedata
from collections import deque
from collections.abc import Callable
from decimal import Decimal, DecimalException
from typing import TYPE_CHECKING, Any

from counterpoint.errors import Unsupported

if TYPE_CHECKING:
    from counterpoint.planning import NodePlan

PATTERN_SECONDS = 2.0
"""How long a regular expression may take for one answer. Patterns that backtrack can take for ever, and answers are written by
models."""

_NUMBER = re.compile(
    r"""
    (?P<minus>(?<![\w)\]])-)?             # a sign, unless something stands before it that it subtracts from: "16-3" ends with 3
    (?:[$€£](?P<sign>-)?)?                # "$-5" is as good as "-$5"
    (?<![0-9])(?:(?<!\.)|(?<=\.\.))       # not within another number; but after an ellipsis
    (?P<number>
      (?<!\w)[0-9]+(?:\.[0-9]+)?[eE][+-]?[0-9]{1,3}(?!\w|\.[0-9])
      | (?>(?:[0-9]{1,3}(?:[,_][0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<!\.)\.[0-9]+)
    )
    (?:\s?/\s?(?P<over>[0-9]+))?          # a fraction
    """,
    re.VERBOSE,
)
_MARKED = re.compile(
    rf"""
    (?:boxed|text|[\s*_`$€£\\({{\[=:])*     # emphasis and LaTeX between the mark and the number
    {_NUMBER.pattern}
    (?!\.[ \t]+[A-Za-z]|\))               # "#### 1. First" and "#### 2) Then" are headings
    """,
    re.VERBOSE,
)


def extractor(by: str) -> Callable[[str], str | None]:
    """A function from an answer to what it says, in a form in which equal answers are equal texts; None where it says nothing.

    An answer for which a pattern takes longer than :data:`PATTERN_SECONDS` says nothing that is known. So a call may block for as
    long; a node makes it by ``await run.thread(…)``.

    Args:
        by: ``number`` (:func:`final_number`: 18 and 18.00 are one), ``text`` (all of it, :func:`normalised`), or a regular
            expression: what it finds last, its first group if it has one; case and white space do not count.

    Raises:
        ValueError: the regular expression is none (:func:`check_pattern` says so when a node is made).
    """
    if by == "number":
        return _number_said
    if by == "text":
        return lambda text: normalised(text) or None
    check_pattern(by)

    def found(text: str) -> str | None:
        try:
            last = last_match(by, text)
        except TimeoutError:
            return None
        return normalised(last, punctuation=True) or None if last is not None else None

    return found


def _number_said(text: str) -> str | None:
    number = final_number(text)
    return None if number is None else number_text(number)


# --- text -----------------------------------------------------------------------------------------------------------------


def normalised(text: str, *, case: bool = False, punctuation: bool = False) -> str:
    """A text as answers are compared: forms that look alike are one (NFKC), white space is one space.

    Args:
        text: any text.
        case: whether upper and lower case differ.
        punctuation: whether punctuation counts. In a text that is nothing else, it always does.
    """
    text = unicodedata.normalize("NFKC", text)
    if not case:
        text = text.casefold()
    if not punctuation:
        bare = "".join(" " if unicodedata.category(char).startswith("P") else char for char in text)
        text = bare if bare.strip() else text  # an answer that is all punctuation is not empty
    return " ".join(text.split())


def shortened(text: str, most: int = 60) -> str:
    """A text on one line of at most ``most`` characters, for a score's detail."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."


# --- numbers --------------------------------------------------------------------------------------------------------------


def final_number(text: str) -> Decimal | None:
    """The number an answer ends with: behind its last ``####`` if one stands there, else the last in the text.

    Signs, currency signs, thousands separators, exponents, LaTeX around a number, an ellipsis before it, a percent sign or a full
    stop behind it, and fractions are understood. None when there is no number.
    """
    text = text.replace("\u2212", "-").replace("{,}", ",").replace("\\,", ",").replace("\\!", "").replace("\\$", "$")
    mark = text.rfind("####")
    if mark >= 0 and (marked := _MARKED.match(text, mark + 4)) is not None:
        return _value(marked)
    latest = deque(_NUMBER.finditer(text), maxlen=1)
    return _value(latest[0]) if latest else None


def number_text(number: Decimal) -> str:
    """A number in figures, the same for equal ones: 18 for 18.00, 0 for -0."""
    figures = f"{number:f}"
    if "." in figures:
        figures = figures.rstrip("0").rstrip(".")
    return "0" if figures == "-0" else figures


def _value(match: re.Match[str]) -> Decimal | None:
    try:
        value = Decimal(match["number"].replace(",", "").replace("_", ""))
        if match["over"]:
            value /= Decimal(match["over"])
    except DecimalException:  # a fraction over nought
        return None
    return value.copy_negate() if match["minus"] or match["sign"] else value


# --- patterns -------------------------------------------------------------------------------------------------------------


def check_pattern(pattern: str) -> None:
    """Refuses what is no regular expression, in the syntax of the package regex, which has all of Python's own.

    Raises:
        ValueError: it is none; the message says why.
    """
    import regex

    try:
        regex.compile(pattern)
    except regex.error as error:
        raise ValueError(f"is no regular expression: {error}") from None


def last_match(pattern: str, text: str, seconds: float = PATTERN_SECONDS) -> str | None:
    """What a regular expression finds last in a text: its first group (empty if that took no part), or all of it if it has none.
    None if it finds nothing. Blocks for at most about ``seconds``; other threads go on meanwhile.

    Raises:
        TimeoutError: it is not done in time.
    """
    import regex

    deadline = time.monotonic() + seconds
    compiled, last = regex.compile(pattern), None
    try:
        for match in compiled.finditer(text, concurrent=True, timeout=seconds):
            last = match
            if time.monotonic() > deadline:
                raise TimeoutError
    except MemoryError:  # of a pattern that calls itself without an end
        raise TimeoutError from None
    if last is None:
        return None
    return (last[1] or "") if compiled.groups else str(last[0])


def matches(pattern: str, text: str, *, whole: bool, seconds: float = PATTERN_SECONDS) -> bool:
    """Whether a regular expression matches a text, all of it if ``whole`` and else anywhere. Blocks for at most about
    ``seconds``; other threads go on meanwhile.

    Raises:
        TimeoutError: it is not done in time.
    """
    import regex

    compiled = regex.compile(pattern)
    match = compiled.fullmatch if whole else compiled.search
    try:
        return match(text, concurrent=True, timeout=seconds) is not None
    except MemoryError:  # as above
        raise TimeoutError from None


# --- likeness -------------------------------------------------------------------------------------------------------------

_NO_ROUGE = "ROUGE-L is computed by the package rouge-score, which is not installed"
_ROUGE_HINT = "pip install 'counterpoint[eval]'"


def refuse_without_rouge(plan: NodePlan) -> None:
    """For a node's ``check``: refuses the recipe where the package that :func:`rouge_l` needs is not installed."""
    if importlib.util.find_spec("rouge_score") is None:
        plan.refuse(_NO_ROUGE, _ROUGE_HINT)


def rouge_l(one: str, other: str, *, stemmer: bool = False) -> float:
    """ROUGE-L of two texts: F1 of the longest common subsequence of their words (0 to 1), the same both ways round.

    Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", section 3, as the package rouge-score computes it.
    Two texts of some hundred words take some hundredths of a second (a node calls it by ``await run.thread(…)``).

    Args:
        one: a text. Without words (:func:`rouge_words`) it has nothing in common with anything.
        other: another one.
        stemmer: whether words count as their stems (Porter), as ROUGE-1.5.5 -m does.

    Raises:
        Unsupported: the package is not installed.
    """
    return float(_rouge(stemmer)[0].score(one, other)["rougeL"].fmeasure)


def rouge_words(text: str, *, stemmer: bool = False) -> list[str]:
    """The words that :func:`rouge_l` compares: runs of the letters a to z and digits; case does not count.

    Raises:
        Unsupported: the package rouge-score is not installed.
    """
    return list(_rouge(stemmer)[1].tokenize(text))


def _rouge(stemmer: bool) -> tuple[Any, Any]:
    try:
        import rouge_score  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "rouge_score":
            raise
        raise Unsupported(_NO_ROUGE, hint=_ROUGE_HINT) from None
    return _loaded_rouge(stemmer)


@functools.cache
def _loaded_rouge(stemmer: bool) -> tuple[Any, Any]:
    from rouge_score import rouge_scorer, tokenizers

    words = tokenizers.DefaultTokenizer(stemmer)
    return rouge_scorer.RougeScorer(["rougeL"], tokenizer=words), words
