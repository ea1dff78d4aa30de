"""Keep what converters print away from the user, and give it back when they fail."""

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quieted() -> Iterator[None]:
    """Swallow what the block prints, logs and warns, by Python or by a C++ library.

    torchao prints "Failed to load ..." at import, the converters draw progress trees and absl lines. All of it goes to
    a temporary file; an error that leaves the block carries its last lines as a note.
    """
    root = logging.getLogger()
    handlers, level, disabled = list(root.handlers), root.level, logging.root.manager.disable
    sys.stdout.flush()
    sys.stderr.flush()
    saved = os.dup(1), os.dup(2)
    spoken = io.StringIO()
    with tempfile.TemporaryFile() as heard:
        try:
            os.dup2(heard.fileno(), 1)
            os.dup2(heard.fileno(), 2)
            logging.disable(logging.WARNING)
            with warnings.catch_warnings(), contextlib.redirect_stdout(spoken), contextlib.redirect_stderr(spoken):
                warnings.simplefilter("ignore")
                yield
        except BaseException as error:
            heard.seek(0)
            lines = (heard.read().decode(errors="replace") + spoken.getvalue()).strip().splitlines()
            if lines:
                error.add_note("the converter's last lines:\n" + "\n".join(lines[-10:]))
            raise
        finally:
            for descriptor, kept in zip((1, 2), saved, strict=True):
                os.dup2(kept, descriptor)
                os.close(kept)
            logging.disable(disabled)
            root.handlers[:] = handlers  # a converter's basicConfig would keep writing to a closed stream
            root.setLevel(level)
