"""One sweep: what it will train, the trials, the search, and the table at the end."""
