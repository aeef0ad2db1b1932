"""A session gateway: a reverse proxy that logs people in and tells the apps behind it who they are."""

__version__ = "0.1.0"
