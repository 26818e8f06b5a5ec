"""What a sizing is worth beyond its nominal corner."""
