"""The session service: reads and closes database sessions. Knows nothing of Slack."""
