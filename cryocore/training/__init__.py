"""What every iteration has: something to continue from, and curves while it runs."""
