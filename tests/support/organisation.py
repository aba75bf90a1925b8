"""A Slack organisation of three workspaces, as docs/slack.md 5.1 has it from Slack's documents; nobody here saw one.

Alice and the guest Gus are at home in the workspace that the app is installed in (T01DEMO), Bob and Carol in T02DATA,
and Bob is a member of both. T03HR, where Dora is at home, has no app at all. Eve is of another organisation, Mallory of
a workspace that belongs to none: both see C05SHARED by Slack Connect.
"""

from __future__ import annotations

from dataclasses import replace

from sandbox.slack.world import DEMO_WORLD, Channel, Enterprise, Member, Team, World

ORGANISATION = "E01ORG"
DBAS = "S0DBATEAM"  # a user group of T01DEMO: Bob
DATA = "S0DATA"  # a user group of T02DATA: Carol
INSIDE = ("U01ALICE", "U02BOB", "U03GUS", "W04CAROL", "W05DORA")

_PEOPLE = (
    Member("U01ALICE", "Alice Ng", "on-call engineer", "#2563a8"),
    Member("U02BOB", "Bob Ortiz", "DBA", "#8a4b12", team="T02DATA", teams=("",)),
    Member("U03GUS", "Gus Weber", "guest without rights", "#5b6470", is_guest=True),
    Member("W04CAROL", "Carol Diaz", "data engineer", "#2f6b3c", team="T02DATA"),
    Member("W05DORA", "Dora Lund", "recruiter", "#6b2f5b", team="T03HR"),
    Member("W06GREG", "Greg Sol", "guest in T02DATA", "#5b6470", team="T02DATA", is_guest=True),
    Member("U07EVE", "Eve Roth", "of a customer", "#7a1f1f", team="T90ELSE", external=True, enterprise="E90ELSE"),
    Member("U08MALLORY", "Mallory Fox", "of a supplier", "#7a1f1f", team="T91ELSE", external=True),
)
_CHANNELS = (
    Channel("C01INC", "incident", (*INSIDE, "W06GREG"), is_org_shared=True),
    Channel("C04DATA", "data", ("U02BOB", "W04CAROL"), team="T02DATA"),
    Channel("C05SHARED", "with-customers", (*INSIDE, "U07EVE", "U08MALLORY"), is_ext_shared=True),
)


def organisation(*, org_wide: bool) -> World:
    """Give it with the app installed in T01DEMO, or in the whole of it and added to T01DEMO and T02DATA."""
    others = (
        Team("T02DATA", "Data", "data", has_app=org_wide, groups={DATA: ("W04CAROL",)}),
        Team("T03HR", "People", "people", groups={"S0HR": ("W05DORA",)}),
    )
    enterprise = Enterprise(ORGANISATION, "Example Org", others, org_wide=org_wide)
    return replace(DEMO_WORLD, people=_PEOPLE, channels=_CHANNELS, groups={DBAS: ("U02BOB",)}, enterprise=enterprise)
