"""Tables that a sweep leaves: a class for the rows of each, below both `sweep` and `review`."""
