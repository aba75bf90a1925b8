"""Buttons, dialogs and the Home tab: whatever is no slash command."""
