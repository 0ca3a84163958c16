"""How probable a language model finds given continuations: what stands behind the harness's likelihood requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from counterpoint.plugin import Completion, LanguageModel, Prompt, Ref, Run, Score, Session, Unsupported, Verifier

NOTHING = Prompt(text=".")
"""Stands for the prompt where there is none: a prompt cannot be empty. No answer is scored after it."""
_PIECE = 128  # tokens whose rows are held at once: a row is as long as the vocabulary


class Likelihood(Verifier):
    """Scores each answer with its log-probability (natural log).

    A score's ``data`` says whether greedy decoding gives the answer, and how many tokens of the context were left out because
    they did not fit. Texts become tokens as in the harness's ``TemplateLM.loglikelihood`` and ``HFLM.loglikelihood_rolling``
    (lm-evaluation-harness 0.4.13). No plugin brings this node: the harness's model puts it into its recipes.
    """

    kind: Literal["lm_eval_likelihood"] = "lm_eval_likelihood"
    model: Ref[LanguageModel] = Field(description="Whose probabilities.")
    after: Literal["prompt", "nothing", "itself"] = Field(
        default="prompt",
        description="What stands before an answer: the prompt; the prefix token only; or the prefix token and, token by token, "
        "as much of the answer as fits (rolling).",
    )
    prefix_token_id: int | None = Field(
        default=None,
        ge=0,
        description="The token before a text that has nothing before it. By default the one that the tokenizer puts before "
        "every text, else the end-of-turn token of the lowest id.",
    )

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        probe = await run.open(self.model, NOTHING)  # for its tokenizer and its context: a pass of one token, once
        probe.close()
        _refuse_ends(probe)
        answers = [completion.text for completion in completions]
        if self.after == "itself":
            return [await self._rolling(answer, probe, run) for answer in answers]
        if self.after == "nothing":
            return await run.gather(*(self._alone(answer, probe, run) for answer in answers))
        if prompt.text is None:
            session = await run.open(self.model, prompt)
            return await self._score_all(session, [probe.tokenizer.encode(answer) for answer in answers], run)
        return await self._after_text(prompt.text, answers, probe, run)

    async def _after_text(self, context: str, answers: Sequence[str], probe: Session, run: Run) -> list[Score]:
        """Scores answers after a text. Where the two meet, the tokens are those of the whole text: an answer's tokens are the
        whole's without as many as the context has by itself, and white space at the end of the context counts to the answer."""
        stem = context.rstrip()
        before = probe.tokenizer.encode(stem, add_special=True)
        after = [probe.tokenizer.encode(context + answer, add_special=True)[len(before) :] for answer in answers]
        size = _context(probe)
        if len(before) < size and all(len(before) + len(ids) <= size + 1 for ids in after):
            return await self._score_all(await run.open(self.model, Prompt(text=stem)), after, run)
        return await run.gather(*(self._cut(before, ids, probe, run) for ids in after))

    async def _cut(self, before: Sequence[int], ids: Sequence[int], probe: Session, run: Run) -> Score:
        """Scores tokens after the end of a context that does not fit, as much of it as does; the prefix token stands before."""
        room = max(0, _context(probe) - len(ids))
        kept = before[max(0, len(before) - room) :]
        session = await self._open_on_prefix(probe, run)
        return await _scored(session, kept, ids, left_out=len(before) - len(kept))

    async def _alone(self, answer: str, probe: Session, run: Run) -> Score:
        ids = probe.tokenizer.encode(answer)
        if ids and ids[0] == self._prefix(probe):  # it is there already, and is context
            ids = ids[1:]
        return await _scored(await self._open_on_prefix(probe, run), (), ids)

    async def _rolling(self, text: str, probe: Session, run: Run) -> Score:
        """The harness's windows. From the second on, each of them begins with the prefix token here, which leaves its first
        tokens one token less of context than they have there; a text that fits the context is one window, and the same."""
        from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

        ids = probe.tokenizer.encode(text, add_special=True)
        size, prefix = _context(probe), self._prefix(probe)
        windows = get_rolling_token_windows(ids, prefix, size if len(ids) <= size else size - 1, 1)
        total, greedy = 0.0, True
        for number, (before, predicted) in enumerate(map(make_disjoint_window, windows)):
            session = await self._open_on_prefix(probe, run)
            score = await _scored(session, before[1:] if number == 0 else before, predicted)
            session.close()
            total, greedy = total + score, greedy and score.data["greedy"]
        return Score(total, data={"greedy": greedy, "left_out": 0})

    async def _score_all(self, session: Session, answers: Sequence[Sequence[int]], run: Run) -> list[Score]:
        """Scores several continuations of one context, which is processed once."""
        sessions = [session, *await session.fork(len(answers) - 1)]
        return await run.gather(*(_scored(one, (), ids) for one, ids in zip(sessions, answers, strict=True)))

    async def _open_on_prefix(self, probe: Session, run: Run) -> Session:
        """A session on the prefix token alone."""
        token_id = self._prefix(probe)
        token = probe.tokenizer.token(token_id)
        if token.strip():
            session = await run.open(self.model, Prompt(text=token))
            if session.prompt_ids == (token_id,):
                return session
        raise Unsupported(
            f"{probe.path}: token {token_id} ('{token}') cannot stand before a text that has nothing before it: its text is "
            "not that one token",
            hint="name another token with prefix_token_id=ID in the model arguments",
        )

    def _prefix(self, probe: Session) -> int:
        if self.prefix_token_id is not None:
            return self.prefix_token_id
        if added := probe.tokenizer.encode("", add_special=True):
            return added[0]
        if probe.stop_ids:
            return min(probe.stop_ids)
        raise Unsupported(
            f"{probe.path}: the model has no token to stand before a text that has nothing before it",
            hint="name one with prefix_token_id=ID in the model arguments",
        )


def _refuse_ends(session: Session) -> None:
    """Refuses a tokenizer that puts something behind every text, as those of models with an encoder do: an answer would go on after
    its end, and the harness's cuts between context and answer would be others."""
    plain, whole = (session.tokenizer.encode("a", add_special=added) for added in (False, True))
    if whole[-len(plain) :] != plain:
        raise Unsupported(
            f"{session.path}: its tokenizer ends every text, so no text can be gone on from",
            hint="take a causal model for tasks of likelihoods; tasks that generate work with this one",
        )


def _context(session: Session) -> int:
    """Most tokens that fit, prompt and response together."""
    return session.room + len(session.prompt_ids)


async def _scored(session: Session, before: Sequence[int], ids: Sequence[int], left_out: int = 0) -> Score:
    """The log-probability of ``ids`` after what the session has and ``before``, and whether each is the most probable token.

    The last token is not fed, so that one more fits the context, as in the harness. That greedy decoding gives them is seen in
    the rows, which ``Session.score`` does not return.
    """
    import torch

    if before:
        await session.extend(before, rows="none")
    total, greedy = 0.0, True
    last = await session.logits() if ids else torch.empty(0)
    for start in range(0, len(ids), _PIECE):
        piece = ids[start : start + _PIECE]
        fed = ids[start : min(start + _PIECE, len(ids) - 1)]
        rows = torch.cat([last[None], await session.extend(fed, rows="all")]) if fed else last[None]
        last, rows = rows[-1], rows[: len(piece)]
        chosen = torch.tensor(piece, device=rows.device)
        total += float(torch.log_softmax(rows, dim=-1).gather(1, chosen[:, None]).double().sum())
        greedy = greedy and bool((rows.argmax(dim=-1) == chosen).all())
    return Score(total, data={"greedy": greedy, "left_out": left_out})
