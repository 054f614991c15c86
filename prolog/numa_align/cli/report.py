"""``numa-align report``: sums of the samples of some days."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Optional

import click

from ..errors import AuditError, RequestError

if TYPE_CHECKING:
    from ..audit.report import Estimate


@click.command(
    short_help="Sum up GPU hours by state from logged samples.",
    epilog="Example: numa-align report --days 7 /var/log/numa-align/samples.json",
)
@click.argument("logs", nargs=-1, required=True, metavar="LOG...", type=click.Path(path_type=Path))
@click.option(
    "--days",
    type=click.FloatRange(min=0, min_open=True),
    default=7.0,
    show_default=True,
    help="How many days back to look.",
)
@click.option(
    "--worst", type=click.IntRange(min=0), default=10, show_default=True, help="How many jobs to name."
)
@click.option(
    "--html", "page", metavar="FILE", type=click.Path(path_type=Path), help="Write one page of HTML."
)
@click.option(
    "--bench",
    "measured",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Estimate the maximum loss from this output of `numa-align bench --json` on one of your nodes.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON; docs/audit.md has the schema.")
def command(
    *,
    logs: tuple[Path, ...],
    days: float,
    worst: int,
    page: Optional[Path],
    measured: Optional[Path],
    as_json: bool,
) -> None:
    """Sum up GPU hours by state, user and partition, and list the worst jobs with the line to change.

    LOG is what `numa-align audit --log` wrote, or a folder with the logs of several nodes. The loss is
    estimated only from measurements of your own (--bench).
    Exit status: 0, or 2 if the logs cannot be read.
    """
    from ..audit.log import read_logs  # noqa: PLC0415
    from ..audit.report import make_report  # noqa: PLC0415

    now = time.time()
    report = make_report(read_logs(logs), now - days * 86400, now, worst)
    estimate = None if measured is None else _estimate(report.misplaced, measured)
    if page is not None:
        from ..view.audit import report_page  # noqa: PLC0415

        try:
            page.write_text(report_page(report, estimate), encoding="utf-8")
        except OSError as error:
            raise AuditError(f"{page}: cannot be written: {error.strerror}") from error
    elif as_json:
        estimated = None if estimate is None else asdict(estimate)
        click.echo(json.dumps({"version": 1, **asdict(report), "estimate": estimated}))
    else:
        from ..view.audit import show_report  # noqa: PLC0415
        from ..view.lists import console_here  # noqa: PLC0415

        console_here().print(show_report(report, estimate))


def _estimate(misplaced: float, file: Path) -> Estimate:
    from ..audit.report import Estimate  # noqa: PLC0415
    from ..bench.as_json import read_local_and_remote  # noqa: PLC0415

    try:
        rates = read_local_and_remote(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise RequestError(f"{file}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, RequestError) as error:
        why = error if isinstance(error, RequestError) else "this is not text"
        raise RequestError(f"{file}: {why}") from error
    return Estimate(misplaced, misplaced * rates.loss, rates.what, rates.local, rates.remote)
