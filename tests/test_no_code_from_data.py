"""Nothing that is read may run as code, no shell takes a sentence of ours, and no secret is committed."""

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "flows", "tasks", "tools", "benchmarks")
#: Modules whose readers run what a file says.
MODULES = frozenset({"_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "pickle", "shelve", "yaml"})
CALLS = frozenset({"eval", "exec", "os.popen", "os.system", "ssl._create_unverified_context", "tempfile.mktemp"})
#: Methods of any object: pandas', Keras's, PyYAML's.
METHODS = frozenset({"enable_unsafe_deserialization", "read_pickle", "to_pickle", "unsafe_load"})
#: Named arguments that make a safe call unsafe, by the one value that keeps it safe.
ARGUMENTS = {"allow_pickle": False, "safe_mode": True, "shell": False, "trust_remote_code": False, "weights_only": True}
#: Calls in which such an argument is said, also where it is the default.
MUST_SAY = {"numpy.load": "allow_pickle", "ruamel.yaml.YAML": "typ", "torch.load": "weights_only"}


def problems(code: str) -> Iterator[str]:
    """Lines of the module that load code from data or give a sentence to a shell."""
    tree = ast.parse(code)
    imported = dict(_imports(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else [name.name for name in node.names]
            yield from (f"{node.lineno}: import of {name}" for name in modules if name.split(".")[0] in MODULES)
        elif isinstance(node, ast.Call):
            yield from (f"{node.lineno}: {problem}" for problem in _of_call(node, _dotted(node.func, imported)))


def _of_call(node: ast.Call, name: str) -> Iterator[str]:
    said = {argument.arg: argument.value for argument in node.keywords}
    if name in CALLS or name.rpartition(".")[2] in METHODS:
        yield f"call of {name}"
    if name in ("importlib.import_module", "__import__") and node.args:
        module = getattr(node.args[0], "value", "")
        if str(module).split(".")[0] in MODULES:
            yield f"import of {module}"
    for argument, safe in ARGUMENTS.items():
        if argument in said and ast.unparse(said[argument]) != str(safe):
            yield f"{argument} is not {safe}"
    if (must := MUST_SAY.get(name)) and must not in said:
        yield f"{name} does not say {must}"
    if name == "ruamel.yaml.YAML" and "typ" in said and ast.unparse(said["typ"]) != "'safe'":
        yield "typ is not 'safe'"


def _imports(tree: ast.AST) -> Iterator[tuple[str, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (
                (name.asname or name.name.split(".")[0], name.name if name.asname else name.name.split(".")[0])
                for name in node.names
            )
        elif isinstance(node, ast.ImportFrom):
            yield from ((name.asname or name.name, f"{node.module}.{name.name}") for name in node.names)


def _dotted(node: ast.expr, imported: dict[str, str]) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_dotted(node.value, imported)}.{node.attr}"
    return imported.get(node.id, node.id) if isinstance(node, ast.Name) else "?"


@pytest.mark.parametrize(
    ("code", "problem"),
    [
        ("import pickle", "1: import of pickle"),
        ("from dill.source import x", "1: import of dill.source"),
        ("def f():\n    import joblib", "2: import of joblib"),
        ("import importlib\nimportlib.import_module('cloudpickle')", "2: import of cloudpickle"),
        ("eval('1')", "1: call of eval"),
        ("exec(open(f).read())", "1: call of exec"),
        ("from os import system as run\nrun('ls')", "2: call of os.system"),
        ("import tempfile as t\nt.mktemp()", "2: call of tempfile.mktemp"),
        ("import pandas as pd\npd.read_pickle(f)", "2: call of pandas.read_pickle"),
        ("frame().to_pickle(f)", "1: call of ?.to_pickle"),
        ("import subprocess\nsubprocess.run('ls', shell=True)", "2: shell is not False"),
        ("import numpy as np\nnp.load(f)", "2: numpy.load does not say allow_pickle"),
        ("from numpy import load\nload(f, 'r')", "2: numpy.load does not say allow_pickle"),
        ("import numpy as np\nnp.load(f, allow_pickle=True)", "2: allow_pickle is not False"),
        ("import numpy as np\nnp.load(f, allow_pickle=may)", "2: allow_pickle is not False"),
        ("import torch\ntorch.load(f)", "2: torch.load does not say weights_only"),
        ("from torch import load\nload(f, weights_only=False)", "2: weights_only is not True"),
        ("keras.saving.load_model(f, safe_mode=False)", "1: safe_mode is not True"),
        ("from ruamel.yaml import YAML\nYAML().load(t)", "2: ruamel.yaml.YAML does not say typ"),
        ("from ruamel.yaml import YAML\nYAML(typ='unsafe').load(t)", "2: typ is not 'safe'"),
        ("AutoModel.from_pretrained(n, trust_remote_code=True)", "1: trust_remote_code is not False"),
    ],
)
def test_the_rule_finds(code: str, problem: str) -> None:
    assert list(problems(code)) == [problem]


@pytest.mark.parametrize(
    "code",
    [
        "model.eval()",
        "re.compile(p)",
        "import numpy as np\nnp.load(f, mmap_mode='r', allow_pickle=False)",
        "import torch\ntorch.load(f, weights_only=True)",
        "import subprocess\nsubprocess.run(['ls', name])",
        "from ruamel.yaml import YAML\nYAML(typ='safe').load(t)",
    ],
)
def test_the_rule_leaves_alone(code: str) -> None:
    assert list(problems(code)) == []


def test_nothing_that_is_read_runs_as_code() -> None:
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    found = [f"{path.relative_to(ROOT)}:{line}" for path in files for line in problems(path.read_text())]
    assert found == [], "use safetensors, npy or JSON, and lists of words for commands (docs/security.md)"


#: Keys of services that mark theirs, private keys, and long values of letters and digits under a telling name.
SECRET = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_\w{36}|\bgithub_pat_\w{22}|\bxox[abprs]-[\w-]{10}|\bsk-\w{20}|\bAIza[\w-]{35}"
    r"|(?i:passw(or)?d|secret|token|api_?key|credential)\w*['\"]?\s*[:=]\s*['\"](?=\w*[A-Za-z])(?=\w*\d)[\w+/=.-]{16,}['\"]"
)


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("-----BEGIN OPENSSH " + "PRIVATE KEY-----", True),
        ("AKIA" + "A1B2C3D4E5F6G7H8", True),
        ("ghp_" + "a1B2" * 9, True),
        ("token = '" + "a1b2c3d4" * 4 + "'", True),
        ('"INFLUX_PASSWORD": "' + "x9" * 10 + '"', True),
        ("token='any:thing'", False),
        ("secrets.token_hex(32)", False),
        ("sha256='" + "a1b2c3d4" * 8 + "'", False),
        ("password = os.environ['FORESENSE_MQTT_PASSWORD']", False),
    ],
)
def test_what_looks_like_a_secret(text: str, is_one: bool) -> None:
    assert bool(SECRET.search(text)) == is_one


def test_no_secret_is_committed() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = [name for name in listed.split("\0") if name]
    assert "README.md" in names
    assert [name for name in names if re.search(r"(^|/)(\.env|id_\w+)$|\.(pem|key|p12|pfx)$", name)] == []
    contents = {name: (ROOT / name).read_bytes() for name in names if (ROOT / name).is_file()}
    texts = {name: content.decode() for name, content in contents.items() if b"\0" not in content}
    assert [name for name, text in texts.items() if SECRET.search(text)] == []
