"""The `cross_model_training` node: trains the tiny delta model of cross-model control beside a frozen template."""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import Field

from counterpoint.plugin import LanguageModel, Node, NodePlan, Ref, Run, hookimpl
from counterpoint.training import Reporter, SupervisedTraining, in_thread


class CrossModelTraining(SupervisedTraining):
    """Trains a tiny delta model δ whose logits shift those of a frozen template model.

    Cross-model control (NeurIPS 2024): ``z = log_softmax(z_template) + alpha · z_δ``, cross-entropy of ``z`` on the tokens of the
    answers, and only δ learns. With ``forget`` it is the paper's unlearning: loss = −L_forget + L_retain.
    """

    kind: Literal["cross_model_training"] = "cross_model_training"
    template: Ref[LanguageModel] = Field(description="The frozen model that δ is trained beside.")
    start: Ref[LanguageModel] | None = Field(
        default=None,
        description="The model whose embeddings, lower layers and head δ starts from; it has the template's vocabulary. By default "
        "δ starts from random weights.",
    )
    layers: int = Field(default=4, ge=1, le=200, description="Layers of δ: the lowest ones of `start`, or random ones.")
    hidden: int = Field(
        default=256, ge=8, le=16384, multiple_of=8, description="Width of a random δ; without meaning with `start`."
    )
    heads: int = Field(default=4, ge=1, le=256, description="Attention heads of a random δ; without meaning with `start`.")
    alpha: float = Field(
        default=1.0,
        gt=0,
        le=100,
        description="Weight of δ's logits in training; `cross_model_control` has its own, and warns where it is another one.",
    )
    damping: float = Field(
        default=1.0,
        gt=0,
        le=1,
        description="Factor on the first logits of a δ cut from `start`: a cut model's are large and wrong, so that training begins "
        "by unlearning them; 1 is the paper's.",
    )
    data: str = Field(description="File of JSON lines with prompts and answers, here or in COUNTERPOINT_DATA.")
    prompt: str = Field(default="prompt", description="Column with the prompt.")
    response: str = Field(default="response", description="Column with the answer.")
    forget: str | None = Field(
        default=None, description="A second file with the same columns, to be unlearned while `data` is retained."
    )
    batch: int = Field(default=64, ge=1, le=65536, description="Examples a step (and as many to forget).")

    def check(self, plan: NodePlan) -> None:
        super().check(plan)
        for reference in (self.template, self.start):
            if reference is not None:
                self.check_trainable(plan, reference)
        if self.start is not None and _differ(plan, self.template, self.start):
            plan.refuse(
                f"'{plan.resolve(self.start)[0]}' does not have the vocabulary of the template '{plan.resolve(self.template)[0]}'",
                "cut δ from the template itself or from a smaller model of its family, or leave `start` out",
            )
        self.check_length(plan, self.template, "the template")
        if self.start is not None:
            self.check_length(plan, self.start, "the model to start from")
        cut = plan.facts(self.start) if self.start is not None else None
        if cut is not None and cut.shape is not None and self.layers > cut.shape.layers:
            plan.refuse(f"layers is {self.layers}, and the model to start from has {cut.shape.layers}", "keep fewer layers")
        if self.start is None and self.hidden % (2 * self.heads):
            plan.refuse(
                f"{self.hidden} dimensions cannot be shared by {self.heads} heads in even parts", "change hidden or heads"
            )
        if self.forget is not None and self.held_out == 0 and self.held_out_file is not None:
            plan.refuse(
                "what is to be forgotten has nothing held out", "set held_out above 0: it is a share of the file to forget too"
            )
        if self.start is None and self.damping != 1:
            plan.warn("damping says nothing of a δ that begins with random weights", "leave it out, or name a model in `start`")
        self.check_files(plan, self.data, self.forget, self.held_out_file)

    async def train(self, run: Run) -> str:
        template = await run.load(self.template)
        start = await run.load(self.start) if self.start is not None else None
        from counterpoint_plugins.cross_model_training.training import train  # imports torch

        await in_thread(run, partial(train, self, run.path, run.seed, template, start, Reporter(run, self.artifact)))
        return self.artifact


def _differ(plan: NodePlan, one: str | Node, other: str | Node) -> bool:
    """Whether two vocabularies are known to differ."""
    ours, theirs = plan.tokenizer(one), plan.tokenizer(other)
    return ours is not None and theirs is not None and ours.fingerprint != theirs.fingerprint


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `cross_model_training` node."""
    return [CrossModelTraining]
