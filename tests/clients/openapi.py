"""Generates a client from the server's OpenAPI document and uses it.

Called by `tests/it/serve_api.rs` with the server's address; the secret of a marketer is in the environment. Installs the
generator into a virtual environment under `target/`; without a registry it says what it skips. Exit code 1 is a document
that the generator does not accept whole, or a client that got something else.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.request

import installed

PACKAGES = ["openapi-python-client", "openapi-spec-validator", "ruff"]


def ensure_packages():
    """Goes on in a virtual environment that has the generator."""
    if not installed.go_on_with("openapi-venv", PACKAGES):
        print("skipped: the generator cannot be installed from PyPI")
        sys.exit(0)


def expect(what, found, wanted):
    if found != wanted:
        sys.exit(f"{what}: got {found!r}, not {wanted!r}")


def generate(http, folder):
    """The client's package, below `folder`; the generator has nothing to remark on."""
    tools = pathlib.Path(sys.executable).parent
    environment = {**os.environ, "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
    document = folder / "openapi.json"
    with open(document, "wb") as file:
        file.write(fetched(f"http://{http}/api/v1/openapi.json"))
    subprocess.run([tools / "openapi-spec-validator", document], check=True)
    command = [tools / "openapi-python-client", "generate", "--path", document, "--output-path", folder / "client", "--fail-on-warning"]
    subprocess.run(command, check=True, env=environment)
    sys.path.insert(0, str(folder / "client"))


def fetched(url):
    with urllib.request.urlopen(url) as answer:
        return answer.read()


def use(http, secret):
    from alluvial_client import AuthenticatedClient
    from alluvial_client.api.exports import get_export, list_exports
    from alluvial_client.api.segments import get_audience, get_segment, list_segments
    from alluvial_client.api.server import get_freshness, get_health
    from alluvial_client.models import Problem

    client = AuthenticatedClient(base_url=f"http://{http}", token=secret)
    listed = list_segments.sync(client=client)
    members = {segment.id: segment.members for segment in listed.segments}
    expect("members of `everyone`", members["everyone"], 11)
    expect("one segment", get_segment.sync("everyone", client=client).members, 11)
    expect("a segment that is not there", get_segment.sync("nobody-here", client=client).code, "segment.not_published")
    audience = get_audience.sync_detailed("everyone", client=client, format_="email")
    expect("an audience", (audience.status_code, b"Ann@Example.com" in audience.content), (200, True))
    wrong = get_audience.sync("everyone", client=client, format_="emial")
    expect("a format that is not there", (type(wrong), wrong.status), (Problem, 400))
    kept = list_exports.sync(client=client).exports
    expect("the ledger", [export.export_id for export in kept], [audience.headers["alluvial-export-id"]])
    expect("an export", get_export.sync(kept[0].export_id, client=client).export_id, kept[0].export_id)
    expect("health", get_health.sync(client=client).status, "ok")
    expect("freshness", type(get_freshness.sync(client=client)).__name__, "Freshness")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--http", required=True)
    args = parser.parse_args()
    ensure_packages()
    with tempfile.TemporaryDirectory() as folder:
        generate(args.http, pathlib.Path(folder))
        use(args.http, os.environ["ALLUVIAL_TEST_SECRET"])
    print("the generated client agrees")


if __name__ == "__main__":
    main()
