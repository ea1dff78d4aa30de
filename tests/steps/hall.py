"""The smallest pipeline of one's own: one mill, one channel, a file a machine in data/raw/hall."""

ONE_MILL = {
    "description": "one mill",
    "ingest": {
        "source": "csv",
        "raw": "hall",
        "time_column": "time",
        "channels": [{"name": "temp_body", "unit": "Cel"}],
    },
    "window": {"context": 24, "horizon": 6},
    "train": {"candidates": {"only": {}}},
}
