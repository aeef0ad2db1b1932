"""The data plane: client connections, upstream connections, and the exchange between them."""
