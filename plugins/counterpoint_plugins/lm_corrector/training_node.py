"""The `corrector_training` node: candidates are made once for every example, and a model learns to write the target from them."""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import Field

from counterpoint.plugin import LanguageModel, NodePlan, Ref, Run
from counterpoint.training import FineTuning, Reporter, Workshop, in_thread
from counterpoint_plugins.lm_corrector.examples import read_examples
from counterpoint_plugins.lm_corrector.keeping import with_candidates
from counterpoint_plugins.lm_corrector.proposing import Proposing


class CorrectorTraining(Proposing, FineTuning):
    """Trains the model of `lm_corrector` to write the target from a source and candidates.

    Source: LM-corrector (Vernikos et al., EACL 2024): cross-entropy on the tokens of the target. Candidates are made as
    `lm_corrector` makes them, and kept as they come.
    """

    kind: Literal["corrector_training"] = "corrector_training"
    corrector: Ref[LanguageModel] = Field(description="The model that learns to correct.")
    learn: Literal["lora", "full"] = Field(
        default="lora",
        description="What learns: `lora`, low-rank adapters beside frozen weights (needs the `adapters` extra); `full`, all "
        "weights, in a float32 copy.",
    )
    data: str = Field(
        description="File of JSON lines with sources and targets, here or in COUNTERPOINT_DATA; with `reference_files` a text file with "
        "a source a line."
    )
    reference_files: tuple[str, ...] = Field(
        default=(), description="Text files parallel to `data`, each with a target a line, instead of columns."
    )
    source: str = Field(default="source", description="Column with the source.")
    target: str = Field(default="target", description="Column with the target: a text, or a list of texts that are all good.")
    targets: Literal["all", "first"] = Field(
        default="all",
        description="Of several targets of a source, whether `all` are learned, each as an example, or the `first`.",
    )
    first: int | None = Field(
        default=None, ge=1, description="Only the first so many sources of `data`; `--skip` evaluates on the others."
    )

    def check(self, plan: NodePlan) -> None:
        super().check(plan)
        self.check_candidates(plan)
        self.check_trainable(plan, self.corrector, encoders=True)
        self.check_length(plan, self.corrector, "the corrector")
        self.check_files(plan, self.data, *self.reference_files, self.held_out_file)

    async def train(self, run: Run) -> str:
        examples = await run.thread(read_examples, self, run.path, run.seed)
        with Workshop(self.artifact, run.path) as workshop:
            corrected = await with_candidates(self, examples, workshop, run)
            loaded = await run.load(self.corrector)
            from counterpoint_plugins.lm_corrector.training import train  # imports torch

            report = Reporter(run, self.artifact)
            await in_thread(run, partial(train, self, run.path, run.seed, loaded, corrected, workshop, report))
        return self.artifact
