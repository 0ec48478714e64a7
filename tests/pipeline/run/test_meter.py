"""What a run holds is seen, its children's memory included."""

import os
import subprocess
import sys

from ncs4cvr.pipeline.run.meter import Meter, held_mb

HOLDS = "data = bytearray(100 << 20); print(1, flush=True); input()"


def test_a_child_s_memory_counts_while_it_lives():
    with Meter() as meter:
        meter.look()
        before = held_mb(os.getpid())
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        with subprocess.Popen([sys.executable, "-c", HOLDS], **pipes) as child:
            child.stdout.readline()
            meter.look()
            during = held_mb(os.getpid())
            child.communicate(b"\n")
    assert during - before > 90
    assert max(mb for _, mb in meter.points) - meter.points[0][1] > 90


def test_moments_never_go_back():
    with Meter() as meter:
        for _ in range(20):
            meter.look()
    moments = [when for when, _ in meter.points]
    assert moments == sorted(moments)
