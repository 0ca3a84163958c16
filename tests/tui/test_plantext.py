"""A plan in words."""

from __future__ import annotations

from typing import Any

import pytest

from counterpoint.planning import Finding
from counterpoint_tui.plantext import plan_text
from counterpoint_tui.worker.protocol import Planned, PlannedMemory, PlannedModel

STYLES = {"error": "red", "warning": "yellow", "info": "blue", "good": "green"}
MODEL = PlannedModel(
    node="large", source="some-model", download_bytes=0, weight_bytes=3_000_000_000, dtype="bfloat16", device="cpu",
    context=4096, prompt_tokens=12, flops_per_token=3e9, seconds_per_pass=0.3,
)  # fmt: skip


def said(**changes: Any) -> str:
    plan = Planned(
        recipe="r",
        output="o",
        nodes=(),
        models=(MODEL,),
        download_bytes=0,
        memory=PlannedMemory(weights=3_000_000_000, cache=500_000_000, total=8_000_000_000, available=4_000_000_000),
        findings=(),
    )
    return plan_text(plan.model_copy(update=changes), 256, STYLES).plain


def test_nothing_stands_in_the_way() -> None:
    text = said()
    assert text.startswith("nothing stands in the way\n")
    assert f"memory {'█' * 10}░" in text  # 3.5 of 8 GB, on 24 places
    assert "3 GB of weights and 500 MB of cache for 256 new tokens; this machine has 8 GB, 4 GB free" in text
    assert "large  some-model (here), 3 GB of weights, bfloat16, cpu, the prompt takes 12 of 4096 tokens" in text
    assert "a token costs 3 GFLOP, a pass takes 0.3 s" in text


def test_downloads() -> None:
    text = said(download_bytes=2_000_000_000, memory=PlannedMemory(weights=None, cache=None, total=8, available=4))
    assert text.startswith("to download first: 2 GB\nmemory: not known before the download")


@pytest.mark.parametrize(
    ("level", "first"), [("error", "it cannot run yet"), ("warning", "nothing stands"), ("info", "nothing stands")]
)
def test_findings(level: Any, first: str) -> None:
    text = said(findings=(Finding(level, "large", "is\x1b odd", "change it"),))
    assert text.startswith(first)
    assert "large: is� odd\n  hint: change it\n" in text
