"""The answer to ``/sessions locks``: who holds up whom, the worst first with what to do about it, then all chains."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from bot.sessions.masking import cut
from bot.sessions.model import Session
from bot.sessions.statement import Disclosure
from bot.sessions.waits.advice import Advice
from bot.sessions.waits.blockages import CLOSES, Blockage
from bot.sessions.waits.graph import Prepared, WaitGraph
from bot.slack.delivery.message import Message
from bot.slack.escaping import top_level, visible
from bot.slack.session_reference import Asker
from bot.slack.views import blocks as kit
from bot.slack.views import components, waits, wording
from bot.slack.views.lock_chains import Chains

REFRESH = "locks.refresh"  # action id

MOST = 5  # blockages in one message
_CHARACTERS = 12_500  # of a message in all; Slack refuses it from about 13,200 on (docs/slack.md 2.2)
_SQL, _IN_TEXT = 160, 300
_COMMAND = 1_200  # characters of the echo; what cannot be seen is written out
_CIRCLE = 6  # ids that are named of a circle


@dataclass(frozen=True, slots=True)
class Advised:
    """A blockage with what is advised about it; None where it is of somebody whom the reader may not see."""

    blockage: Blockage
    advice: Advice | None


@dataclass(frozen=True, slots=True)
class Open:
    """How many transactions are open, and since when the oldest is."""

    count: int
    oldest: float | None = None  # seconds; None where there is none, or the server does not say
    more: bool = False  # whether there are more than were read


@dataclass(frozen=True, slots=True)
class Locks:
    """The waits that somebody asked for, as far as chains touch what they may see."""

    graph: WaitGraph
    tenants: frozenset[str] | None  # whose sessions are shown, None for all: of others it is told how many there are
    words: str  # what was typed, as it is understood; so typed again it gives the same
    advised: tuple[Advised, ...] = ()  # the worst first, ``MOST`` at most
    left: int = 0  # blockages that are not among them
    open: Open | None = None  # None where it was not asked for, or could not be read
    tenant: str | None = None  # that was asked for

    def shows(self, one: Session | Prepared) -> bool:
        """Whether anything of it is shown."""
        return self.tenants is None or one.tenant in self.tenants


def locks(found: Locks, notes: Sequence[str] = (), *, disclosure: Disclosure, asker: Asker | None = None) -> Message:
    """Show them; ``notes`` are sentences on how the input was understood, ``asker`` is whose view all see."""
    graph = found.graph
    found = replace(
        found, advised=tuple(replace(one, blockage=one.blockage.seen_by(found.shows)) for one in found.advised)
    )
    above: list[kit.Block] = [
        components.header(f"Locks on {graph.source}"),
        components.lines(
            [components.code(cut(visible(f"/sessions locks {found.words}"), _COMMAND))], *components.notes(notes)
        ),
    ]
    for number, one in enumerate(found.advised, 1):
        above += _blockage(found, number, one, disclosure)
    if not graph.waits:
        above.append(components.lines([components.plain(nothing(found))]))
    below = [
        components.context(*_below(found), *components.seen_by(asker), *components.caveats(graph.lacks)),
        kit.actions(
            [kit.button("Refresh", action_id=REFRESH, value=found.words)], block_id=Asker.block("locks.browse", asker)
        ),
    ]
    text = top_level(f"Locks on {graph.source}: {_in_words(found)}")
    if not graph.waits:
        return Message(text, [*above, *below])
    room = _CHARACTERS - kit.characters([*above, *below])
    chains = Chains.of(graph, found.shows, disclosure)

    def as_text() -> list[kit.Block]:
        return [*above, *components.preformatted(chains.text(room), block_id="locks.text"), *below]

    return Message(text, [*above, chains.table(room), *below], fallback=as_text)


def nothing(found: Locks) -> str:
    """Say that nobody waits, and what is open meanwhile."""
    seen = "" if found.tenants is None else " that you may see"
    where = f" of tenant {wording.name(found.tenant)}" if found.tenant else seen
    said = f"No session{where} waits for another one."
    if found.graph.lacks:
        said = f"No wait{where} is seen here, though not all can be read: the small print says why."
    if found.open is None:
        return said
    if not found.open.count:
        return f"{said} No transaction{seen} is open."
    several = found.open.count > 1
    count = f"{'At least ' if found.open.more else ''}{found.open.count:,} transaction{'s are' if several else ' is'}"
    oldest = found.open.oldest
    age = "" if oldest is None else f"{', the oldest' if several else ''} for {wording.seconds(oldest)}"
    return f"{said} {count} open{age}: /sessions transactions lists {'them' if several else 'it'}."


def _blockage(found: Locks, number: int, one: Advised, disclosure: Disclosure) -> list[kit.Block]:
    blockage = one.blockage
    title = [components.bold(f"{number}. {_who_holds_up(found, blockage)}"), components.plain(_for_what(blockage))]
    who = blockage.who
    if one.advice is None:
        return [kit.divider(), components.lines(title)]
    rows: list[components.Line] = [title, [components.plain(_about(one)), *waits.advised(who, one.advice)]]
    if isinstance(who, Session):
        rows += _session(who, disclosure)
    buttons = waits.holder_buttons(who, one.advice)
    return [kit.divider(), components.lines(*rows), *([kit.actions(buttons)] if buttons else [])]


def _who_holds_up(found: Locks, blockage: Blockage) -> str:
    count = waits.held_up(len(blockage.behind), sum(not found.shows(one) for one in blockage.behind))
    if blockage.circle:
        ids = [str(each.id) for each in blockage.circle[:_CIRCLE] if found.shows(each)]
        more = len(blockage.circle) - len(ids)
        named = ", ".join([*ids, *([f"{more} more"] if more else [])])
        return f"A circle of {len(blockage.circle)} sessions ({named}) holds up {count}"
    if not blockage.named:
        wait = "waits" if len(blockage.behind) == 1 else "wait"
        return f"{count[0].upper()}{count[1:]} {wait} for a holder that is not named"
    verb = "may hold up" if blockage.candidate else "holds up"
    who = waits.called(blockage.who, found.shows)
    itself = " waits itself, and" if blockage.waiting else ""
    return f"{who[0].upper()}{who[1:]}{itself} {verb} {count}"


def _for_what(blockage: Blockage) -> str:
    longest, what = waits.longest_and_what(blockage)
    candidate = " · a candidate: the server does not name the holder" if blockage.candidate else ""
    return f"{longest} · {what}{candidate}"


def _about(one: Advised) -> str:
    """Say of whom advice is where the title does not, or under which condition it holds."""
    blockage = one.blockage
    if blockage.candidate and one.advice is not None and one.advice.action in CLOSES:
        return "If that is who holds it: "
    who = blockage.who
    return f"Session {who.id}: " if isinstance(who, Session) and (blockage.circle or not blockage.named) else ""


def _session(session: Session, disclosure: Disclosure) -> Iterator[components.Line]:
    client = [("User", session.client.user or "-"), ("Source", session.client.origin or "-")]
    place = [
        ("Database Name", session.database or "-"),
        ("Tenant", session.tenant or ""),
        ("observer", session.observer),
    ]
    yield components.facts([*client, *((label, value) for label, value in place if value)], 60)
    yield components.facts([("Status", _doing(session)), ("Transaction", _transaction(session))], 120)
    last = session.last_statement
    if session.running and session.statement is not None:
        yield [components.bold("Runs "), components.code(wording.sql_line(session.statement, _SQL, disclosure))]
    elif last is not None:
        ran = f"Ran last, {wording.seconds(last.ago)} ago "
        yield [components.bold(ran), components.code(wording.sql_line(last.statement, _SQL, disclosure))]


def _doing(session: Session) -> str:
    if session.idle:
        return f"{session.state}, idle for {wording.seconds(session.time)}"
    said = [wording.status(session), *([wording.waits(session)] if session.waits else [])]
    return f"{', '.join(said)}, for {wording.lasts(session)}"


def _transaction(session: Session) -> str:
    transaction = session.transaction
    state = wording.transaction_state(session)
    if transaction is None:
        return state
    said = [state]
    if transaction.age is not None:
        said.append(f"open for {wording.seconds(transaction.age)}")
    if transaction.rows_changed:
        said.append(f"{transaction.rows_changed:,} row{'s' if transaction.rows_changed > 1 else ''} changed")
    return ", ".join(said)


def _below(found: Locks) -> list[str]:
    graph, said = found.graph, []
    if found.left:
        said.append(f"and {found.left:,} more that hold up others, in the table as far as it goes")
    if graph.dropped:
        said.append(f"{graph.dropped:,} waits ended while they were read")
    return [" · ".join([*said, f"as of {wording.moment(graph.as_of)}"])]


def _in_words(found: Locks) -> str:
    """Say the worst and what to do about it: a phone's notification shows nothing else. No SQL."""
    if not found.advised:
        return f"{nothing(found)} As of {wording.utc(found.graph.as_of)}"
    first = found.advised[0]
    said = f"{_who_holds_up(found, first.blockage)}{_for_what(first.blockage)}. "
    who = first.blockage.who
    if first.advice is not None and isinstance(who, Session) and first.blockage.named and not first.blockage.circle:
        of = f"{wording.name(who.client.user)} from {wording.name(who.client.origin)}, {wording.name(who.state)}"
        said += f"It is {of} for {wording.lasts(who)}. "
    if first.advice is not None:
        said += _about(first) + "".join(piece["text"] for piece in waits.advised(who, first.advice))
    more = len(found.advised) - 1 + found.left
    others = "more" if not first.blockage.candidate else "candidate" if more == 1 else "candidates"
    return cut(f"{cut(said, 3 * _IN_TEXT)}{f' And {more} {others} below.' if more else ''}", 4 * _IN_TEXT)
