"""`python -m bench [--quick] [--rounds N] [--rivals litellm,portkey,smg,NAME=COMMAND@HOST:PORT]`."""

from __future__ import annotations

import argparse
import contextlib
import os
from pathlib import Path
import resource
import sys
import tempfile

from bench import rivals, scrape
from bench.report import print_report, write_report
from bench.rounds import Results, measure_idle, measure_rounds
from bench.servers import (
    Accounting,
    BenchError,
    Cores,
    Direct,
    Nginx,
    Sluicegate,
    Upstreams,
    build_load,
    has_nginx,
)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--rounds", type=int, help="alternating rounds; the median is reported (5; quick: 2)")
    parser.add_argument("--rivals", default="", help="by name, installed when asked, or NAME=COMMAND@HOST:PORT")
    parser.add_argument("--quick", action="store_true", help="about two minutes: a glance, no record")
    parser.add_argument("--only", default="", help="scenarios by name, comma-separated")
    parser.add_argument("--strict", action="store_true", help="fail if a floor is missed")
    arguments = parser.parse_args()
    arguments.quick = arguments.quick or os.environ.get("QUICK") == "1"
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 5)
    return arguments


def main() -> int:
    arguments = parse_arguments()
    # 2,000 idle streams are 4,000 descriptors in a proxy.
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    if not has_nginx():
        raise BenchError("nginx is missing: apt-get install nginx-light")
    cores, load = Cores.choose(), build_load()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sluicegate-bench-")))
        upstreams = stack.enter_context(Upstreams.start(load, folder, cores))
        proxies = [proxy(folder, upstreams, cores) for proxy in (Nginx, Sluicegate, Accounting)]
        proxies += rivals.find(arguments.rivals, folder, upstreams, cores)
        results = Results(load, cores, quick=arguments.quick, only=tuple(filter(None, arguments.only.split(","))))
        measure_rounds(results, [*proxies, Direct(upstreams)], arguments.rounds)
        if results.wants("scrape"):
            with Sluicegate(folder, upstreams, cores) as gateway:
                results.scrape = scrape.measure(gateway)
        measure_idle(results, proxies, min(arguments.rounds, 1 if arguments.quick else 3))
        wrong = print_report(results, proxies, strict=arguments.strict)
        write_report(results, proxies, Path("bench/results"))
    return 1 if wrong else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BenchError as error:
        sys.exit(f"bench: {error}")
