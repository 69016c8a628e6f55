"""Speed and quality, always beside what they are compared with: ``python -m benchmarks.NAME``."""
