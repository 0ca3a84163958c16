"""The `cached` generator: another generator's answers, kept on disk and made once."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from counterpoint.keeping import KeptLines, candidates_file, canonical, key_of
from counterpoint.plugin import (
    Budget,
    BudgetMeter,
    Completion,
    CounterpointError,
    Generator,
    Node,
    NodePlan,
    Note,
    Prompt,
    Ref,
    Run,
    hookimpl,
)


class Cached(Generator):
    """Another generator's answers, each made once: what was written before comes from disk, at no cost.

    An answer is found again by all that decides it: the kinds, fields and weights of everything below (names do not count), the
    prompt, fields of it that verifiers below read, the sampling settings, the seed, and the place of the call among those of its
    run, as draws are. So strategies that ask at the same place share answers, and the candidates of one differ as they do without it.
    """

    kind: Literal["cached"] = "cached"
    generator: Ref[Generator] = Field(description="What makes an answer that is not kept yet.")
    file: str | None = Field(
        default=None,
        description="File that answers are kept in, refused where another recipe's are in it; by default one under "
        "COUNTERPOINT_HOME, found by what makes them.",
    )

    def check(self, plan: NodePlan) -> None:
        if plan.resolve(self.generator)[1].kind == self.kind:
            plan.warn("what it keeps is kept already", "refer to the generator below")
        if self.file is None:
            return
        try:
            identity = plan.identity(self.generator, Generator)
            if identity is not None:
                self._kept(identity, plan.path).check()
        except CounterpointError as error:
            plan.refuse(error.message, error.hint)

    async def generate(self, prompt: Prompt, run: Run) -> Completion:
        sampling = run.sampling_of(self.generator)
        calls = run.lineage or (run.row,)  # a sample of the answer counts as a call beside others
        asked = {
            "prompt": prompt.model_dump(mode="json", exclude={"fields"}, exclude_defaults=True),
            "sampling": sampling.model_dump(mode="json"),
            "seed": run.seed,
            "row": run.row if run.lineage else 0,
            "calls": list(calls),
        }
        if (
            run.turn != sum(run.lineage) + run.row
        ):  # nodes of other kinds stand beside this one, and recordings are taken by turns
            asked["turn"] = run.turn
        if fields := run.fields_read(self.generator):  # what verifiers choose by
            asked["fields"] = key_of(fields)
        key = key_of(asked)
        identity = await run.identity(self.generator, Generator)
        line = await run.thread(self._kept(identity, run.path).find, key)
        if line is not None:
            kept, known, cost = _answer(line, self._kept(identity, run.path))
            run.emit(Note(name="cached", data={"cost": cost}))
            return run.adopt(kept, run.path, known)
        meter = BudgetMeter(Budget.model_construct())  # it limits nothing and counts what the call spends
        completion = await run.generate(self.generator, prompt, budget=meter, relay=True)
        if completion.finish_reason in ("stop", "length"):
            identity = await run.identity(self.generator, Generator)  # of a model fetched meanwhile more is known than before
            cost = {"flops": meter.flops, "tokens": int(meter.tokens)}
            line = {**asked, "completion": completion.model_dump(mode="json"), "cost": cost}
            if run.logprobs:  # so that strategies find the answer as confident as it was
                line["logprobs"] = list(run.logprobs)
            await run.thread(self._kept(identity, run.path).add, key, line)
        return completion

    def _kept(self, identity: dict[str, Any], path: str) -> KeptLines:
        file = Path(self.file).expanduser() if self.file is not None else candidates_file(identity)
        return _kept(file.absolute(), canonical(identity), path)


def _answer(line: dict[str, Any], kept: KeptLines) -> tuple[Completion, list[float], Any]:
    """A kept answer, the log-probabilities of its tokens (none where they were not kept), and what it cost."""
    try:
        return Completion.model_validate(line["completion"]), [float(one) for one in line.get("logprobs", ())], line["cost"]
    except (KeyError, TypeError, ValueError):
        raise kept.damaged(line) from None


@lru_cache(maxsize=64)
def _kept(file: Path, identity: str, path: str) -> KeptLines:
    """One for all runs of this process: it knows where in the file everything is."""
    return KeptLines(file, json.loads(identity), path)


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `cached` node."""
    return [Cached]
