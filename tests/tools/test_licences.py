"""Licences are read from folders as pip writes them, one for each way in which packages say theirs."""

from pathlib import Path

import pytest

from tools import licences
from tools.licences import UNKNOWN, Licence, listing, to_look_at, unexplained
from tools.locked import locked

ROOT = Path(__file__).parents[2]
BSD = "Copyright (c) 2026\nRedistribution and use in source and\nbinary forms, with or without modification ..."
MIT = "Permission is hereby granted, free of charge,\nto any person obtaining a copy"


def install(folder: Path, name: str, *fields: str, file: str = "", version: str = "1.0") -> None:
    info = folder / f"{name}-{version}.dist-info"
    (info / "licenses").mkdir(parents=True)
    (info / "METADATA").write_text(
        "\n".join(("Metadata-Version: 2.4", f"Name: {name}", f"Version: {version}", *fields))
    )
    (info / "licenses" / "LICENSE").write_text(file)
    (info / "RECORD").write_text(f"{info.name}/METADATA,,\n{info.name}/licenses/LICENSE,,\n")


@pytest.mark.parametrize(
    ("fields", "file", "said"),
    [
        (["License-Expression: MIT OR Apache-2.0", "License: GPL"], "", ("MIT OR Apache-2.0", "License-Expression")),
        (["License: bsd-3-clause"], "", ("BSD-3-Clause", "License")),
        (["License: Apache License, Version 2.0"], "", ("Apache-2.0", "License")),
        (["License: MIT Licence"], "", ("MIT", "License")),
        (["License: EPL-2.0 OR GPL-2.0-or-later"], "", ("EPL-2.0 OR GPL-2.0-or-later", "License")),
        (["Classifier: License :: OSI Approved :: MIT License"], "", ("MIT", "classifiers")),
        (
            [
                "License: Dual License",
                "Classifier: License :: OSI Approved :: MIT License",
                "Classifier: License :: OSI Approved :: GNU General Public License v2 (GPLv2)",
            ],
            "",
            ("MIT / GPL-2.0-only", "classifiers"),
        ),
        (
            ["License: BSD", "Classifier: License :: OSI Approved :: BSD License"],
            f"{BSD} Neither the name",
            ("BSD-3-Clause", "LICENSE"),
        ),
        (["License: BSD"], BSD, ("BSD-2-Clause", "LICENSE")),
        (["License: BSD"], "", ("BSD (which one is not said)", "License")),
        (["Classifier: License :: OSI Approved :: BSD License"], "", ("BSD (which one is not said)", "classifiers")),
        ([], MIT, ("MIT", "LICENSE")),
        ([], f"{BSD} Neither the name ... It carries: {MIT}", ("BSD-3-Clause", "LICENSE")),
        ([], f"{MIT} It carries: {BSD} Neither the name", ("MIT", "LICENSE")),
        ([], "GNU AFFERO GENERAL PUBLIC LICENSE\nVersion 3", ("AGPL", "LICENSE")),
        ([], f"{BSD}{' ...' * 1000} It carries libgfortran: GNU GENERAL PUBLIC LICENSE", ("BSD-2-Clause", "LICENSE")),
        (["License: see our website"], "All rights reserved.", (UNKNOWN, "nowhere")),
        ([], "", (UNKNOWN, "nowhere")),
    ],
)
def test_the_clearest_place_is_believed(tmp_path: Path, fields: list[str], file: str, said: tuple[str, str]) -> None:
    install(tmp_path, "some_package", *fields, file=file)
    (found,) = licences.licences({"some-package": "1.0"}, [str(tmp_path)])
    assert (found.licence, found.said_in) == said


def test_the_text_of_the_field_itself_is_read(tmp_path: Path) -> None:
    install(
        tmp_path, "old", "License: Copyright (c) 2026", "        Permission is hereby granted, free of charge, to any"
    )
    (found,) = licences.licences({"old": "1.0"}, [str(tmp_path)])
    assert found.licence == UNKNOWN  # the sentence is cut off: half a sentence is no licence
    install(tmp_path, "whole", "License: Copyright (c) 2026", f"        {' '.join(MIT.split())}")
    (found,) = licences.licences({"whole": "1.0"}, [str(tmp_path)])
    assert (found.licence, found.said_in) == ("MIT", "License")


def test_what_is_not_installed_as_locked_is_named(tmp_path: Path) -> None:
    install(tmp_path, "torch", "License: MIT", version="2.13.0+cpu")
    install(tmp_path, "old", "License: MIT")
    assert licences.licences({"torch": "2.13.0"}, [str(tmp_path)])[0].version == "2.13.0"
    with pytest.raises(
        LookupError, match=r"old 2\.0 \(1\.0 is installed\), gone 3 \(nothing is installed\); run `make"
    ):
        licences.licences({"torch": "2.13.0", "old": "2.0", "gone": "3"}, [str(tmp_path)])


@pytest.mark.parametrize(
    ("licence", "binds"),
    [
        ("MIT", False),
        ("Apache-2.0 OR GPL-2.0-or-later", False),  # one may choose Apache
        ("EPL-2.0 OR GPL-2.0-or-later", True),
        ("MPL-2.0 AND MIT", True),
        ("MPL-2.0 AND (Apache-2.0 OR MIT)", True),
        ("MIT / GPL-2.0-only", True),
        ("LGPL-3.0-only", True),
        ("AGPL", True),
        ("CC-BY-NC-4.0", True),
        ("CC0-1.0", False),
        (UNKNOWN, True),
    ],
)
def test_copyleft_without_a_choice_is_looked_at(licence: str, binds: bool) -> None:
    entry = Licence("name", "1.0", licence, "License")
    assert to_look_at([entry]) == ([entry] if binds else [])


def test_a_page_explains_by_name_and_never_an_unknown_licence() -> None:
    copyleft, unknown = Licence("pygit2", "1", "GPL-2.0-only", "License"), Licence("new", "1", UNKNOWN, "nowhere")
    assert unexplained([copyleft, unknown], "| `pygit2` | linked by DVC |\n| `new` | who knows |") == [unknown]
    assert unexplained([copyleft], "pygit2-tools") == [copyleft]


def test_the_listing_groups_and_names() -> None:
    found = [
        Licence("a", "1", "MIT", "License"),
        Licence("b", "2", "GPL-3.0", "LICENSE"),
        Licence("c", "3", "MIT", "x"),
    ]
    assert listing(found).splitlines() == [
        "3 packages",
        "MIT (2): a 1, c 3",
        "GPL-3.0 (1): b 2",
        "",
        "To look at; docs/security.md says what became of it:",
        "    b 2: GPL-3.0 (said in LICENSE)",
    ]


def test_check_says_which_package_and_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "security.md").write_text("nothing here")
    monkeypatch.setattr(licences, "ROOT", tmp_path)
    monkeypatch.setattr(licences, "locked", lambda root: {"pygit2": "1"})
    monkeypatch.setattr(licences, "licences", lambda packages: [Licence("pygit2", "1", "GPL-2.0-only", "License")])
    assert licences.main(["--check"]) == 1
    assert capsys.readouterr().err == (
        "pygit2 1: licence GPL-2.0-only (said in License); read it, then say in docs/security.md under 'Licences' "
        "why `pygit2` may stay, or remove the package\n"
    )


def test_the_lock_is_read_with_what_the_makefile_installs_before_it(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text("numpy==2.4.0\nwaitress==3.0.2 ; sys_platform == 'win32'\n")
    (tmp_path / "Makefile").write_text("TORCH := torch==2.13.0\n\tpip install --quiet uv==0.13.8\n\t[ a == b ]\n")
    assert locked(tmp_path) == {"numpy": "2.4.0", "torch": "2.13.0", "uv": "0.13.8"}


def test_a_line_without_a_version_is_refused(tmp_path: Path) -> None:
    (tmp_path / "requirements.lock").write_text("numpy>=2\n")
    (tmp_path / "Makefile").write_text("")
    with pytest.raises(
        ValueError, match=r"requirements.lock: expected lines like .*, found 'numpy>=2'; run `make lock`"
    ):
        locked(tmp_path)


def test_torch_and_uv_of_this_project_are_among_them() -> None:
    assert {"torch", "uv", "numpy"} <= set(locked(ROOT))
