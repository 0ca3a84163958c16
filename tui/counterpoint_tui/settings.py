"""What is kept between starts: ``COUNTERPOINT_HOME/tui/state.json``."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from counterpoint import paths
from counterpoint.writing import write_whole

_PROMPTS = 50
_EVALUATIONS = 20
_PROMPT_LENGTH = 20_000


class Settings(BaseModel):
    """Where the user left off. What a newer version wrote besides is left out."""

    model_config = ConfigDict(extra="ignore")

    theme: str = ""
    section: str = "recipes"
    """Which list the home screen shows."""
    recipe_part: str = "graph"
    """Which part of the recipe screen is shown where there is room for one."""
    run_part: str = "nodes"
    """Which part of a run is shown below its answer, where there is room for one."""
    stored_part: str = "details"
    """Which part of a stored run is shown beside its answer."""
    steps: Literal["events", "tokens"] = "events"
    """By what one goes through a stored run."""
    prompts: dict[str, str] = Field(default_factory=dict)
    """What was last written into the prompt field, by recipe; oldest first."""

    evaluations: list[str] = Field(default_factory=list)
    """Folders of evaluations that were looked at and are kept elsewhere than usual; oldest first."""

    def keep_evaluations(self, folders: Iterable[Path]) -> None:
        """Remembers evaluations that are kept elsewhere than usual."""
        for folder in folders:
            if folder.parent != paths.evaluations():
                known = str(folder)
                self.evaluations = [*(one for one in self.evaluations if one != known), known][-_EVALUATIONS:]

    def keep_prompt(self, recipe: str, text: str | None) -> None:
        """Remembers a prompt (None: the recipe's own), as long as it is not very long."""
        self.prompts.pop(recipe, None)
        if text is not None and len(text) <= _PROMPT_LENGTH:
            self.prompts[recipe] = text
        for oldest in list(self.prompts)[:-_PROMPTS]:
            del self.prompts[oldest]


def folder() -> Path:
    """Where the application keeps its files."""
    return paths.home() / "tui"


def load_settings() -> Settings:
    """What was kept; the defaults where there is nothing, or nothing that can be read."""
    try:
        return Settings.model_validate_json((folder() / "state.json").read_bytes())
    except (OSError, ValidationError):
        return Settings()


def save_settings(settings: Settings) -> str:
    """Keeps settings; says why not when they cannot be written (and is empty otherwise)."""
    try:
        write_whole(folder() / "state.json", settings.model_dump_json(indent=1) + "\n")
    except OSError as error:
        return f"cannot write {folder() / 'state.json'}: {error.strerror}"
    return ""
