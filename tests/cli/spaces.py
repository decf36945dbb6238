"""An app whose name cannot be part of a key."""

from runnel import App

app = App("my shop")
