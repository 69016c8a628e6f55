"""Small browser components of our own; plain DOM code, nothing is fetched from outside."""
