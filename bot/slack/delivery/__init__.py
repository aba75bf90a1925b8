"""How answers get to Slack: once, in order, again where Slack is away."""
