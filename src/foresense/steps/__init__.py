"""One module per step: files in, files out; the only place where rooms meet."""
