"""Entry of ``panel serve app``; it runs once per session and only puts a page together."""

import sys

from app import sessions
from app.dashboard import create_page

create_page(sys.argv[1:]).servable(title="VATUN", location=sessions.address())
