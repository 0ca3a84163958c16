"""A plan in words: memory against this machine, downloads, and what stands in the way. Pure: no Textual."""

from __future__ import annotations

from rich.text import Text

from counterpoint.cli.console import bytes_text, flops_text, seconds_text
from counterpoint.printable import plain
from counterpoint_tui.worker.protocol import Planned

_BAR = 24
LEVELS = {"error": ("✗", "bold"), "warning": ("!", "bold"), "info": ("·", "")}


def plan_text(plan: Planned, max_tokens: int, styles: dict[str, str]) -> Text:
    """A plan for reading.

    Args:
        plan: what the worker said.
        max_tokens: the length of the answer for which the cache is counted.
        styles: of ``error``, ``warning``, ``info`` and ``good``.
    """
    text = Text()
    if plan.errors:
        text.append("it cannot run yet\n", style=f"bold {styles['error']}")
    elif plan.download_bytes:
        text.append(f"to download first: {bytes_text(plan.download_bytes)}\n", style=f"bold {styles['warning']}")
    else:
        text.append("nothing stands in the way\n", style=f"bold {styles['good']}")
    for finding in plan.findings:
        sign, weight = LEVELS[finding.level]
        text.append(f"{sign} ", style=f"{weight} {styles[finding.level]}".strip())
        text.append(f"{finding.node}: ", style="bold")
        text.append(plain(finding.message) + "\n")
        if finding.hint:
            text.append(f"  hint: {plain(finding.hint)}\n", style="dim")
    _memory(text, plan, max_tokens, styles)
    for model in plan.models:
        text.append(f"{model.node}  ", style="bold")
        state = f"{bytes_text(model.download_bytes)} to download" if model.download_bytes else "here"
        facts = [f"{plain(model.source)} ({state})"]
        if model.weight_bytes:
            facts.append(f"{bytes_text(model.weight_bytes)} of weights")
        facts += [part for part in (model.dtype, model.device) if part]
        if model.prompt_tokens:
            room = f" of {model.context}" if model.context else ""
            facts.append(f"the prompt takes {model.prompt_tokens}{room} tokens")
        if model.flops_per_token:
            facts.append(f"a token costs {flops_text(model.flops_per_token)}")
        if model.seconds_per_pass is not None:
            facts.append(f"a pass takes {seconds_text(model.seconds_per_pass)}")
        text.append(", ".join(facts) + "\n")
    return text


def _memory(text: Text, plan: Planned, max_tokens: int, styles: dict[str, str]) -> None:
    memory = plan.memory
    if memory.weights is None:
        text.append(f"memory: not known before the download; this machine has {bytes_text(memory.total)}\n")
        return
    needed = memory.weights + (memory.cache or 0)
    share = min(1.0, needed / memory.total) if memory.total else 0.0
    filled = max(1, round(share * _BAR)) if needed else 0
    style = styles["error"] if needed > memory.total else styles["warning"] if needed > memory.available else styles["good"]
    text.append("memory ")
    text.append("█" * filled, style=style)
    text.append("░" * (_BAR - filled), style="dim")
    cache = "" if memory.cache is None else f" and {bytes_text(memory.cache)} of cache for {max_tokens} new tokens"
    text.append(
        f"\n  {bytes_text(memory.weights)} of weights{cache}; this machine has {bytes_text(memory.total)}, "
        f"{bytes_text(memory.available)} free\n"
    )
