"""One run at a time, off the thread that talks to the browser, and stopped when asked."""

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from queue import SimpleQueue
from tempfile import mkdtemp
from typing import Any

from attrs import field, frozen
from torch.overrides import TorchFunctionMode

from visionxl.report import Look
from visionxl.video import Clip


@frozen(eq=False)
class Request:
    """What is asked for in the page.

    Args:
        name: of the file that was uploaded.
        clip: what was in it.
        simulate: whether the clip is the truth, to be measured first; or the measurement.
        task: name of the operator.
        noise: standard deviation, in units of the range [-1, 1].
        method: name of the method.
        prior: name of the prior.
    """

    name: str
    clip: Clip
    simulate: bool
    task: str
    noise: float
    method: str
    prior: str


@frozen(eq=False)
class Progress:
    """How far a run is.

    Args:
        stage: what it does now, in a word.
        step: how many steps it has finished.
        steps: of how many.
        look: at the last finished step, if there is one.
        data_residual: of that step.
    """

    stage: str
    step: int
    steps: int
    look: Look | None = None
    data_residual: float | None = None


@frozen(eq=False)
class Outcome:
    """What a run has made.

    Args:
        summary: in a sentence.
        notes: more sentences.
        video: the restored one.
        page: the report.
        comparison: a video, all side by side.
        columns: what is side by side in it.
        before: a picture of the middle frame of the measurement.
        after: the same, restored.
    """

    summary: str
    notes: list[str]
    video: Path
    page: Path
    comparison: Path
    columns: tuple[str, ...]
    before: Path
    after: Path


class Stopped(Exception):  # noqa: N818 (nothing went wrong)
    """The run was asked to stop."""


Work = Callable[[Request, Path, Callable[[Progress], None]], Outcome]
"""(request, folder, tell) -> outcome, in that folder."""


class Stoppable(TorchFunctionMode):
    """Inside, every call of torch in this thread raises Stopped once ``stop`` is set.

    A step of a large clip takes minutes, and a single call of torch less than a second or two.
    """

    def __init__(self, stop: threading.Event) -> None:
        super().__init__()
        self._stop = stop

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if self._stop.is_set():
            raise Stopped
        return func(*args, **(kwargs or {}))


@frozen(eq=False)
class _Run:
    thread: threading.Thread
    stop: threading.Event = field(factory=threading.Event)


class Desk:
    """Runs the requests of all sessions, one at a time.

    Args:
        work: what is done.
        folder: where each run has a folder of its own while it lasts.
    """

    def __init__(self, work: Work, folder: Path) -> None:
        self._work, self._folder = work, folder
        self._one_at_a_time = threading.Lock()
        self._runs: dict[str, _Run] = {}

    def run(self, session: str, request: Request) -> Iterator[Progress | Outcome]:
        """The run as it goes on; the last is its outcome, whose files are gone afterwards.

        Raises:
            Stopped: :meth:`stop` was called.
            Exception: whatever the work raises.
        """
        self.stop(session)
        folder = Path(mkdtemp(dir=self._folder))
        events: SimpleQueue[Progress | Outcome | BaseException] = SimpleQueue()
        stop = threading.Event()

        def tell(progress: Progress) -> None:
            if stop.is_set():
                raise Stopped
            events.put(progress)

        def work() -> None:
            try:
                with self._turn(tell), Stoppable(stop):
                    events.put(self._work(request, folder, tell))
            except BaseException as error:  # being stopped may come out as an error of any kind
                events.put(Stopped() if stop.is_set() else error)

        run = _Run(threading.Thread(target=work, daemon=True), stop)
        self._runs[session] = run
        run.thread.start()
        try:
            yield from _latest(events)
        finally:
            stop.set()
            run.thread.join()
            shutil.rmtree(folder, ignore_errors=True)
            if self._runs.get(session) is run:
                del self._runs[session]

    @contextmanager
    def _turn(self, tell: Callable[[Progress], None]) -> Iterator[None]:
        """Wait for the other runs to end, and hold off the next."""
        while not self._one_at_a_time.acquire(timeout=0.2):
            tell(Progress("wait", 0, 1))
        try:
            yield
        finally:
            self._one_at_a_time.release()

    def stop(self, session: str) -> None:
        """The session's run, if there is one, ends before its next call of torch."""
        if session in self._runs:
            self._runs[session].stop.set()

    def close(self) -> None:
        """Stop all, and wait for them."""
        for run in list(self._runs.values()):
            run.stop.set()
            run.thread.join()


def _latest(
    events: "SimpleQueue[Progress | Outcome | BaseException]",
) -> Iterator[Progress | Outcome]:
    """The events up to the outcome; of several that arrived meanwhile, only the last."""
    last: Progress | Outcome | BaseException = events.get()
    while True:
        while isinstance(last, Progress) and not events.empty():
            last = events.get()
        if isinstance(last, BaseException):
            raise last
        yield last
        if isinstance(last, Outcome):
            return
        last = events.get()
