"""Database servers for one machine."""
