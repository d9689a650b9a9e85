"""The benchmarks behind the performance page."""
