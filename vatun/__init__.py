"""The network under test: load, capture, perturb, attack and explain a trained CNN classifier.

Importing this package costs nothing; ``vatun.specs`` stays free of torch so that a page can be
drawn and a project file checked before torch is loaded.
"""

import os

__version__ = "0.1.0"

# Threads of torch that have nothing to do sleep instead of spinning: on a machine that is shared
# with anything else, a stage is then three to five times quicker. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
