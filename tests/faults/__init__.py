"""What may go wrong with a close, many times over, with a count of what must never happen."""
