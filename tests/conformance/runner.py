"""Runs checks and collects their verdicts, within bounded time, leaving nothing behind."""

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from conformance.bench import Bench
from conformance.criteria import Criterion, read_contract
from conformance.description import Description
from conformance.process import StartError
from conformance.registry import Check, FailedError, NotApplicableError, Result, Verdict, all_checks
from conformance.whitebox import WHITE_BOX
from conformance.wire import WireError

OWN_LANES = 2
"""How many checks with instances of their own run beside the one that uses the shared instance."""

_ORDER = (Verdict.ERROR, Verdict.FAIL, Verdict.PASS, Verdict.NOT_APPLICABLE, Verdict.WHITE_BOX)

Progress = Callable[[Result], None]


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of a run: every criterion of the contract that was asked for, with its results."""

    description: Description
    criteria: dict[str, Criterion]
    results: dict[str, list[Result]]
    seconds: float

    def verdict(self, criterion: str) -> Verdict:
        """Return the worst verdict among a criterion's checks."""
        found = {result.verdict for result in self.results[criterion]}
        if not found:
            return Verdict.WHITE_BOX
        return next(verdict for verdict in _ORDER if verdict in found)

    def verdicts(self) -> dict[str, Verdict]:
        """Return the verdict of every criterion."""
        return {criterion: self.verdict(criterion) for criterion in self.results}

    @property
    def holds(self) -> bool:
        """Return whether nothing failed and something was judged."""
        found = set(self.verdicts().values())
        return not found & {Verdict.FAIL, Verdict.ERROR} and Verdict.PASS in found


class SelectionError(Exception):
    """No check or criterion of that name."""


def select(names: Iterable[str]) -> list[Check]:
    """Return the checks of the named areas (`B`), criteria (`B3`) or check functions; all of them without a name.

    Raises:
        SelectionError: a name stands for nothing.
    """
    wanted = [name.strip() for name in names if name.strip()]
    checks = all_checks()
    if not wanted:
        return list(checks)
    for name in wanted:
        if not any(_matches(check, name) for check in checks) and name not in WHITE_BOX:
            raise SelectionError(f"no criterion and no check is called {name!r}; see --list")
    return [check for check in checks if any(_matches(check, name) for name in wanted)]


def _matches(check: Check, name: str) -> bool:
    return name in (check.criterion, check.criterion[0], check.name)


async def run_suite(
    description: Description, only: Sequence[str] = (), progress: Progress = lambda result: None
) -> Report:
    """Run the selected checks against the described service.

    Raises:
        SelectionError: `only` names something that does not exist.
    """
    selected = select(only)
    contract = read_contract()
    started = time.monotonic()
    results: list[Result] = []

    def note(result: Result) -> None:
        results.append(result)
        progress(result)

    able = description.capabilities
    for check in selected:
        if not check.needs <= able:
            lacking = ", ".join(sorted(check.needs - able))
            note(Result(check, Verdict.NOT_APPLICABLE, f"the service has no {lacking}"))
    applicable = [check for check in selected if check.needs <= able]
    bench = Bench(description)
    try:
        problem = await _preflight(bench) if applicable else None
        if problem is None:
            await _run_all(bench, applicable, note)
        else:
            for number, check in enumerate(applicable):
                note(
                    Result(check, Verdict.ERROR, problem[0], 0.0, problem[1] if number == 0 else ())
                )
    finally:
        await bench.close()
    wanted = {check.criterion for check in selected} | set(only) & set(WHITE_BOX)
    listed = [name for name in contract if name in wanted or not only]
    grouped = {
        name: [result for result in results if result.check.criterion == name] for name in listed
    }
    return Report(description, contract, grouped, time.monotonic() - started)


async def _preflight(bench: Bench) -> tuple[str, tuple[str, ...]] | None:
    try:
        rig = await bench.rig()
        await rig.client.get("/health/live", within=5)
    except StartError as error:
        return f"the service cannot be judged: {error}", error.output
    except WireError as error:
        rigs = bench.rigs[-1:]
        output = rigs[0].process.tail() if rigs and rigs[0].process else ()
        return f"the service cannot be judged: {error}", output
    return None


async def _run_all(bench: Bench, checks: Sequence[Check], note: Progress) -> None:
    together = [check for check in checks if not check.alone and not check.last]
    queues = [
        iter([check for check in together if not check.own]),
        *[iter([check for check in together if check.own])] * OWN_LANES,
    ]

    async def work(queue: Iterable[Check]) -> None:
        for check in queue:
            note(await _run(bench, check))

    async with asyncio.TaskGroup() as group:
        for queue in queues:
            group.create_task(work(queue))
    await work([check for check in checks if check.alone and not check.last])
    await work([check for check in checks if check.last])


async def _run(bench: Bench, check: Check) -> Result:
    used = bench.watch()
    started = time.monotonic()
    verdict = Verdict.ERROR
    output: tuple[str, ...] = ()
    try:
        async with asyncio.timeout(check.within):
            measured = await check.run(bench)
            verdict = Verdict.PASS
    except FailedError as error:
        verdict, measured = Verdict.FAIL, str(error)
    except NotApplicableError as error:
        verdict, measured = Verdict.NOT_APPLICABLE, str(error)
    except StartError as error:
        measured, output = str(error), error.output
    except WireError as error:
        verdict, measured = Verdict.FAIL, str(error)
    except TimeoutError:
        measured = f"the check did not come to an end within {check.within:g} s"
    except Exception as error:
        measured = f"{type(error).__name__}: {error}"
    if verdict in (Verdict.FAIL, Verdict.ERROR) and not output and used and used[-1].process:
        output = used[-1].process.tail()
    return Result(check, verdict, measured, time.monotonic() - started, output)
