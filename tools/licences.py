"""The licence of every installed package, as the package itself says it, and those that a person has to look at.

`python -m tools.licences` (`make licences`) lists them. `--check` (part of `make check`) fails when a package says
nothing that is known, or when one under a copyleft licence is not explained in docs/security.md.
"""

import re
import sys
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.utils import canonicalize_name

from tools.locked import locked

ROOT = Path(__file__).resolve().parents[1]
PAGE = "docs/security.md"
UNKNOWN = "unknown"
#: Copyleft of any strength, and licences that restrict use, by the beginning of their SPDX names.
LOOKED_AT = re.compile(r"\b(A?GPL|LGPL|MPL|EPL|CDDL|EUPL|SSPL|BUSL|CC-BY-(NC|SA))|GNU", re.IGNORECASE)
#: What packages write in the old field `License`, in small letters and without `_EMPTY_WORDS`, where it is not SPDX.
_SPELLINGS = {
    "3-clause bsd": "BSD-3-Clause",
    "apache 2.0": "Apache-2.0",
    "bsd 2-clause": "BSD-2-Clause",
    "bsd 3-clause": "BSD-3-Clause",
    "gplv2 with linking exception": "GPL-2.0-only with linking exception",
    "gplv2 | eplv1": "GPL-2.0-only OR EPL-1.0",
    "new bsd": "BSD-3-Clause",
}
_EMPTY_WORDS = re.compile(r"\b(licen[cs]e|version|the)\b|,")
#: A classifier's last part; "BSD License" is not here, because it does not say which one.
_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "Artistic License": "Artistic-1.0-Perl",
    "GNU General Public License (GPL)": "GPL-1.0-or-later",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "Zope Public License": "ZPL-2.1",
}
#: Characters of a licence file in which its own licence stands; a BSD licence has 1,500.
_OWN_LICENCE = 3000
#: Sentences that stand in one licence only, in small letters and without commas.
_SENTENCES = (
    ("gnu affero general public license", "AGPL"),
    ("gnu lesser general public license", "LGPL"),
    ("gnu general public license", "GPL"),
    ("mozilla public license version 2.0", "MPL-2.0"),
    ("apache license version 2.0", "Apache-2.0"),
    ("permission is hereby granted free of charge to any person obtaining a copy", "MIT"),
    ("redistribution and use in source and binary forms", "BSD-2-Clause"),
)
_THIRD_CLAUSE = "neither the name"


@dataclass(frozen=True)
class Licence:
    """What one installed package says: an SPDX expression or `unknown`, and the field or file that says it."""

    name: str
    version: str
    licence: str
    said_in: str


def licences(packages: Mapping[str, str], path: Sequence[str] | None = None) -> list[Licence]:
    """The licence of each package, in their order.

    Args:
        packages: Name to locked version.
        path: Folders with `*.dist-info`; None: where Python looks for packages.

    Raises:
        LookupError: a package is not installed, or in another version; names all of them.
    """
    installed = distributions(path=list(path)) if path is not None else distributions()
    by_name: dict[str, Distribution] = {canonicalize_name(found.metadata["Name"]): found for found in installed}
    wrong = [
        f"{name} {version} ({by_name[name].version if name in by_name else 'nothing'} is installed)"
        for name, version in packages.items()
        if name not in by_name or by_name[name].version.partition("+")[0] != version
    ]
    if wrong:
        raise LookupError(f"locked, and not installed like that: {', '.join(wrong)}; run `make setup`")
    return [Licence(name, version, *licence_of(by_name[name])) for name, version in packages.items()]


def licence_of(package: Distribution) -> tuple[str, str]:
    """The SPDX expression of a package, and where it is said: the clearest of four places that packages use.

    These are, in this order, `License-Expression` (PEP 639), the old field `License`, classifiers (several stand with
    `/`: they do not say whether all hold or one may be chosen) and the text of the licence file.
    """
    if expression := _field(package, "License-Expression"):
        return expression, "License-Expression"
    text = _field(package, "License")
    if licence := _spelled(text):
        return licence, "License"
    classifiers = [line.rpartition(" :: ")[2] for line in package.metadata.get_all("Classifier") or []]
    named = [_CLASSIFIERS[line] for line in classifiers if line in _CLASSIFIERS]
    if named and "BSD License" not in classifiers:
        return " / ".join(named), "classifiers"
    for said_in, words in (("License", text), *_licence_files(package)):
        if licence := _recognised(words):
            return " / ".join(dict.fromkeys([*named, licence])), said_in
    if text == "BSD" or "BSD License" in classifiers:
        return "BSD (which one is not said)", "License" if text else "classifiers"
    return UNKNOWN, "nowhere"


def _field(package: Distribution, name: str) -> str:
    return next(iter(package.metadata.get_all(name) or []), "")


def _spelled(text: str) -> str | None:
    words = " ".join(_EMPTY_WORDS.sub(" ", text.lower()).split())
    try:
        return _SPELLINGS.get(words) or canonicalize_license_expression(words)
    except InvalidLicenseExpression:
        return None


def _recognised(text: str) -> str | None:
    # a wheel's file goes on with the licences of what it carries; its own stands first
    first = " ".join(text.lower().replace(",", " ").split())[:_OWN_LICENCE]
    found = sorted((first.index(sentence), licence) for sentence, licence in _SENTENCES if sentence in first)
    licence = found[0][1] if found else None
    return "BSD-3-Clause" if licence == "BSD-2-Clause" and _THIRD_CLAUSE in first else licence


def _licence_files(package: Distribution) -> Iterable[tuple[str, str]]:
    for file in package.files or []:
        if re.match(r"(LICEN[CS]E|COPYING)", file.name, re.IGNORECASE) and ".dist-info" in file.as_posix():
            yield file.name, Path(str(file.locate())).read_text(errors="replace")


def to_look_at(found: Iterable[Licence]) -> list[Licence]:
    """Those under a copyleft licence without a free choice beside it, and the unknown ones."""
    return [entry for entry in found if entry.licence == UNKNOWN or _binds(entry.licence)]


def _binds(expression: str) -> bool:
    # `A OR B` leaves the choice; where AND or brackets stand beside it, a person reads it
    choices = expression.split(" OR ") if "(" not in expression and " AND " not in expression else [expression]
    return all(LOOKED_AT.search(choice) for choice in choices)


def unexplained(found: Iterable[Licence], page: str) -> list[Licence]:
    """Those to look at that no line of the page names as `name`, and the unknown ones."""
    return [entry for entry in to_look_at(found) if entry.licence == UNKNOWN or f"`{entry.name}`" not in page]


def listing(found: Sequence[Licence]) -> str:
    """All packages by licence, most common first, then those to look at, one a line."""
    groups: dict[str, list[str]] = defaultdict(list)
    for entry in found:
        groups[entry.licence].append(f"{entry.name} {entry.version}")
    lines = [f"{len(found)} packages"]
    for licence, names in sorted(groups.items(), key=lambda group: (-len(group[1]), group[0])):
        words = f"{licence} ({len(names)}): {', '.join(names)}"
        lines += textwrap.wrap(words, 120, subsequent_indent="    ", break_on_hyphens=False)
    lines += ["", f"To look at; {PAGE} says what became of it:"]
    lines += [
        f"    {entry.name} {entry.version}: {entry.licence} (said in {entry.said_in})" for entry in to_look_at(found)
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Print the listing, or check it; returns the exit code."""
    try:
        found = licences(locked(ROOT))
    except LookupError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if "--check" not in arguments:
        sys.stdout.write(f"{listing(found)}\n")
        return 0
    refused = unexplained(found, (ROOT / PAGE).read_text())
    for entry in refused:
        sys.stderr.write(
            f"{entry.name} {entry.version}: licence {entry.licence} (said in {entry.said_in}); read it, then say in "
            f"{PAGE} under 'Licences' why `{entry.name}` may stay, or remove the package\n"
        )
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
