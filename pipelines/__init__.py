"""Build feature stores: project files, stages, and the command line ``vatun``."""

import sys

if sys.argv[:1] == ["-m"]:
    # `python -m pipelines.capture` imports torch for seconds before its own first line runs.
    from pipelines.endings import heed_interrupts

    heed_interrupts()
