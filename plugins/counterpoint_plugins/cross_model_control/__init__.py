"""The `cross_model_control` language model: a small trained model shifts the logits of a larger one, of any vocabulary."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from counterpoint.plugin import LanguageModel, Mapping, Node, NodePlan, Prompt, Ref, Run, Session, hookimpl


class CrossModelControl(LanguageModel):
    """A frozen model whose logits a delta model shifts: log p_base + α·z_delta.

    The delta model is trained once beside a template model, and then shifts others too: its tokens are mapped onto theirs by
    PM-MinED, and its context follows the text (Cross-model control, NeurIPS 2024).
    """

    kind: Literal["cross_model_control"] = "cross_model_control"
    speaks_as: ClassVar[str | None] = "base"
    base: Ref[LanguageModel] = Field(description="The model to be controlled, in whose vocabulary tokens are drawn.")
    delta: Ref[LanguageModel] = Field(description="The delta model, whose logits are added.")
    alpha: float = Field(
        default=1.0, allow_inf_nan=False, description="α, the strength of the shift; 0 is the base alone, and delta is not run."
    )
    combine: Literal["paper", "sum", "normalized"] = Field(
        default="paper",
        description="How the two are added: `paper`, log p_base + α·z_delta, the shift unnormalised; `sum`, z_base + α·z_delta, the "
        "same distribution; `normalized`, log p_base + α·log p_delta.",
    )
    mapping: Mapping = Field(
        default="auto",
        description="How tokens of the base find their image in delta's vocabulary: `same` (refused where the two differ), `shared` "
        "(tokens of equal bytes), `pm_mined` (PM-MinED: an equal token, else the nearest that begins with it or that it begins "
        "with). `auto`: `same` where that holds, else `pm_mined`.",
    )
    unmapped: Literal["zero", "mean"] = Field(
        default="zero",
        description="The shift of tokens without an image: `zero`, as in the paper; `mean`, the mean shift of the others, each as "
        "much as the base finds it probable.",
    )

    @property
    def image(self) -> Mapping:
        """The mapping in force."""
        return "pm_mined" if self.mapping == "auto" else self.mapping

    def check(self, plan: NodePlan) -> None:
        plan.bridge(self.base, self.delta, self.image)
        if (path := plan.resolve(self.base)[0]) == plan.resolve(self.delta)[0]:
            plan.warn(f"'{path}' shifts its own logits, which only sharpens them", "name a trained delta model")
        self._check_card(plan)

    def _check_card(self, plan: NodePlan) -> None:
        """Refuses a delta model whose tokenizer is not the one that it was trained with, as the artifact's card has it."""
        path, node = plan.resolve(self.delta)
        source, tokenizer = str(getattr(node, "source", "")), plan.tokenizer(self.delta)
        if not source.startswith("artifact:") or tokenizer is None:
            return
        from counterpoint.training import read_card

        card = read_card(source.removeprefix("artifact:")) or {}
        trained = card.get("tokenizer", tokenizer.fingerprint)
        if trained != tokenizer.fingerprint:
            plan.refuse(
                f"'{path}' ({source}) was trained with another tokenizer than it has now: {trained} by its card, "
                f"{tokenizer.fingerprint} by its files",
                f"its tokens would stand for others; remove it with `counterpoint models rm {source}`, and train it again",
            )
        if (weight := card.get("alpha", self.alpha)) != self.alpha and self.alpha != 0:
            plan.warn(
                f"'{path}' ({source}) was trained with alpha {weight:g}, and its logits count {self.alpha:g} here",
                f"set alpha to {weight:g}, unless that is meant",
            )

    async def open(self, prompt: Prompt, run: Run) -> Session:
        if self.alpha == 0:
            return await run.open(self.base, prompt)  # its rows, to the bit, and no pass of delta
        from counterpoint.composition import Component
        from counterpoint_plugins.cross_model_control.shifting import ShiftedSession

        base = await Component.open(self.base, prompt, run)
        delta = await Component.open(self.delta, prompt, run, like=base.session, mapping=self.image)
        return ShiftedSession(
            run.path, base, delta, run, self.alpha, normalized=self.combine == "normalized", mean=self.unmapped == "mean"
        )


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `cross_model_control` node."""
    return [CrossModelControl]
