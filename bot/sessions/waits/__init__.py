"""Who waits for whom, for what, and what to do about it."""
