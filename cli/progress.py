"""Progress bars on stderr: only on a terminal, and only for work that takes longer than two seconds."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from cli.launch import is_main_process
from schemas.progress import Advance, Progress, silent

__all__ = ["shown_progress"]

DELAY_S: Final = 2.0


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Progress drawn on stderr; none where stderr is not a terminal, or another process of the run draws it."""
    if not sys.stderr.isatty() or not is_main_process():
        yield silent
        return
    with _open_bars() as open_bar:
        yield open_bar


@contextmanager
def _open_bars() -> Iterator[Progress]:
    from rich.console import Console, RenderableType
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    class SlowBars(Bars):
        """Bars that stay hidden until their task has run for a while."""

        def get_renderables(self) -> Iterator[RenderableType]:
            """A table of the tasks that are slow."""
            yield self.make_tasks_table([task for task in self.tasks if (task.elapsed or 0) > DELAY_S])

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with SlowBars(*columns, console=Console(stderr=True), transient=True) as bars:

        @contextmanager
        def open_bar(description: str, total: int | None = None) -> Iterator[Advance]:
            """A bar for one task, gone when the task is."""
            from cli.render import clean

            task = bars.add_task(clean(description), total=total)
            try:
                yield lambda units: bars.advance(task, units)
            finally:
                bars.remove_task(task)

        yield open_bar
