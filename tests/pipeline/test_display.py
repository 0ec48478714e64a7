"""People see the components; everything else goes to the file."""

import io
import logging
import os
import subprocess
import sys
import warnings

from ncs4cvr.pipeline.display import Display, chatter_to


def test_all_kinds_of_chatter_go_to_the_file(tmp_path, capfd):
    path = tmp_path / "run.log"
    logging.getLogger("absl").setLevel(logging.WARNING)  # as absl leaves it
    with chatter_to(path) as terminal:
        print("printed")
        print("error", file=sys.stderr)
        os.write(2, b"from C++\n")
        subprocess.run(["echo", "from a child"], check=True)
        logging.getLogger("absl").info("logged")
        warnings.warn("warned", stacklevel=1)
        terminal.write("for people\n")
    out, err = capfd.readouterr()
    assert (out, err) == ("", "for people\n")
    text = path.read_text()
    for word in ("printed", "error", "from C++", "from a child", "logged", "warned"):
        assert word in text


def test_the_streams_are_back_afterwards(tmp_path, capfd):
    with chatter_to(tmp_path / "run.log"):
        pass
    os.write(1, b"out")
    os.write(2, b"err")
    assert capfd.readouterr() == ("out", "err")


def test_without_a_terminal_every_word_is_a_line():
    stream = io.StringIO()
    with Display(stream) as display:
        display.start("Trainer")
        logging.getLogger("ncs4cvr").info("epoch %d", 1)
        logging.getLogger("ncs4cvr").info("50%", extra={"fleeting": True})
        logging.getLogger("absl").info("chatter")
        display.end("12.0 s")
        display.start("Pusher")
        display.end("cached")
    assert stream.getvalue().splitlines() == [
        "  Trainer: epoch 1",
        "✓ Trainer               12.0 s",
        "= Pusher                cached",
    ]
