"""Session bot: see and close OceanBase sessions from Slack."""

__version__ = "0.2.0"
