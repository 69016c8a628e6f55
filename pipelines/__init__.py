"""Build feature stores: project files, stages, and the command line ``vatun``."""

import os

# Threads of torch that have nothing to do sleep instead of spinning: on a machine that is shared
# with anything else, a stage is then three to five times quicker. Read when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
