"""Watching a run: JSON lines, TensorBoard, a progress bar, and the stop at NaN.

metrics.jsonl   what the run computed: the same seed gives the same bytes
alarms.jsonl    what `alarms.Alarms` saw in it, if anything
timing.jsonl    what the clock said: seconds and rates, never the same twice
tensorboard/    both
"""

from __future__ import annotations

import json
import math
import pathlib
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import tqdm
from tensorboardX import SummaryWriter

from tooltrain.errors import UserError
from tooltrain.train.alarms import Alarms
from tooltrain.train.checkpoint import truncate_lines


class MetricsWriter:
    """Metrics of one stage, one step late: numbers are fetched after the next step was
    dispatched, so the devices never wait for the host. A context manager.

    name: of the stage. resumed_step: lines after it are dropped; None: all are. show:
    metrics for the progress bar. log_every_steps: which steps get a line; every step is
    checked for NaN. quiet: nothing is written or shown, which a process does that is not
    the first of its run.
    """

    def __init__(
        self,
        directory: pathlib.Path,
        name: str,
        *,
        resumed_step: int | None,
        total_steps: int,
        log_every_steps: int,
        show: Sequence[str],
        quiet: bool = False,
    ):
        self._directory = directory
        self._name = name
        self._total_steps = total_steps
        self._log_every_steps = log_every_steps
        self._show = tuple(show)
        self._pending: tuple[int, dict[str, Any], dict[str, float]] | None = None
        self._shown: dict[str, float] = {}
        self._last_finite: dict[str, float] = {}
        self._clock = time.perf_counter()
        self._quiet = quiet
        self._alarms = Alarms()
        if not quiet:
            self._open(resumed_step)
        self._bar = tqdm.tqdm(
            disable=quiet,
            total=total_steps,
            initial=resumed_step or 0,
            desc=name,
            unit="step",
            dynamic_ncols=True,
            # A log file should not get ten lines a second.
            mininterval=0.5 if sys.stderr.isatty() else 15.0,
        )

    def _open(self, resumed_step: int | None) -> None:
        for file in ("metrics.jsonl", "timing.jsonl", "alarms.jsonl"):
            truncate_lines(self._directory / file, resumed_step)
        metrics = self._directory / "metrics.jsonl"
        if resumed_step is not None and metrics.is_file():
            for line in metrics.read_text().splitlines():
                self._alarms.see(json.loads(line))  # told before
        self._metrics = metrics.open("a")
        self._timing = (self._directory / "timing.jsonl").open("a")
        self._board = SummaryWriter(
            str(self._directory / "tensorboard"),
            purge_step=(resumed_step or 0) + 1,
            write_to_disk=True,
        )

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(self, kind, *unused) -> None:
        if kind is None:
            self.flush()
        self._bar.close()
        if not self._quiet:
            self._board.close()
            self._metrics.close()
            self._timing.close()

    def writes(self, step: int) -> bool:
        """Whether the metrics of this step get a line."""
        return step % self._log_every_steps == 0 or step == self._total_steps

    def step(
        self, step: int, metrics: Mapping[str, Any], timing: Mapping[str, float] | None = None
    ) -> None:
        """Takes the metrics of a step that was just dispatched; writes those of the one before.

        metrics: numbers or device scalars. timing: seconds by part, and `tokens`, from which
        tokens_per_second is made; seconds of the whole step are added.
        Raises UserError when a metric of the step before is NaN or infinite.
        """
        self.flush()
        now = time.perf_counter()
        timing = {"seconds": now - self._clock, **(timing or {})}
        self._clock = now
        if "tokens" in timing:
            timing["tokens_per_second"] = timing.pop("tokens") / timing["seconds"]
        self._pending = (step, dict(metrics), timing)

    def flush(self) -> None:
        """Waits for the last step's metrics, checks and writes them."""
        if self._pending is None:
            return
        (step, metrics, timing), self._pending = self._pending, None
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self._check_finite(step, values)
        self._last_finite = values
        if self.writes(step):
            self._write(step, values, timing)
        self._show_numbers(values)
        self._bar.update(step - self._bar.n)

    def evaluation(self, step: int, metrics: Mapping[str, float], seconds: float) -> None:
        """Writes an evaluation made after `step`, under names eval/<metric>."""
        self.flush()
        values = {f"eval/{name}": float(value) for name, value in metrics.items()}
        self._write(step, values, {"eval/seconds": seconds})
        self._show_numbers(values)
        self._clock += seconds  # not part of the next step

    def _write(self, step: int, values: dict[str, float], timing: dict[str, float]) -> None:
        if self._quiet:
            return
        for file, numbers in ((self._metrics, values), (self._timing, timing)):
            file.write(json.dumps({"step": step, **dict(sorted(numbers.items()))}) + "\n")
            file.flush()
            for name, value in numbers.items():
                self._board.add_scalar(f"{self._name}/{name}", value, step)
        for alarm, message in self._alarms.see(values).items():
            with (self._directory / "alarms.jsonl").open("a") as file:
                file.write(json.dumps({"step": step, "alarm": alarm, "message": message}) + "\n")
            self._bar.write(f"{self._name}: {alarm} at step {step}: {message}", file=sys.stderr)

    def _show_numbers(self, values: dict[str, float]) -> None:
        for name in self._show:
            if name in values:
                self._shown[name] = values[name]
        self._bar.set_postfix({k: f"{v:.3g}" for k, v in self._shown.items()}, refresh=False)

    def _check_finite(self, step: int, values: dict[str, float]) -> None:
        bad = {name: value for name, value in values.items() if not math.isfinite(value)}
        if not bad:
            return
        raise UserError(
            f"{self._name} stopped: {_numbers(bad)} at step {step} of {self._total_steps}; the "
            f"step before had {_numbers(self._last_finite) or 'no metrics'}. Look at grad_norm "
            f"over the last steps in {self._directory / 'metrics.jsonl'}: if it rises, lower the "
            "learning rate, lengthen the warmup or clip harder; if it does not, look at this "
            "step's batch. No checkpoint was made of the bad state; what can be resumed is in "
            f"{self._directory / 'checkpoints'}"
        )


class Clock:
    """Seconds between laps; those of one name add up."""

    def __init__(self):
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._last
        self._last = now


def _numbers(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in sorted(values.items()))
