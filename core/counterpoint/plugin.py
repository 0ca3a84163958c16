"""The door for plugin authors: everything a plugin may use. Built-in plugins use nothing else.

Importing this loads neither torch nor transformers. Helpers that work on tensors are in :mod:`counterpoint.tensors`; what
a plugin's own tests need is in :mod:`counterpoint.testing`.
"""

from counterpoint.alignment import Alignment
from counterpoint.bridge import Mapping, TokenizerBridge
from counterpoint.childstream import ChildStream
from counterpoint.constraint import Constraint, ConstraintState
from counterpoint.costs import PassCosts
from counterpoint.criterion import SwitchCriterion
from counterpoint.draws import Drawn, Purpose, Verdict
from counterpoint.errors import (
    BridgeError,
    BudgetError,
    CounterpointError,
    EvaluationError,
    ModelError,
    ModelNotFound,
    PluginError,
    PromptTooLong,
    RecipeError,
    RunError,
    Unsupported,
)
from counterpoint.events import (
    Alternative,
    CandidateFinished,
    CandidateScored,
    CandidateSelected,
    Drafted,
    Emitted,
    Event,
    EventBase,
    Note,
    Progress,
    Switched,
    Verified,
)
from counterpoint.hooks import hookimpl
from counterpoint.ledger import BudgetMeter, BudgetSpent
from counterpoint.node import Drafter, Generator, LanguageModel, LeafModel, Node, Ref, Score, Trainer, Verifier
from counterpoint.planning import ModelFacts, NodePlan, Resources
from counterpoint.prompt import Completion, FinishReason, Message, Prompt
from counterpoint.rendering import jinja_template
from counterpoint.response import Response
from counterpoint.running import Run
from counterpoint.session import Backend, CacheFull, Draft, DraftSession, Rows, Session, Step, StepResult, row_count
from counterpoint.settings import Budget, Sampling
from counterpoint.shape import EncoderShape, ModelShape
from counterpoint.spelling import token_bytes
from counterpoint.tasks import Columns, TaskType
from counterpoint.tokenizer import IncrementalText, Tokenizer

__all__ = [
    "Alignment",
    "Alternative",
    "Backend",
    "BridgeError",
    "Budget",
    "BudgetError",
    "BudgetMeter",
    "BudgetSpent",
    "CacheFull",
    "CandidateFinished",
    "CandidateScored",
    "CandidateSelected",
    "ChildStream",
    "Columns",
    "Completion",
    "Constraint",
    "ConstraintState",
    "CounterpointError",
    "Draft",
    "DraftSession",
    "Drafted",
    "Drafter",
    "Drawn",
    "Emitted",
    "EncoderShape",
    "EvaluationError",
    "Event",
    "EventBase",
    "FinishReason",
    "Generator",
    "IncrementalText",
    "LanguageModel",
    "LeafModel",
    "Mapping",
    "Message",
    "ModelError",
    "ModelFacts",
    "ModelNotFound",
    "ModelShape",
    "Node",
    "NodePlan",
    "Note",
    "PassCosts",
    "PluginError",
    "Progress",
    "Prompt",
    "PromptTooLong",
    "Purpose",
    "RecipeError",
    "Ref",
    "Resources",
    "Response",
    "Rows",
    "Run",
    "RunError",
    "Sampling",
    "Score",
    "Session",
    "Step",
    "StepResult",
    "SwitchCriterion",
    "Switched",
    "TaskType",
    "Tokenizer",
    "TokenizerBridge",
    "Trainer",
    "Unsupported",
    "Verdict",
    "Verified",
    "Verifier",
    "hookimpl",
    "jinja_template",
    "row_count",
    "token_bytes",
]
