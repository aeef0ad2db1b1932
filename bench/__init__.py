"""The benchmark: what a request through the gateway costs, beside other proxies on the same machine."""
