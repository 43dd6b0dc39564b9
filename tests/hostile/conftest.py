"""The notebooks of the bank are data: pytest must not import them, nor put their folders on the path."""

collect_ignore_glob = ["*/*"]
