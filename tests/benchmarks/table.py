"""The results as tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable

from tests.benchmarks.harness import Result, Target


def tables(results: Iterable[Result]) -> str:
    """Return a section for each result."""
    return "\n".join(_section(result) for result in results)


def verdicts(results: Iterable[Result]) -> str:
    """Return one table of all targets and whether they were met."""
    lines = ["| case | N | target | measured | met |", "| --- | ---: | --- | ---: | --- |"]
    for result in results:
        for target in result.targets:
            ratio = result.ratio(target)
            met = "yes" if ratio <= target.limit else "**no**"
            lines.append(f"| {result.case} | {result.n:,} | {_sentence(target)} | {ratio:.3g} | {met} |")
    return "\n".join(lines) + "\n"


def _section(result: Result) -> str:
    rounds = max(len(samples) for samples in result.samples.values())
    lines = [
        f"### {result.case}, N = {result.n:,}",
        "",
        f"{result.title}; dagger {result.revision}, {rounds} {'round' if rounds == 1 else 'rounds'}.",
        "",
        f"| | median {result.unit} | least | ± | CPU s | peak MiB |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name in result.samples:
        cpu, peak = result.median(name, "cpu"), result.median(name, "peak")
        lines.append(
            f"| {name} | {_number(result.median(name))} | {_number(result.least(name))} | {result.spread(name):.0%} "
            f"| {_number(cpu) if cpu else ''} | {peak / 2**20:.0f} |"
        )
    lines.append("")
    if result.targets:
        lines += ["| target | median | of least | of CPU | met |", "| --- | ---: | ---: | ---: | --- |"]
        lines += [_verdict(result, target) for target in result.targets] + [""]
    lines += [f"- {note}" for note in result.notes] + ([""] if result.notes else [])
    return "\n".join(lines)


def _verdict(result: Result, target: Target) -> str:
    ratio = result.ratio(target)
    met = "yes" if ratio <= target.limit else "**no**"
    if not target.against:
        return f"| {_sentence(target)} | {ratio:.3g} | | | {met} |"
    least = result.least(target.subject, target.by) / result.least(target.against, target.by)
    spent = result.median(target.against, "cpu")
    cpu = f"{result.median(target.subject, 'cpu') / spent:.3g}" if spent else ""
    return f"| {_sentence(target)} | {ratio:.3g} | {least:.3g} | {cpu} | {met} |"


def _sentence(target: Target) -> str:
    what = "" if target.by == "value" else f"{target.by} of "
    against = f" x {target.against}" if target.against else ""
    return f"{what}{target.subject} ≤ {_number(target.limit)}{against}"


def _number(value: float) -> str:
    if value and abs(value) < 0.01:
        return f"{value:.2g}"
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
