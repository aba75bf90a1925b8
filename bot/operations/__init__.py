"""Running the bot: preflight, health, metrics, telemetry, logs, its web server, its start and end."""
