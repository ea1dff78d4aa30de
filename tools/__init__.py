"""What `make check` and `make` call: the digest of the code, the check of the DVC graph, the lock."""
