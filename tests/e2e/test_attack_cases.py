"""Every attack case of the data files against the running program, with a canary after each.

The cases are spread over a few gateways that run side by side; each test judges one outcome.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from tests.support.attack_case import AttackCase, load_cases
from tests.support.attack_stage import AttackStage
from tests.support.attack_verdict import problems

DATA = Path(__file__).parent / "data"
CASES = [*load_cases(DATA / "attack_cases.jsonl"), *load_cases(DATA / "more_attack_cases.jsonl")]
STAGES = 3


class Runner:
    """Runs cases on whichever stage is free."""

    def __init__(self, stages: list[AttackStage], cases: list[AttackCase]) -> None:
        self._free: queue.SimpleQueue[AttackStage] = queue.SimpleQueue()
        for stage in stages:
            self._free.put(stage)
        self._pool = ThreadPoolExecutor(len(stages))
        # The slow ones first, so that none of them is left over at the end.
        ordered = sorted(cases, key=lambda case: "{WAIT" not in case.raw)
        self._results: dict[str, Future[list[str]]] = {case.id: self._pool.submit(self._run, case) for case in ordered}

    def _run(self, case: AttackCase) -> list[str]:
        stage = self._free.get()
        try:
            return problems(stage.run(case), stage)
        finally:
            self._free.put(stage)

    def problems(self, case: AttackCase) -> list[str]:
        """Return what was wrong with a case, waiting for its turn."""
        return self._results[case.id].result(120)

    def close(self) -> None:
        """Wait for what runs, drop what does not."""
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="module")
def stages(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[AttackStage]]:
    """Start the gateways and their upstreams."""
    with ExitStack() as stack:
        folders = [tmp_path_factory.mktemp("attack") for _ in range(STAGES)]
        yield [stack.enter_context(closing(AttackStage(folder))) for folder in folders]


@pytest.fixture(scope="module")
def runner(request: pytest.FixtureRequest, stages: list[AttackStage]) -> Iterator[Runner]:
    """Run the cases that were selected."""
    given = [item.callspec.params.get("case") for item in request.session.items if hasattr(item, "callspec")]
    wanted = {case.id for case in given if isinstance(case, AttackCase)}
    running = Runner(stages, [case for case in CASES if case.id in wanted])
    yield running
    running.close()


def test_case_ids_are_unique() -> None:
    """No case hides another."""
    assert len({case.id for case in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_attack(case: AttackCase, runner: Runner) -> None:
    """The gateway does what the case expects, lives on, and logs neither traceback nor secret."""
    found = runner.problems(case)
    assert not found, "\n".join([f"{case.id} {case.expect}: {case.note}", *found])


def test_logs_hold_no_secret_in_the_end(runner: Runner, stages: list[AttackStage]) -> None:
    """What is logged late holds no cookie, password or query value either."""
    runner.close()
    for stage in stages:
        text = stage.gateway.log_text()
        for secret in (stage.secrets.cookie_value, "hunter2", "SECRETCODE", "correct horse", "battery staple"):
            assert secret not in text
