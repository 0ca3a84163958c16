"""How the application looks: a dark and a light theme, and the marks by which nodes are told apart, with colour and without."""

from __future__ import annotations

from dataclasses import dataclass

from textual.theme import Theme

DARK, LIGHT = "counterpoint-dark", "counterpoint-light"

# In the order of the graph's nodes. Each reads on its background with a contrast of at least 4.5 : 1, and neighbours differ in
# lightness as well as in hue.
_ON_DARK = ("#5fafff", "#ffaf5f", "#87d787", "#d787ff", "#ff87af", "#d7d75f", "#5fd7d7", "#af87d7")
_ON_LIGHT = ("#005faf", "#8f4700", "#00662b", "#7b1fa2", "#a8003b", "#5f5f00", "#006464", "#4a3a9f")
_UNDERLINES = ("", "underline", "bold", "bold underline", "italic", "italic underline", "bold italic", "bold italic underline")

THEMES = (
    Theme(
        name=DARK,
        primary="#5fafff",
        secondary="#8fa6bf",
        accent="#ffaf5f",
        warning="#ffaf5f",
        error="#ff6f7f",
        success="#87d787",
        foreground="#e4e4e4",
        background="#14171c",
        surface="#1b1f26",
        panel="#262c36",
        dark=True,
        variables={
            "border": "#5fafff",
            "border-blurred": "#3a424f",
            "block-cursor-background": "#5fafff",
            "block-cursor-foreground": "#14171c",
            "block-cursor-blurred-background": "#333c4a",
            "footer-key-foreground": "#5fafff",
            "footer-background": "#1b1f26",
            "input-selection-background": "#5fafff 35%",
        },
    ),
    Theme(
        name=LIGHT,
        primary="#005faf",
        secondary="#4f6272",
        accent="#8f4700",
        warning="#8f4700",
        error="#b00020",
        success="#00662b",
        foreground="#1c1c1c",
        background="#fafafa",
        surface="#f0f1f3",
        panel="#e1e4e8",
        dark=False,
        variables={
            "border": "#005faf",
            "border-blurred": "#b4bcc6",
            "block-cursor-background": "#005faf",
            "block-cursor-foreground": "#ffffff",
            "block-cursor-blurred-background": "#cdd6e0",
            "footer-key-foreground": "#005faf",
            "footer-background": "#e1e4e8",
            "input-selection-background": "#005faf 25%",
        },
    ),
)


@dataclass(frozen=True)
class NodeMark:
    """What a node is told apart by wherever it appears: a letter and a text style, and a colour where there is colour."""

    letter: str
    colour: str
    text_style: str

    @property
    def style(self) -> str:
        """Colour and text style, as styles of text are written."""
        return f"{self.colour} {self.text_style}".strip()


def node_mark(place: int, *, dark: bool = True) -> NodeMark:
    """The mark of a graph's node by its place in the recipe: ``A`` and the first colour for the first, and so on."""
    colours = _ON_DARK if dark else _ON_LIGHT
    letter = chr(ord("A") + place % 26) * (place // 26 + 1)
    return NodeMark(letter, colours[place % len(colours)], _UNDERLINES[place % len(_UNDERLINES)])
