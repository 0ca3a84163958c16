"""What a plugin's tests need: a deterministic fake model, tiny real ones, and the laws of sessions, generators and drafters as assertions.

from counterpoint.testing import FakeModel, assert_generator_laws, make_engine

def test_my_generator():
    recipe = {"nodes": {"m": {"kind": "fake"}, "g": {"kind": "mine", "model": "m"}}, "output": "g"}
    assert_generator_laws(recipe, plugins=[my_plugin])
"""

from counterpoint.testing.fake import CharTokenizer, FakeModel
from counterpoint.testing.laws import (
    assert_drafter_laws,
    assert_generator_laws,
    assert_session_laws,
    assert_verifier_laws,
    make_engine,
)
from counterpoint.testing.tiny import save_tiny_encoder_decoder, save_tiny_gguf, save_tiny_model

__all__ = [
    "CharTokenizer",
    "FakeModel",
    "assert_drafter_laws",
    "assert_generator_laws",
    "assert_session_laws",
    "assert_verifier_laws",
    "make_engine",
    "save_tiny_encoder_decoder",
    "save_tiny_gguf",
    "save_tiny_model",
]
