"""The `cross_model_training` node: trains the tiny delta model of cross-model control beside a frozen template."""

from __future__ import annotations

from functools import partial
from typing import Literal

from pydantic import Field

from counterpoint.plugin import EvaluationError, LanguageModel, LeafModel, Node, NodePlan, Ref, Run, Trainer, hookimpl
from counterpoint.training import Reporter, find_data, in_thread


class CrossModelTraining(Trainer):
    """Trains a tiny delta model δ whose logits shift those of a frozen template model.

    Cross-model control (NeurIPS 2024): ``z = log_softmax(z_template) + alpha · z_δ``, cross-entropy of ``z`` on the tokens of the
    answers, and only δ learns. With ``forget`` it is the paper's unlearning: loss = −L_forget + L_retain.
    """

    kind: Literal["cross_model_training"] = "cross_model_training"
    artifact: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of what is made; other recipes load it as `artifact:NAME`."
    )
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
    alpha: float = Field(default=1.0, gt=0, le=100, description="Weight of δ's logits, in training and later in use.")
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
    held_out: float = Field(
        default=0.05,
        ge=0,
        lt=1,
        description="Share of the examples that is only measured; 0 trains on all, without early stopping.",
    )
    held_out_file: str | None = Field(
        default=None, description="A file of examples that are only measured, instead of a share."
    )
    max_length: int = Field(default=1024, ge=8, description="Most tokens of prompt and answer together.")
    too_long: Literal["refuse", "drop"] = Field(
        default="refuse",
        description="What happens to longer examples: an error that names the first, or they are left out, counted.",
    )
    epochs: int = Field(default=3, ge=1, le=1000, description="How many times every example is seen.")
    max_steps: int | None = Field(default=None, ge=1, description="Most steps, whatever the epochs.")
    batch: int = Field(default=64, ge=1, le=65536, description="Examples a step (and as many to forget).")
    micro_batch: int = Field(
        default=4,
        ge=1,
        le=4096,
        description="Examples a pass: gradients of a step are accumulated over passes. More needs memory.",
    )
    learning_rate: float = Field(
        default=2e-4, gt=0, le=1, description="Peak learning rate of AdamW; it then falls as a cosine to 0."
    )
    warmup: float = Field(default=0.03, ge=0, le=1, description="Share of the steps in which the learning rate rises from 0.")
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="Decoupled weight decay of AdamW.")
    max_gradient: float = Field(default=1.0, gt=0, description="Gradients are scaled down to this norm.")
    precision: Literal["float32", "bfloat16"] = Field(
        default="bfloat16", description="Of δ's passes; its weights and the optimizer's moments are float32 in any case."
    )
    evaluate_every: int = Field(default=50, ge=1, description="Steps between two measurements of the held-out loss.")
    patience: int = Field(
        default=3,
        ge=1,
        description="Training ends after so many measurements without a lower held-out loss; the best δ is kept.",
    )
    checkpoint_every: int = Field(default=50, ge=1, description="Steps between two checkpoints: what a kill can cost.")
    minutes: float | None = Field(
        default=None, gt=0, description="About how long it takes on two cores; told where the artifact is missed."
    )

    def check(self, plan: NodePlan) -> None:
        for reference in (self.template, self.start):
            if reference is None:
                continue
            path, node = plan.resolve(reference)
            if not isinstance(node, LeafModel) or not node.has_module:
                plan.refuse(
                    f"'{path}' ({node.kind}) cannot be trained with: it gives no torch module",
                    "use a huggingface model, which takes the same sources",
                )
        if self.start is not None and _differ(plan, self.template, self.start):
            plan.refuse(
                f"'{plan.resolve(self.start)[0]}' does not have the vocabulary of the template '{plan.resolve(self.template)[0]}'",
                "cut δ from the template itself or from a smaller model of its family, or leave `start` out",
            )
        facts = plan.facts(self.template)
        if facts is not None and facts.context is not None and self.max_length > facts.context:
            plan.refuse(
                f"max_length is {self.max_length}, and the template's context holds {facts.context} tokens",
                f"set max_length to {facts.context} or less",
            )
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
        if self.held_out == 0 and self.held_out_file is None:
            plan.warn("nothing is held out, so that training neither stops early nor tells whether it overfits")
        for file in (self.data, self.forget, self.held_out_file):
            try:
                if file is not None:
                    find_data(file)
            except EvaluationError as error:
                plan.refuse(error.message, error.hint)

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
