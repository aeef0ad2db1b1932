"""The proxies that are compared, each started with one worker on one core."""
