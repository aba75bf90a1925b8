"""A Slack and databases for one machine, for the demo, the tests and the benchmarks. Imports nothing of the bot."""
