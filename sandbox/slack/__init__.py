"""A Slack workspace for one machine, as strict as Slack, that the unchanged bot talks to."""
