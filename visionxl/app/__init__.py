"""The app: a page to drop a clip on, in the browser, served from this machine."""

from visionxl.app.desk import Desk, Outcome, Progress, Request, Stopped, Work
from visionxl.app.serving import serve
from visionxl.app.uploads import Limits, read_upload

__all__ = [
    "Desk",
    "Limits",
    "Outcome",
    "Progress",
    "Request",
    "Stopped",
    "Work",
    "read_upload",
    "serve",
]
