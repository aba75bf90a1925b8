"""What explains the sessions of a data source: its waits, transactions, and what triage finds of them."""
