"""One file per slash command: how it is used, how it is parsed, what it answers."""
