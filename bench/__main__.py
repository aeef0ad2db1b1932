"""Run the benchmark: ``python -m bench [--quick] [--only CASE] [--contestants NAME]``."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click

from bench import machine, report, upstream
from bench.cases import CASES, NAMES
from bench.contestants import ours
from bench.load import Wrk
from bench.process import BenchError, raise_file_limit
from bench.stage import BROWSER, FULL, QUICK, Plan, Stage, cookies
from bench.tokens import renewed

HERE = Path(__file__).resolve().parent
WORK = HERE / "out"
NO_SESSION = "v1." + "A" * 360
"""What the others are sent where the gateway does not take part."""


def cores() -> tuple[int, int]:
    """Return the core for the contestants and the one for all else. Raises BenchError."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise BenchError("two cores are needed: one for the proxy, one for the load")
    return allowed[0], allowed[1]


def check_tools() -> None:
    """Raise BenchError where a program is missing."""
    missing = [name for name in ("nginx", "taskset", "wrk") if shutil.which(name) is None]
    if missing:
        raise BenchError(f"not installed: {', '.join(missing)} (Debian: apt-get install nginx-light util-linux wrk)")


def run(plan: Plan, cases: Sequence[str], names: Sequence[str]) -> Stage:
    """Go through the cases; one that fails does not stop the others, and whatever was started is ended."""
    core, load_core = cores()
    os.sched_setaffinity(0, {load_core})  # this program itself must not disturb what it measures
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    with upstream.running(WORK / "upstream", load_core) as behind:
        scene = ours.prepare(WORK / "ours", core, behind.port, behind.sink_port) if "ours" in names else None
        token = NO_SESSION
        if scene:
            with ours.running(scene, "ours-login") as gateway:
                token = renewed(scene.key, ours.session_token(gateway))
        headers = {**BROWSER, "Cookie": cookies(token)}
        stage = Stage(WORK, core, load_core, plan, Wrk(load_core, headers), behind, scene, headers)
        for case in CASES:
            if not cases or case.name in cases:
                try:
                    case.run(stage, names)
                except BenchError as error:
                    stage.failures.append(f"{case.name}: {error}")
                    print(f"bench: {stage.failures[-1]}", file=sys.stderr)
    return stage


def ended(number: int, _: object) -> None:
    """Turn a signal into an exception, so that everything started is ended."""
    raise SystemExit(128 + number)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--quick", is_flag=True, help="Measure for two or three minutes; the figures are rough.")
@click.option("--only", "cases", multiple=True, type=click.Choice([case.name for case in CASES]), help="One case.")
@click.option("--contestants", "names", multiple=True, type=click.Choice(NAMES), help="One contestant.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Folder for the results.")
def main(quick: bool, cases: tuple[str, ...], names: tuple[str, ...], out: Path | None) -> None:
    """Measure the gateway beside other proxies, and write RESULTS.md and results.json.

    A run that is not whole, or in which something failed, writes to bench/out and leaves the published results.
    """
    signal.signal(signal.SIGTERM, ended)
    started = time.monotonic()
    try:
        check_tools()
        raise_file_limit()
        stage = run(QUICK if quick else FULL, cases, names or NAMES)
    except BenchError as error:
        sys.exit(f"bench: {error}")
    whole = not (quick or cases or names or stage.failures)
    file = report.write(stage, machine.machine(), machine.versions(), out or (HERE if whole else WORK))
    print(f"wrote {file} after {time.monotonic() - started:.0f} s")
    if stage.failures:
        sys.exit("bench: not everything could be measured")


if __name__ == "__main__":
    main()
