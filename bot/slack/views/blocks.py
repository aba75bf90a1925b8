"""Block Kit as typed values: each function returns the JSON of one block, element or view as Slack takes it.

What Slack would refuse for its length or number raises ``ValueError`` here; views cut before that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NotRequired, TypedDict, cast

# Slack's limits (docs/slack.md 2.1 and 2.2)
_MESSAGE_BLOCKS, _VIEW_BLOCKS = 50, 100
_TEXT, _HEADER, _LABEL = 3000, 150, 2000
_ID, _VALUE, _METADATA = 255, 2000, 3000
_BUTTON, _OPTION, _OPTION_VALUE, _PLACEHOLDER, _VIEW_TITLE = 75, 75, 150, 150, 24
_OPTIONS, _ACTIONS, _CONTEXT = 100, 25, 10
_CONFIRM_TITLE, _CONFIRM, _CONFIRM_BUTTON = 100, 300, 30
_ROWS, _CELLS, _CELL_CHARACTERS = 100, 20, 10_000
_CHART_TITLE, _CHART_LABEL, _CHART_SERIES, _CHART_POINTS = 50, 20, 12, 20

Style = Literal["primary", "danger"]
View = dict[str, Any]


class PlainText(TypedDict):
    """Literal text. Slack makes an emoji of ``:100:`` in it unless it is told not to."""

    type: Literal["plain_text"]
    text: str
    emoji: Literal[False]


class Mrkdwn(TypedDict):
    """Text with Slack's markup, in which nothing else becomes a link."""

    type: Literal["mrkdwn"]
    text: str
    verbatim: Literal[True]


class TextStyle(TypedDict, total=False):
    """How a piece of rich text looks."""

    bold: bool
    strike: bool
    code: bool


class RichText(TypedDict):
    """A piece of rich text: literal, whatever stands in it."""

    type: Literal["text"]
    text: str
    style: NotRequired[TextStyle]


class User(TypedDict):
    """A mention in rich text."""

    type: Literal["user"]
    user_id: str


class Channel(TypedDict):
    """A channel's name in rich text."""

    type: Literal["channel"]
    channel_id: str


class Date(TypedDict):
    """A time in rich text, in each reader's own zone."""

    type: Literal["date"]
    timestamp: int
    format: str
    fallback: str


Piece = RichText | User | Channel | Date


class RichTextSection(TypedDict):
    """Running text."""

    type: Literal["rich_text_section"]
    elements: Sequence[Piece]


class Preformatted(TypedDict):
    """Text as it stands, in a type of fixed width."""

    type: Literal["rich_text_preformatted"]
    elements: Sequence[RichText]
    language: NotRequired[Literal["sql"]]


class RichTextBlock(TypedDict):
    """A block, and a cell, of rich text."""

    type: Literal["rich_text"]
    elements: Sequence[RichTextSection | Preformatted]
    block_id: NotRequired[str]


class RawText(TypedDict):
    """A cell of plain text."""

    type: Literal["raw_text"]
    text: str


class Column(TypedDict, total=False):
    """How a column of a table is laid out."""

    align: Literal["left", "right"]
    is_wrapped: bool


LEFT: Column = {"align": "left"}
RIGHT: Column = {"align": "right"}
WRAPPED: Column = {"is_wrapped": True}


class Confirm(TypedDict):
    """The question that Slack asks before it hands a press over."""

    title: PlainText
    text: PlainText
    confirm: PlainText
    deny: PlainText
    style: Style


class Button(TypedDict):
    """A button."""

    type: Literal["button"]
    action_id: str
    text: PlainText
    value: NotRequired[str]
    style: NotRequired[Style]
    confirm: NotRequired[Confirm]
    accessibility_label: NotRequired[str]


class Option(TypedDict):
    """An entry of a menu."""

    text: PlainText
    value: str


class Menu(TypedDict):
    """A menu in which one entry, or several, can be picked."""

    type: Literal["static_select", "multi_static_select"]
    action_id: str
    placeholder: PlainText
    options: Sequence[Option]


class TextInput(TypedDict):
    """A field to type in."""

    type: Literal["plain_text_input"]
    action_id: str
    max_length: int
    min_length: NotRequired[int]
    multiline: NotRequired[bool]
    initial_value: NotRequired[str]
    focus_on_load: NotRequired[bool]


Element = Button | Menu


class Header(TypedDict):
    """A heading."""

    type: Literal["header"]
    text: PlainText


class Context(TypedDict):
    """Small print."""

    type: Literal["context"]
    elements: Sequence[PlainText | Mrkdwn]


class Actions(TypedDict):
    """A row of buttons and menus."""

    type: Literal["actions"]
    elements: Sequence[Element]
    block_id: NotRequired[str]


class Divider(TypedDict):
    """A line across."""

    type: Literal["divider"]


class Input(TypedDict):
    """A field of a modal with its label."""

    type: Literal["input"]
    block_id: str
    label: PlainText
    element: TextInput
    hint: NotRequired[PlainText]


class Table(TypedDict):
    """A table; Slack takes one in a message."""

    type: Literal["table"]
    block_id: str
    rows: Sequence[Sequence[RawText | RichTextBlock]]
    column_settings: NotRequired[Sequence[Column]]


class Chart(TypedDict):
    """A chart."""

    type: Literal["data_visualization"]
    block_id: str
    title: str
    chart: Mapping[str, object]


Block = Header | Context | Actions | Divider | Input | RichTextBlock | Table | Chart


def plain_text(text: str, most: int = _TEXT) -> PlainText:
    """Literal text of at most so many characters."""
    _check("plain_text", len(text), most)
    return {"type": "plain_text", "text": text, "emoji": False}


def mrkdwn(text: str) -> Mrkdwn:
    """Text with markup; it must hold no data that is not escaped."""
    _check("mrkdwn", len(text), _TEXT)
    return {"type": "mrkdwn", "text": text, "verbatim": True}


def text(shown: str, *, bold: bool = False, strike: bool = False, code: bool = False) -> RichText:
    """A piece of rich text."""
    piece: RichText = {"type": "text", "text": shown}
    style: TextStyle = {}
    if bold:
        style["bold"] = True
    if strike:
        style["strike"] = True
    if code:
        style["code"] = True
    if style:
        piece["style"] = style
    return piece


def user(user_id: str) -> User:
    """A mention of a person."""
    return {"type": "user", "user_id": user_id}


def channel(channel_id: str) -> Channel:
    """The name of a channel, for those who may see it."""
    return {"type": "channel", "channel_id": channel_id}


def date(timestamp: int, form: str, fallback: str) -> Date:
    """A time in each reader's own zone; ``form`` is one of Slack's, ``fallback`` is what old clients show."""
    return {"type": "date", "timestamp": timestamp, "format": form, "fallback": fallback}


def rich_text(pieces: Sequence[Piece], block_id: str | None = None) -> RichTextBlock:
    """Running text: whatever stands in it is literal."""
    return _rich_text({"type": "rich_text_section", "elements": pieces}, block_id)


def preformatted(shown: str, *, sql: bool = False, block_id: str | None = None) -> Block:
    """Text as it stands, with SQL highlighted."""
    _check("preformatted", len(shown), _TEXT)
    element: Preformatted = {"type": "rich_text_preformatted", "elements": [text(shown)]}
    if sql:
        element["language"] = "sql"
    return _rich_text(element, block_id)


def header(shown: str) -> Block:
    """A heading."""
    return {"type": "header", "text": plain_text(shown, _HEADER)}


def context(elements: Sequence[PlainText | Mrkdwn]) -> Block:
    """Small print."""
    _check("elements of a context block", len(elements), _CONTEXT)
    return {"type": "context", "elements": elements}


def characters(value: object) -> int:
    """Count what Slack counts of blocks: every text."""
    if isinstance(value, list):
        return sum(map(characters, value))
    if isinstance(value, dict):
        own = len(value["text"]) if isinstance(value.get("text"), str) else 0
        return own + sum(characters(entry) for entry in value.values() if not isinstance(entry, str))
    return 0


def divider() -> Block:
    """A line across."""
    return {"type": "divider"}


def actions(elements: Sequence[Element], block_id: str | None = None) -> Block:
    """A row of buttons and menus."""
    _check("elements of an actions block", len(elements), _ACTIONS)
    block: Actions = {"type": "actions", "elements": elements}
    if block_id is not None:
        block["block_id"] = _id(block_id)
    return block


def button(
    label: str,
    action_id: str,
    value: str | None = None,
    *,
    style: Style | None = None,
    confirm: Confirm | None = None,
    accessibility_label: str | None = None,
) -> Element:
    """A button."""
    made: Button = {"type": "button", "action_id": _id(action_id), "text": plain_text(label, _BUTTON)}
    if value is not None:
        _check("value of a button", len(value), _VALUE)
        made["value"] = value
    if style is not None:
        made["style"] = style
    if confirm is not None:
        made["confirm"] = confirm
    if accessibility_label is not None:
        _check("accessibility label", len(accessibility_label), _BUTTON)
        made["accessibility_label"] = accessibility_label
    return made


def confirm(title: str, shown: str, *, confirm: str, deny: str) -> Confirm:
    """Ask before a press that closes something. All of it is plain text: names in it come from the database."""
    return {
        "title": plain_text(title, _CONFIRM_TITLE),
        "text": plain_text(shown, _CONFIRM),
        "confirm": plain_text(confirm, _CONFIRM_BUTTON),
        "deny": plain_text(deny, _CONFIRM_BUTTON),
        "style": "danger",
    }


def option(label: str, value: str) -> Option:
    """An entry of a menu."""
    _check("value of an option", len(value), _OPTION_VALUE)
    return {"text": plain_text(label, _OPTION), "value": value}


def static_select(action_id: str, options: Sequence[Option], placeholder: str) -> Element:
    """A menu in which one entry can be picked."""
    return _menu("static_select", action_id, options, placeholder)


def multi_static_select(action_id: str, options: Sequence[Option], placeholder: str) -> Element:
    """A menu in which several entries can be picked."""
    return _menu("multi_static_select", action_id, options, placeholder)


def text_input(
    action_id: str,
    *,
    max_length: int,
    min_length: int | None = None,
    multiline: bool = False,
    initial_value: str = "",
    focus_on_load: bool = False,
) -> TextInput:
    """A field to type in."""
    _check("length of a text input", max_length, _TEXT)
    _check("initial value", len(initial_value), max_length, least=0)
    field: TextInput = {"type": "plain_text_input", "action_id": _id(action_id), "max_length": max_length}
    if min_length is not None:
        field["min_length"] = min_length
    if multiline:
        field["multiline"] = True
    if initial_value:
        field["initial_value"] = initial_value
    if focus_on_load:
        field["focus_on_load"] = True
    return field


def input_block(label: str, element: TextInput, block_id: str, *, hint: str | None = None) -> Block:
    """A field of a modal with its label; what is wrong with it is told by its ``block_id``."""
    block: Input = {
        "type": "input",
        "block_id": _id(block_id),
        "label": plain_text(label, _LABEL),
        "element": element,
    }
    if hint is not None:
        block["hint"] = plain_text(hint, _LABEL)
    return block


def table(rows: Sequence[Sequence[str | RichTextBlock]], block_id: str, columns: Sequence[Column] = ()) -> Block:
    """A table, its first row the heading; a cell is plain text, or rich text for a mention."""
    _check("rows of a table", len(rows), _ROWS)
    for row in rows:
        _check("cells of a row", len(row), _CELLS)
        if len(row) != len(rows[0]) or "" in row:
            raise ValueError("Slack wants as many cells in each row, and none of them empty.")
    _check(
        "characters of a table",
        sum(len(cell) for row in rows for cell in row if isinstance(cell, str)),
        _CELL_CHARACTERS,
    )
    block: Table = {
        "type": "table",
        "block_id": _id(block_id),
        "rows": [
            [{"type": "raw_text", "text": cell} if isinstance(cell, str) else cell for cell in row] for row in rows
        ],
    }
    if columns:
        block["column_settings"] = columns
    return block


def bar_chart(
    title: str, categories: Sequence[str], series: Mapping[str, Sequence[int]], y_label: str, block_id: str
) -> Block:
    """Bars for each category, in one series beside the other."""
    _check("title of a chart", len(title), _CHART_TITLE)
    _check("label of an axis", len(y_label), _CHART_TITLE)
    _check("series of a chart", len(series), _CHART_SERIES)
    _check("categories of a chart", len(categories), _CHART_POINTS)
    for label in (*categories, *series):
        _check("label in a chart", len(label), _CHART_LABEL)
    return {
        "type": "data_visualization",
        "block_id": _id(block_id),
        "title": title,
        "chart": {
            "type": "bar",
            "series": [
                {
                    "name": name,
                    "data": [
                        {"label": label, "value": number} for label, number in zip(categories, numbers, strict=True)
                    ],
                }
                for name, numbers in series.items()
            ],
            "axis_config": {"categories": list(categories), "y_label": y_label},
        },
    }


def message(blocks: Sequence[Block]) -> list[dict[str, Any]]:
    """The blocks of a message, for the API."""
    _check("blocks of a message", len(blocks), _MESSAGE_BLOCKS)
    if sum(block["type"] == "table" for block in blocks) > 1:
        raise ValueError("Slack takes one table in a message.")
    return cast("list[dict[str, Any]]", list(blocks))


def modal(
    title: str,
    blocks: Sequence[Block],
    *,
    submit: str | None = None,
    close: str = "Close",
    callback_id: str | None = None,
    private_metadata: str | None = None,
) -> View:
    """A window. Without ``submit`` there is nothing in it to fill in."""
    view: View = {
        "type": "modal",
        "title": plain_text(title, _VIEW_TITLE),
        "blocks": _blocks_of_view(blocks, without=("table", "data_visualization")),
        "close": plain_text(close, _VIEW_TITLE),
    }
    if submit is not None:
        view["submit"] = plain_text(submit, _VIEW_TITLE)
    if callback_id is not None:
        view["callback_id"] = _id(callback_id)
    if private_metadata is not None:
        _check("metadata of a modal", len(private_metadata), _METADATA)
        view["private_metadata"] = private_metadata
    return view


def home(blocks: Sequence[Block]) -> View:
    """A Home tab."""
    return {"type": "home", "blocks": _blocks_of_view(blocks, without=("data_visualization",))}


def _blocks_of_view(blocks: Sequence[Block], without: Sequence[str]) -> list[Block]:
    _check("blocks of a view", len(blocks), _VIEW_BLOCKS)
    if any(block["type"] in without for block in blocks):
        raise ValueError(f"Slack takes none of these in such a view: {', '.join(without)}.")
    return list(blocks)


def _rich_text(element: RichTextSection | Preformatted, block_id: str | None) -> RichTextBlock:
    block: RichTextBlock = {"type": "rich_text", "elements": [element]}
    if block_id is not None:
        block["block_id"] = _id(block_id)
    return block


def _menu(
    kind: Literal["static_select", "multi_static_select"], action_id: str, options: Sequence[Option], placeholder: str
) -> Menu:
    _check("options of a menu", len(options), _OPTIONS)
    return {
        "type": kind,
        "action_id": _id(action_id),
        "placeholder": plain_text(placeholder, _PLACEHOLDER),
        "options": options,
    }


def _id(name: str) -> str:
    _check("id", len(name), _ID)
    return name


def _check(what: str, number: int, most: int, least: int = 1) -> None:
    if not least <= number <= most:
        raise ValueError(f"{what}: {number:,}, where Slack takes {least} to {most:,}.")
