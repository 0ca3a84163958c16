"""Which isolation is used, and that one which does not hold is not."""

from __future__ import annotations

import os
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from counterpoint.errors import Unsupported
from counterpoint.sandbox import choose, filtering, isolation
from counterpoint.sandbox.isolation import Bubblewrap, Namespaces, NoIsolation, problem
from counterpoint.sandbox.layout import layout


@pytest.fixture
def nothing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_probed", {"bubblewrap": "bwrap is not on the PATH", "namespaces": "unshare: refused"})


@pytest.mark.usefixtures("nothing_works")
@pytest.mark.parametrize("unsafe", [False, True])
@pytest.mark.parametrize(
    ("kind", "named"), [("auto", ["bwrap", "unshare"]), ("bubblewrap", ["bwrap"]), ("namespaces", ["unshare"])]
)
def test_where_nothing_works_it_refuses(kind: Any, named: list[str], unsafe: bool) -> None:
    with pytest.raises(Unsupported, match="cannot be isolated on this machine") as caught:
        choose(kind, unsafe_run_without_isolation=unsafe)
    assert all(reason in caught.value.message for reason in named)
    assert "install bubblewrap" in caught.value.hint


def test_none_has_to_be_allowed() -> None:
    with pytest.raises(Unsupported, match="with all rights of this user") as caught:
        choose("none")
    assert "unsafe_run_without_isolation" in caught.value.hint
    assert choose("none", unsafe_run_without_isolation=True).kind == "none"


@pytest.mark.parametrize("works", ["bubblewrap", "namespaces"])
def test_auto_takes_what_works(works: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_probed", {"bubblewrap": "no", "namespaces": "no", works: ""})
    assert choose("auto", unsafe_run_without_isolation=True).kind == works


def test_trying_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    monkeypatch.setattr(isolation, "_probed", {})
    monkeypatch.setattr(isolation, "_try", lambda one: tried.append(one.kind) or "no")
    monkeypatch.setattr(Namespaces, "missing", lambda _: "")
    for _ in range(3):
        assert problem(Namespaces()) == "no"
    assert tried == ["namespaces"]


def test_the_probe_sees_through_what_does_not_isolate() -> None:
    found = isolation._try(NoIsolation())
    for claim in ("sees /", "it reaches a process outside", "it reaches a port of this machine", "number of processes"):
        assert claim in found


def test_other_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert Namespaces().missing() == "it needs Linux, and this is darwin"
    assert Bubblewrap().missing() == "it needs Linux, and this is darwin"
    assert NoIsolation().missing() == ""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux")
@pytest.mark.parametrize(
    ("release", "fine"),
    [("5.10.0-28-amd64", False), ("4.18.0", False), ("5.14.0-70.el9", True), ("6.1.0", True), ("10.0-rc1", True)],
)
def test_old_kernels(release: str, fine: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(release=release))
    assert (Namespaces().missing() == "") is fine


def test_no_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Namespaces, "missing", lambda _: "")
    monkeypatch.setenv("PATH", "/nowhere")
    assert "bwrap" in Bubblewrap().missing() or not sys.platform.startswith("linux")


def test_the_layout_is_what_python_needs() -> None:
    made = layout()
    places = [place for _, place in made.binds]
    assert made.python in places
    assert "/" not in places
    assert not [
        place
        for place in places
        if place.startswith(("/home", "/proc", "/sys", "/run", "/var")) and "/lib" not in place and place != made.python
    ]
    for place in places:
        assert not [other for other in places if other != place and other.startswith(place + "/")]


def test_the_filter_is_bpf() -> None:
    pytest.importorskip("pyseccomp", exc_type=Exception)
    assert len(filtering.program()) > 300
    assert len(filtering.program()) % 8 == 0


def test_without_pyseccomp_there_is_no_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyseccomp", None)
    assert filtering.program.__wrapped__() == b""
