"""Beam's local job service with two workers: by itself it gives every job one.

python benchmarks/beam_parts/service.py --port=PORT
"""

import signal
import sys

from apache_beam.runners.portability import local_job_service_main
from apache_beam.runners.portability.fn_api_runner import fn_runner

WORKERS = 2


class TwoWorkers(fn_runner.FnApiRunner):
    """The runner that the service starts for a job, which takes no number of workers from it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._num_workers = WORKERS


if __name__ == "__main__":
    fn_runner.FnApiRunner = TwoWorkers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as Beam's own command does
    local_job_service_main.run(sys.argv[1:])
