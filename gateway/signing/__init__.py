"""The signed identity: keys that rotate by themselves, and tokens made with them."""
