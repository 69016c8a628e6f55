"""Build feature stores: project files, stages, and the command line ``vatun``."""
