"""Neural patterns: images that share the strongest filter in each of several layers."""
