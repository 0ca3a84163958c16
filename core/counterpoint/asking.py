"""Asking a model about answers: for plugins in which one judges. Importing this loads neither torch nor transformers.

What is judged was written by others. It stands between marks that hold a hash of it (:func:`mark_of`), so that no text can end
its frame; and a reply is read as the probabilities of its letters (:func:`log_odds`), which even a small model has.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from counterpoint.errors import RunError

if TYPE_CHECKING:
    from counterpoint.node import Node
    from counterpoint.prompt import Prompt
    from counterpoint.running import Run
    from counterpoint.tokenizer import Tokenizer


def mark_of(*texts: str) -> str:
    """Eight characters for the frames of texts: a hash of them all, so that none of them can contain it on purpose."""
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:8]


def question_of(prompt: Prompt) -> str:
    """What a prompt asks, as one text: of a chat, every message under its role. The prompt's ``prefix`` belongs to the answer."""
    if prompt.text is not None:
        return prompt.text
    return "\n\n".join(f"[{message.role}]\n{message.content}" for message in prompt.messages)


async def log_odds(model: str | Node, asked: Prompt, run: Run, *, hint: str = "name another judge") -> float:
    """Natural log of how much more probable the reply A is than B: one pass, nothing is generated.

    A letter's probability is that of all tokens that say it, with and without a space before. NaN where the model allows neither.

    Args:
        model: a field of the node that asks; it refers to a language model.
        asked: the whole question.
        run: the run of that node.
        hint: what to do where the vocabulary lacks a letter.

    Raises:
        RunError: the vocabulary has no token for a letter.
    """
    session = await run.open(model, asked)
    try:
        row = (await session.logits()).double()
        first, second = (row[_letter_ids(letter, session.tokenizer, run.path, hint)].logsumexp(-1) for letter in "AB")
        return float(first - second)
    finally:
        session.close()


def _letter_ids(letter: str, tokenizer: Tokenizer, path: str, hint: str) -> list[int]:
    """Tokens that say a letter at the beginning of a reply."""
    spelled = [tokenizer.encode(text) for text in (letter, f" {letter}")]
    found = sorted({ids[0] for ids in spelled if len(ids) == 1 and tokenizer.decode(ids).strip().upper() == letter})
    if not found:
        raise RunError(f"{path}: the judge's vocabulary has no token '{letter}'", hint=hint)
    return found
