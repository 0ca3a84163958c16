"""One model inside a composition, kept in step with a response in another vocabulary."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from counterpoint.alignment import Alignment, match_ends
from counterpoint.bridge import Mapping, TokenizerBridge
from counterpoint.errors import BridgeError
from counterpoint.session import Session

if TYPE_CHECKING:
    from counterpoint.node import LanguageModel, Node
    from counterpoint.prompt import Prompt
    from counterpoint.running import Run


class Component:
    """One model inside a composition: its session, in step with a response in another (or the same) vocabulary.

    Args:
        session: the model's session, opened on the same prompt and prefix.
        bridge: from the composition's tokenizer to the session's.
        ends: the composition's end-of-turn tokens.
        mapping: which inner token stands for an outer one in :meth:`onto`.
    """

    def __init__(self, session: Session, bridge: TokenizerBridge, ends: frozenset[int], mapping: Mapping = "auto") -> None:
        self.session = session
        self.bridge = bridge
        self._mapping = mapping
        self._ends = match_ends(bridge, ends, session.stop_ids)
        self._inner_ends = sorted(session.stop_ids)
        self._plain = bridge.exact and ends == session.stop_ids  # nothing at all has to be translated
        self._alignment = Alignment(bridge, self._ends)
        self._held = list(session.prefix_ids)  # response tokens of the session
        self._agreed = 0  # how many of them are known to be those of the alignment
        self._images: tuple[Tensor, Tensor] | None = None

    @property
    def inner_ids(self) -> Sequence[int]:
        """The response in the model's own vocabulary."""
        return self._alignment.ids

    @property
    def spare(self) -> int:
        """Tokens of its own that the model's context still holds."""
        return self.session.room - (self.session.length if self._plain else len(self._alignment.ids))

    @classmethod
    async def open(
        cls,
        model: str | LanguageModel | Node,
        prompt: Prompt,
        run: Run,
        *,
        like: Session | None = None,
        mapping: Mapping = "auto",
    ) -> Component:
        """Opens a model on a prompt as part of a composition.

        Args:
            model: the field that refers to it.
            prompt: the prompt, with the beginning of the response as its prefix.
            run: the composition's run.
            like: a session in the composition's vocabulary; None for the model that gives the composition its own.
            mapping: how tokens find their image in the model's vocabulary.

        Raises:
            BridgeError: the vocabularies do not allow the mapping.
        """
        session = await run.open(model, prompt)
        outer = like or session
        bridge = await run.bridge(outer.tokenizer, session.tokenizer)
        try:
            bridge.image(mapping)
        except BridgeError as error:
            raise BridgeError(f"{session.path} beside {outer.path}: {error.message}", hint=error.hint) from None
        component = cls(session, bridge, outer.stop_ids, mapping)
        if not component._plain:
            for token_id in outer.prefix_ids:
                component._alignment.push(token_id)
        return component

    async def logits(self) -> Tensor:
        """The model's distribution after the response, in its own vocabulary."""
        if self._plain:
            return await self.session.logits()
        return (await self._rows_at(self._alignment.ids, [len(self._alignment.ids)]))[0]

    async def extend(self, ids: Sequence[int], wanted: int) -> Tensor:
        """Adds tokens of the composition; returns the model's rows after each of the last ``wanted`` ones.

        Tokens that correspond one to one go in one pass; a row wanted where the text has been cut anew costs another.
        """
        if self._plain:
            return await self.session.extend(ids, rows=wanted)
        unseen = len(ids) - wanted
        for token_id in ids[:unseen]:
            self._agreed = min(self._agreed, self._alignment.push(token_id))
        rows: list[Tensor] = []
        marks: list[int] = []
        for token_id in ids[unseen:]:
            inner = self._alignment.ids
            kept = self._alignment.push(token_id)
            if self._alignment.ids is not inner:  # cut anew: rows of the old cut come first
                rows += await self._rows_at(inner, marks)
                marks = []
            self._agreed = min(self._agreed, kept)  # only now: until here it was about the old cut
            marks.append(len(self._alignment.ids))
        rows += await self._rows_at(self._alignment.ids, marks)
        return torch.stack(rows) if rows else torch.empty(0, self.session.tokenizer.size)

    async def _rows_at(self, ids: Sequence[int], lengths: Sequence[int]) -> list[Tensor]:
        """The rows after so many of ``ids``, in ascending order; what the session has of them already is not fed again."""
        if not lengths:
            return []
        common = self._agreed
        while common < min(len(self._held), len(ids)) and self._held[common] == ids[common]:
            common += 1
        begin, end = min(common, lengths[0]), lengths[-1]
        self.session.rollback(begin)
        del self._held[begin:]
        self._agreed = begin
        present = sum(length == begin for length in lengths)
        rows = [await self.session.logits()] * present if present else []
        if end > begin:
            first = lengths[present]
            found = await self.session.extend(ids[begin:end], rows=end - first + 1)
            rows += [found[length - first] for length in lengths[present:]]
            self._held += ids[begin:end]
            self._agreed = end
        return rows

    async def run_ahead(self, token_id: int) -> Tensor:
        """Feeds a token of the model's own that the response does not have (yet); returns the row after it."""
        row = (await self.session.extend([token_id]))[-1]
        self._held.append(token_id)
        return row

    def parts(self, length: int, token_id: int) -> dict[str, float]:
        """What the model's own parts say of a token (:meth:`Session.parts`); nothing where vocabularies differ."""
        return self.session.parts(length, token_id) if self._plain else {}

    def rollback(self, length: int) -> None:
        """Drops tokens of the composition beyond ``length``."""
        if self._plain:
            self.session.rollback(length)
        else:
            self._agreed = min(self._agreed, self._alignment.rollback(length))

    async def fork(self, n: int) -> list[Component]:
        """``n`` components equal to this one."""
        twins = []
        for session in await self.session.fork(n):
            twin = copy.copy(self)
            twin.session, twin._alignment, twin._held = session, self._alignment.copy(), list(self._held)
            twins.append(twin)
        return twins

    def onto(self, rows: Tensor, fill: float | Tensor = -torch.inf) -> Tensor:
        """Rows of the model in the composition's vocabulary, ``[n, outer vocabulary]``.

        The end of a turn is one, whatever the models call it: each of the composition's end-of-turn tokens has the value of
        all of the model's together (log of the sum of exponentials).

        Args:
            rows: ``[n, inner vocabulary]``, logits or log-probabilities.
            fill: the value of tokens that have no image, a number or ``[n, 1]``.
        """
        if self._plain:
            return rows
        image, mapped = self._image_on(rows.device)
        found = torch.where(mapped, rows.index_select(-1, image), fill)
        if self._inner_ends and self._ends:
            found[:, list(self._ends)] = rows[:, self._inner_ends].logsumexp(-1, keepdim=True)
        return found

    def mapped(self, device: torch.device | str = "cpu") -> Tensor:
        """Which tokens of the composition have an image, ``[outer vocabulary]`` bool."""
        return self._image_on(torch.device(device))[1]

    def _image_on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if self._images is None or self._images[0].device != device:
            image = self.bridge.image(self._mapping).astype(np.int64)
            image[np.isin(image, self._inner_ends)] = -1  # an end of turn there is one here, or nothing
            for ours, theirs in self._ends.items():
                image[ours] = -1 if theirs is None else theirs
            found = torch.from_numpy(image).to(device)
            self._images = found.clamp(min=0), found >= 0
        return self._images
