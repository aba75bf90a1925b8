"""Everything that is shown in Slack: models in, Block Kit out. No Block Kit is built elsewhere."""
