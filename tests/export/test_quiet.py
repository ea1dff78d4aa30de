import logging
import os
import sys
import warnings

import pytest

from foresense.export.quiet import quieted


def test_nothing_that_a_converter_says_reaches_the_user(capfd: pytest.CaptureFixture[str]) -> None:
    with quieted():
        sys.stdout.write("python\n")
        os.write(2, b"native\n")
        logging.getLogger("torch").warning("logged")
        warnings.warn("warned", stacklevel=1)
    sys.stdout.write("after\n")
    sys.stdout.flush()
    assert capfd.readouterr() == ("after\n", "")


def test_an_error_brings_the_last_lines_along() -> None:
    def fail() -> None:
        with quieted():
            os.write(1, b"pass 7 failed\n")
            raise RuntimeError("conversion failed")

    with pytest.raises(RuntimeError) as raised:
        fail()
    assert raised.value.__notes__ == ["the converter's last lines:\npass 7 failed"]


def test_logging_is_as_before() -> None:
    before = list(logging.getLogger().handlers), logging.getLogger().level, logging.root.manager.disable
    with quieted():
        logging.basicConfig(level=logging.DEBUG, force=True)
    assert (list(logging.getLogger().handlers), logging.getLogger().level, logging.root.manager.disable) == before
