"""What `make demo` shows: data, traffic, a page, the unchanged bot."""
