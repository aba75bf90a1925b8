"""What people type, read into queries and closing orders."""
