"""The network under test: load, capture, perturb, attack and explain a trained CNN classifier.

Importing this package costs nothing; ``vatun.specs`` stays free of torch so that a page can be
drawn and a project file checked before torch is loaded.
"""

__version__ = "0.1.0"
