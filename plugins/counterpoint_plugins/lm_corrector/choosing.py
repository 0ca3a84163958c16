"""Choosing instead of writing: the candidate that the corrector itself would most probably write."""

from __future__ import annotations

import math
from collections.abc import Sequence

from counterpoint.plugin import LanguageModel, Prompt, Run, Session


async def mean_log_probabilities(model: str | LanguageModel, prompt: Prompt, texts: Sequence[str], run: Run) -> list[float]:
    """For each text after a prompt, the mean natural log of its tokens' probabilities; NaN where it does not fit the context. All are
    forks of one session and share passes."""
    session = await run.open(model, prompt)
    await session.logits()  # once, for all forks
    forks = await session.fork(len(texts))
    return await run.gather(*(_mean(fork, text) for fork, text in zip(forks, texts, strict=True)))


async def _mean(session: Session, text: str) -> float:
    try:
        ids = session.tokenizer.encode(text)
        if not ids or session.length + len(ids) > session.room:
            return math.nan
        return float((await session.score(ids)).mean())
    finally:
        session.close()
