"""``python -m visionxl``.

Python has imported the package, and with it torch, before it comes here: Ctrl-C until then is
answered by Python alone, and not as ``_visionxl.py`` does.
"""

from visionxl.cli import main

main()
