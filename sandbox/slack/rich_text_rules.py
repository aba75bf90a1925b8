"""What Slack demands of rich_text blocks."""

from __future__ import annotations

from sandbox.slack.element_rules import ID
from sandbox.slack.schema import Rule, by_type, choice, flag, many, record, text, whole

# Slack states no greatest length for a text here: the limits of the whole message or view hold it.
_ANY = 1_000_000

_STYLE = record({}, {"bold": flag, "italic": flag, "strike": flag, "underline": flag, "code": flag})
_MENTION_STYLE = record(
    {},
    {
        "bold": flag,
        "italic": flag,
        "strike": flag,
        "highlight": flag,
        "client_highlight": flag,
        "unlink": flag,
    },
)

_TEXT = record({"text": text(_ANY, blank=True)}, {"style": _STYLE})
_LINK = record({"url": text(3000)}, {"text": text(_ANY), "unsafe": flag, "style": _STYLE})

_INLINE = by_type(
    {
        "text": _TEXT,
        "link": _LINK,
        "emoji": record({"name": text(255)}, {"unicode": text(255), "skin_tone": whole(1, 6)}),
        "user": record({"user_id": ID}, {"style": _MENTION_STYLE}),
        "usergroup": record({"usergroup_id": ID}, {"style": _MENTION_STYLE}),
        "channel": record({"channel_id": ID}, {"style": _MENTION_STYLE}),
        "broadcast": record({"range": choice("here", "channel", "everyone")}),
        "date": record({"timestamp": whole(0, 2**53), "format": text(255)}, {"url": text(3000), "fallback": text(255)}),
        "color": record({"value": text(255)}),
    }
)

_BORDER = choice(0, 1)
_SECTION = record({"elements": many(_INLINE, _ANY)})
_LIST = record(
    {"style": choice("bullet", "ordered"), "elements": many(by_type({"rich_text_section": _SECTION}), _ANY)},
    {"indent": whole(0, 8), "offset": whole(0, 2**31), "border": _BORDER},
)
_QUOTE = record({"elements": many(_INLINE, _ANY)}, {"border": _BORDER})
_PREFORMATTED = record(
    {"elements": many(by_type({"text": _TEXT, "link": _LINK}), _ANY)},
    {"border": _BORDER, "language": text(255)},
)

RICH_TEXT: Rule = record(
    {
        "elements": many(
            by_type(
                {
                    "rich_text_section": _SECTION,
                    "rich_text_list": _LIST,
                    "rich_text_quote": _QUOTE,
                    "rich_text_preformatted": _PREFORMATTED,
                }
            ),
            _ANY,
        )
    },
    {"block_id": ID},
)
