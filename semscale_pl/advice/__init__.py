"""What to collect next, and which samples to keep."""
