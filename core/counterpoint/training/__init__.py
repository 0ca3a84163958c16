"""What any trainer needs, for plugin authors: pairs from a file, a working folder with checkpoints, progress, cancellation.

A trainer's node runs its blocking work through :func:`in_thread`, keeps everything under a :class:`Workshop`, and tells how far it
is by a :class:`Reporter`. One that learns from examples derives from :class:`SupervisedTraining`, or :class:`FineTuning`, and
has the loop of :mod:`counterpoint.training.loop` do the rest; that module, and :mod:`counterpoint.training.learner` beside it,
import torch, and are imported inside methods. Importing this one loads neither torch nor transformers.
"""

from counterpoint.evaluation.dataset import check_characters
from counterpoint.store import same_source
from counterpoint.training.cards import Trained, card_of, describe, identity, sha256, source_of
from counterpoint.training.examples import Side, batch_of, fitting, micro_batches, split, steps_per_epoch
from counterpoint.training.makers import how_to_make
from counterpoint.training.pairs import (
    EncodedPair,
    Pair,
    encode_pairs,
    end_of_turn,
    find_data,
    read_pairs,
    read_parallel,
    read_rows,
)
from counterpoint.training.problems import Problems, encode_prompt, read_problems
from counterpoint.training.progress import NOTE, Reporter, in_thread
from counterpoint.training.supervised import FineTuning, SupervisedTraining
from counterpoint.training.workshop import CARD, LOSSES, Workshop, artifact_folder, read_card

__all__ = [
    "CARD",
    "LOSSES",
    "NOTE",
    "EncodedPair",
    "FineTuning",
    "Pair",
    "Problems",
    "Reporter",
    "Side",
    "SupervisedTraining",
    "Trained",
    "Workshop",
    "artifact_folder",
    "batch_of",
    "card_of",
    "check_characters",
    "describe",
    "encode_pairs",
    "encode_prompt",
    "end_of_turn",
    "find_data",
    "fitting",
    "how_to_make",
    "identity",
    "in_thread",
    "micro_batches",
    "read_card",
    "read_pairs",
    "read_parallel",
    "read_problems",
    "read_rows",
    "same_source",
    "sha256",
    "source_of",
    "split",
    "steps_per_epoch",
]
