"""HTTP/1.1 as bytes: strict parsing, framing, targets, headers, cookies, own answers. No async, no I/O."""
