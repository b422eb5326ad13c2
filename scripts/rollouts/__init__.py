"""What changes of what is served cost callers: swaps, rollbacks, churn and bad versions, under load."""
