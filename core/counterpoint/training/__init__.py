"""What any trainer needs, for plugin authors: pairs from a file, a working folder with checkpoints, progress, cancellation.

A trainer's node runs its blocking work through :func:`in_thread`, keeps everything under a :class:`Workshop`, and tells how far it
is by a :class:`Reporter`. Importing this loads neither torch nor transformers.
"""

from counterpoint.training.makers import how_to_make
from counterpoint.training.pairs import EncodedPair, Pair, encode_pairs, end_of_turn, find_data, read_pairs
from counterpoint.training.progress import NOTE, Reporter, in_thread
from counterpoint.training.workshop import CARD, LOSSES, Workshop, read_card

__all__ = [
    "CARD",
    "LOSSES",
    "NOTE",
    "EncodedPair",
    "Pair",
    "Reporter",
    "Workshop",
    "encode_pairs",
    "end_of_turn",
    "find_data",
    "how_to_make",
    "in_thread",
    "read_card",
    "read_pairs",
]
