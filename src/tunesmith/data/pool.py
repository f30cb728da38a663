"""Chunks to parts, by this process or by several; the number of processes never changes the result."""

from __future__ import annotations

import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, Protocol

from tunesmith.errors import UserError

SMALL = 4
"""Up to this many chunks it is quicker to work here than to start processes."""


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Chunk(Protocol):
    """Rows that one part is made of."""

    @property
    def rows(self) -> Sequence[Any]:
        """The rows."""
        ...


class Job(Protocol):
    """What makes a part of a chunk; picklable."""

    def run(self, chunk: Any) -> None:
        """Write the part of ``chunk``."""
        ...


def run_chunks(job: Job, chunks: Iterator[Chunk], *, workers: int) -> Iterator[int]:
    """Write the part of every chunk; yields the rows of each as it is done (in any order)."""
    first = list(islice(chunks, SMALL + 1))
    everything = chain(first, chunks)
    if workers == 1 or len(first) <= SMALL or not _portable(job):
        for chunk in everything:
            job.run(chunk)
            yield len(chunk.rows)
        return
    yield from _run_in_processes(job, everything, workers)


def _portable(job: Job) -> bool:
    try:
        pickled = pickle.dumps(job)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False
    # what a user's script defines itself cannot be imported by another process
    return b"__main__" not in pickled


def _run_in_processes(job: Job, chunks: Iterator[Chunk], workers: int) -> Iterator[int]:
    answers: queue.Queue[object] = queue.Queue()
    lock = threading.Lock()
    stop = threading.Event()
    processes = [_start() for _ in range(workers)]
    arguments = [(process, job, chunks, lock, stop, answers) for process in processes]
    threads = [threading.Thread(target=_drive, args=one, daemon=True) for one in arguments]
    try:
        for thread in threads:
            thread.start()
        running = workers
        while running:
            answer = answers.get()
            if isinstance(answer, int):
                yield answer
            elif answer is None:
                running -= 1
            else:
                raise _as_error(answer)
    finally:
        stop.set()
        for process in processes:
            process.kill()
        for thread in threads:
            thread.join()
        for process in processes:
            process.wait()


def _start() -> subprocess.Popen[bytes]:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "tunesmith.data.worker"]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)


def _drive(
    process: subprocess.Popen[bytes],
    job: Job,
    chunks: Iterator[Chunk],
    lock: threading.Lock,
    stop: threading.Event,
    answers: queue.Queue[object],
) -> None:
    """Feed one process until the chunks end; every failure becomes an answer."""
    assert process.stdin is not None and process.stdout is not None
    try:
        with process.stdin as requests, process.stdout as replies:
            pickle.dump(job, requests)
            while not stop.is_set():
                with lock:
                    chunk = next(chunks, None)
                if chunk is None:
                    break
                pickle.dump(chunk, requests)
                requests.flush()
                answers.put(pickle.load(replies))
        answers.put(None)
    except (EOFError, BrokenPipeError):
        answers.put(f"a worker process died (exit code {process.wait()})")
    except Exception as error:  # a thread has nobody above it: the error is raised by whoever reads the answers
        answers.put(error)


def _as_error(answer: object) -> Exception:
    if isinstance(answer, UserError):
        return answer
    return answer if isinstance(answer, Exception) else RuntimeError(str(answer))
