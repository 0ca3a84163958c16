"""The verifier `learned`: a model with a scalar head that was trained to tell right answers from wrong ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from counterpoint.plugin import (
    Completion,
    LanguageModel,
    LeafModel,
    ModelError,
    Node,
    NodePlan,
    Prompt,
    Ref,
    Run,
    Score,
    Session,
    Verifier,
    hookimpl,
)
from counterpoint.training import artifact_folder, read_card, same_source

if TYPE_CHECKING:
    from torch import Tensor

_PREFIX = "artifact:"
_HEAD = "head.safetensors"


class Learned(Verifier):
    """The probability that an answer is right, as a learned head reads it off the answer's last token (0 to 1).

    Source: TinyGSM (Liu et al. 2023, arXiv 2312.09241, section 4): a language model with one scalar head, trained on labelled
    samples; the score is the head's output at the last token. ``sigmoid(w · h + b)``, where h is the model's hidden state after its
    last norm. The answer is its text, encoded by itself, without an end of turn, whoever made it, as in the training. All answers
    are forks of one session and share passes; no logits are computed for them. An answer without text, or longer than the context,
    makes the verifier abstain.
    """

    kind: Literal["learned"] = "learned"
    model: Ref[LanguageModel] = Field(
        description="The model under the head: `artifact:NAME` of a `verifier_training`; where only a head or an adapter was "
        "trained, the base it was trained on."
    )
    head: str | None = Field(
        default=None,
        pattern=r"^artifact:.",
        description="The artifact that holds the head, as `artifact:NAME`; by default the one that the model names.",
    )

    def check(self, plan: NodePlan) -> None:
        path, model = plan.resolve(self.model)
        if not isinstance(model, LeafModel) or not model.has_hidden:
            plan.refuse(
                f"'{path}' ({model.kind}) gives no hidden states", "use a huggingface model, which takes the same sources"
            )
            return
        name = self._artifact(model)
        if name is None:
            plan.refuse(
                f"'{path}' is no artifact, so there is no head to score with",
                "name what a verifier_training made as the model's source, or in `head`",
            )
            return
        folder = artifact_folder(name)
        if folder is None:
            return  # the plan says so, and how to make it
        card = read_card(name) or {}
        head = card.get("head")
        if not isinstance(head, dict) or not isinstance(card.get("model"), dict) or not (folder / _HEAD).is_file():
            plan.refuse(
                f"artifact:{name} is no verifier but {card.get('what', 'something else')}", "name what a verifier_training made"
            )
            return
        for field, value in head["model"].items():
            wanted = f"artifact:{name}" if value == _PREFIX else value  # the artifact itself, whatever it is called now
            found = getattr(model, field, None)
            if not same_source(found, wanted):
                plan.refuse(
                    f"the head of artifact:{name} was trained on a model with {field} {wanted}, and that of '{path}' is {found}",
                    f"set {field} of '{path}' to {wanted}",
                )
        if model.prompt_format != card["model"].get("prompt_format"):
            plan.warn(
                f"'{path}' renders prompts otherwise than in the training of artifact:{name}",
                f"set its prompt_format to {card['model'].get('prompt_format')}",
            )
        facts = plan.facts(self.model)
        if facts is not None and facts.shape is not None and facts.shape.hidden != head["width"]:
            plan.refuse(
                f"the head of artifact:{name} has {head['width']} weights, and hidden states of '{path}' have {facts.shape.hidden}",
                "use the model that it was trained on",
            )
        if facts is not None and facts.tokenizer is not None and facts.tokenizer.fingerprint != card["tokenizer"]:
            plan.refuse(
                f"'{path}' does not have the vocabulary that artifact:{name} was trained with",
                "use the model that it was trained on",
            )

    async def verify(self, prompt: Prompt, completions: Sequence[Completion], run: Run) -> list[Score]:
        name = self._artifact(run.node_of(self.model, LanguageModel))
        folder = artifact_folder(name) if name is not None else None
        if folder is None:
            raise ModelError(f"{run.path}: there is no artifact with a head", hint="see `counterpoint plan`")
        head = await run.thread(_read_head, folder, run.path)
        session = await run.open(self.model, prompt)
        texts = list(dict.fromkeys(completion.text for completion in completions))
        ids = {text: session.tokenizer.encode(text) for text in texts}
        fitting = [text for text in texts if ids[text] and session.length + len(ids[text]) <= session.room]
        states = await run.gather(
            *(_last(fork, ids[text]) for fork, text in zip(await session.fork(len(fitting)), fitting, strict=True))
        )
        scores = {text: _score(head, state) for text, state in zip(fitting, states, strict=True)}
        for text in texts:
            if text not in scores:
                scores[text] = Score(float("nan"), "does not fit the context" if ids[text] else "there is no answer")
        return [scores[completion.text] for completion in completions]

    def _artifact(self, model: Node) -> str | None:
        """Name of the artifact that holds the head."""
        if self.head is not None:
            return self.head.removeprefix(_PREFIX)
        # an adapter before its base, which may be an artifact too
        fields = sorted(((name, value) for name, value in model if isinstance(value, str)), key=lambda one: one[0] != "adapter")
        named = [value.removeprefix(_PREFIX) for _, value in fields if value.startswith(_PREFIX)]
        here = [artifact_folder(name) is not None for name in named]
        if not all(here):
            return named[here.index(False)]  # it is to be made first
        return next((name for name in named if "head" in (read_card(name) or {})), named[0] if named else None)


async def _last(session: Session, ids: Sequence[int]) -> Tensor:
    """The hidden state of the last of some tokens; the session is given back at once."""
    try:
        return (await session.hidden(ids))[-1]
    finally:
        session.close()


def _read_head(folder: Path, path: str) -> Mapping[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        head = load_file(folder / _HEAD)
        width = (read_card(folder.name) or {})["head"]["width"]
        if [tuple(head[name].shape) for name in ("weight", "bias")] != [(width,), (1,)]:
            raise ValueError(f"its card says that it has {width} weights and a bias")
        return head
    except (OSError, SafetensorError, LookupError, TypeError, ValueError) as error:
        raise ModelError(
            f"{path}: cannot read the head in {folder}: {error}",
            hint=f"`counterpoint models verify artifact:{folder.name}` checks the files",
        ) from None


def _score(head: Mapping[str, Tensor], state: Tensor) -> Score:
    import torch

    probability: Any = torch.sigmoid(head["weight"] @ state.cpu() + head["bias"][0])
    return Score(float(probability))


@hookimpl
def counterpoint_nodes() -> list[type[Node]]:
    """The `learned` node."""
    return [Learned]
