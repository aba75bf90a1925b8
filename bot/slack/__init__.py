"""What people type and see: their words to queries, our models to Block Kit, replies."""
