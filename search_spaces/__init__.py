"""What may vary in a sweep, as data."""
