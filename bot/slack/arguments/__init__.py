"""What people type, to questions and orders."""
