from tools.branches import table


def counted(taken: int, of: int) -> dict[str, int]:
    return {"covered_branches": taken, "num_branches": of}


def test_branches_are_summed_by_room_and_the_files_behind_are_named():
    files = {
        "steps/run.py": counted(8, 10),
        "steps/train.py": counted(30, 40),
        "models/patch.py": counted(10, 10),
        "models/names.py": counted(0, 0),
        "__main__.py": counted(1, 6),
    }
    lines, share = table(files)
    assert share == 49 / 66
    assert [line.split() for line in lines] == [
        ["room", "taken", "of"],
        ["__main__.py", "1", "6", "16.7%"],
        ["models", "10", "10", "100.0%"],
        ["steps", "38", "50", "76.0%"],
        ["all", "49", "66", "74.2%"],
        [],
        ["at", "least", "5", "missed:"],
        ["10", "steps/train.py"],
        ["5", "__main__.py"],
    ]
