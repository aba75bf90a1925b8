"""Closing: asking for it, confirming, carrying out, recording. Knows nothing of Slack's payloads."""
