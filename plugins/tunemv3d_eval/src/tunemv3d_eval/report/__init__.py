"""What an evaluation leaves behind: its JSON, table, plots and pictures."""
