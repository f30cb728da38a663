"""A process that works on chunks of rows: reads a pickled job and chunks from stdin, answers each on stdout.

Started as ``python -m tunesmith.data.worker`` rather than through ``multiprocessing``, because forking a process with
torch's threads can hang and spawning one would run the user's own script again.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import traceback

from tunesmith.errors import UserError


def main() -> None:
    """Serve until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the process above, which ends this one
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever prints must not get into the answers
    job = pickle.load(sys.stdin.buffer)
    while True:
        try:
            chunk = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: object = len(chunk.rows)
        try:
            job.run(chunk)
        except UserError as error:
            answer = error
        except Exception:
            answer = traceback.format_exc()
        pickle.dump(answer, answers)
        answers.flush()


if __name__ == "__main__":
    main()
