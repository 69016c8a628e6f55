"""The views of the page; each is a ``Viewer`` over one runtime and one session state."""
