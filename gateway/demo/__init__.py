"""``gateway demo``: the gateway in front of two small apps, on loopback, with nothing to set up."""

from gateway.demo.run import demo

__all__ = ["demo"]
