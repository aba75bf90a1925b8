"""All rows of the table: what is tried, how often in a whole run and how often in a short one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandbox.databases.embedded import EmbeddedServer
from tests.faults import crashes, freezes, links, owners, races, sick, targets
from tests.faults.arena import MariaDBArena, Row


@dataclass(frozen=True, slots=True)
class Servers:
    """What the rows are played on; the restartable one counts its session ids from 2 after each start.

    ``mariadb`` is asked for by the rows that are marked so, and by no other: not every machine has one.
    """

    kernel: EmbeddedServer
    restartable: EmbeddedServer
    mariadb: Callable[[], EmbeddedServer]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row: what is done, how many times in a whole run, how many in a short one, 0 where that leaves it out."""

    name: str
    whole: int
    short: int
    play: Callable[[Row, int, Servers, Path], None]
    on_mariadb: bool = False


SCENARIOS = (
    Scenario(
        "two people press at once",
        200,
        6,
        lambda row, tries, on, folder: races.two_pressers(row, tries, on.kernel, folder),
    ),
    Scenario(
        "pressed twice, delivered twice, acknowledgement lost",
        200,
        6,
        lambda row, tries, on, folder: races.redeliveries(row, tries, on.kernel, folder),
    ),
    Scenario(
        "two replicas get the same command and the same press",
        100,
        4,
        lambda row, tries, on, folder: races.two_replicas(row, tries, on.kernel, folder, on.mariadb()),
        on_mariadb=True,
    ),
    Scenario(
        "of two replicas that get a command one is killed at it",
        10,
        0,
        lambda row, tries, on, folder: races.killed_at_a_command(row, tries, on.kernel, folder, on.mariadb()),
        on_mariadb=True,
    ),
    Scenario(
        "one of two replicas is killed under load",
        100,
        12,
        lambda row, tries, on, folder: races.killed_replica(row, tries, on.kernel, folder, on.mariadb()),
        on_mariadb=True,
    ),
    Scenario(
        "kill -9 at each step of a close",
        10,
        1,
        lambda row, tries, on, folder: crashes.crashes(row, tries, on.kernel, folder),
    ),
    Scenario(
        "a replica freezes in the middle of a write",
        8,
        2,
        lambda row, tries, on, folder: freezes.freezes(row, tries, on.kernel, folder, (on.mariadb(), on.kernel)),
        on_mariadb=True,
    ),
    Scenario(
        "the id belongs to somebody else by now",
        100,
        3,
        lambda row, tries, on, folder: targets.reused_ids(row, tries, on.restartable, folder),
    ),
    Scenario(
        "another statement under Close Query",
        50,
        2,
        lambda row, tries, on, folder: targets.moved_on(row, tries, on.kernel, folder),
    ),
    Scenario(
        "commands while the database hangs",
        300,
        60,
        lambda row, tries, on, folder: sick.hung_database(row, tries, on.restartable, folder),
    ),
    Scenario(
        "other data sources hang and hundreds wait for them",
        500,
        60,
        lambda row, tries, on, folder: sick.hung_neighbours(row, tries, on.kernel, folder),
    ),
    Scenario(
        "a firewall forgets the connections before the press",
        20,
        1,
        lambda row, tries, on, folder: sick.forgotten_connections(row, tries, on.kernel, folder),
    ),
    Scenario(
        "the database stops before the press",
        5,
        1,
        lambda row, tries, on, folder: sick.stopped_between(row, tries, on.restartable, folder),
    ),
    Scenario(
        "the server refuses new connections",
        20,
        2,
        lambda row, tries, on, folder: targets.refused_logins(row, tries, on.mariadb(), folder, MariaDBArena),
        on_mariadb=True,
    ),
    Scenario(
        "Slack answers 429 or 500 half the time",
        20,
        2,
        lambda row, tries, on, folder: sick.sick_slack(row, tries, on.kernel, folder),
    ),
    Scenario(
        "texts made to break out, in every view",
        50_000,
        2_000,
        lambda row, tries, _on, _folder: sick.hostile_texts(row, tries),
    ),
    Scenario(
        "the store is gone",
        20,
        2,
        lambda row, tries, on, folder: sick.store_gone(row, tries, on.kernel, folder),
    ),
    # Each of these is a test of its own in tests/listeners/test_owners.py as well.
    Scenario(
        "KILLs are lost on their way",
        10,
        0,
        lambda row, tries, on, folder: owners.lost_kills(row, tries, on.kernel, folder),
    ),
    Scenario(
        "a second process on the same file",
        5,
        0,
        lambda row, tries, on, folder: owners.second_processes(row, tries, on.kernel, folder),
    ),
    Scenario(
        "Slack is half a minute late with each card",
        5,
        0,
        lambda row, tries, on, folder: owners.slow_slack(row, tries, on.kernel, folder),
    ),
    Scenario(
        "Slack carries out an old rewrite after the outcome",
        3,
        0,
        lambda row, tries, on, folder: owners.late_rewrites(row, tries, on.kernel, folder),
    ),
    Scenario(
        "the clock jumps during a close",
        60,
        0,
        lambda row, tries, on, folder: owners.clock_jumps(row, tries, on.kernel, folder),
    ),
    Scenario(
        "the store is locked after each step of a close",
        2,
        0,
        lambda row, tries, on, folder: owners.locked_stores(row, tries, on.kernel, folder),
    ),
    Scenario(
        "the store's file is replaced by a backup",
        10,
        0,
        lambda row, tries, on, folder: owners.replaced_files(row, tries, on.kernel, folder),
    ),
    # And these in tests/commands/test_silent_slack.py.
    Scenario(
        "Slack does not say who presses",
        20,
        0,
        lambda row, tries, on, folder: sick.unsaid_presser(row, tries, on.kernel, folder),
    ),
    Scenario(
        "the channel is closed before the outcome is known",
        20,
        0,
        lambda row, tries, on, folder: sick.closed_channel(row, tries, on.kernel, folder),
    ),
    Scenario(
        "a socket to Slack falls silent",
        3,
        1,
        lambda row, tries, on, folder: links.silent_socket(row, tries, on.kernel, folder),
    ),
    # Played in tests/slack/test_socket_mode.py as well.
    Scenario(
        "the app has too many sockets",
        3,
        0,
        lambda row, tries, on, folder: links.too_many_sockets(row, tries, on.kernel, folder),
    ),
    Scenario(
        "Slack's WebSocket is refused",
        3,
        0,
        lambda row, tries, on, folder: links.refused_sockets(row, tries, on.kernel, folder),
    ),
)
