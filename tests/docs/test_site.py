"""The site builds without a warning, and shows what the packages export."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
pytest.importorskip("sphinx")


@pytest.fixture(scope="module")
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", "-d", str(folder / "trees"), "."]
    done = subprocess.run([*words, str(folder / "html")], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-6000:]
    yield folder / "html"


def test_every_page_is_on_the_site(site: Path, root: Path) -> None:
    pages = [*root.glob("docs/**/*.md"), *root.glob("packages/*/docs/*.md"), *root.glob("packages/*/README.md")]
    lacking = [page for page in pages if not (site / page.relative_to(root)).with_suffix(".html").is_file()]
    assert len(pages) > 30 and not lacking
    assert 'url=docs/index.html"' in (site / "index.html").read_text()


@pytest.mark.parametrize(
    ("package", "name"),
    [
        ("core", "internlm2_core.LM"),
        ("core", "internlm2_core.LM.training_step"),
        ("align", "internlm2_align.RewardModel"),
        ("align", "internlm2_align.PPOSystem"),
        ("data", "internlm2_data.PackedBatches"),
        ("parallel", "internlm2_parallel.MeshStrategy"),
        ("records", "internlm2_records.read_records"),
    ],
)
def test_the_reference_shows_public_names_with_types(site: Path, package: str, name: str) -> None:
    page = (site / f"docs/reference/{package}.html").read_text()
    _, found, rest = page.partition(f'id="{name}"')
    assert found
    assert 'class="pre">' in rest.partition("</dt>")[0] and "sig-param" in rest.partition("</dt>")[0]


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    text = (site / "docs/index.html").read_text()
    assert 'src="http' not in text and 'rel="stylesheet" type="text/css" href="http' not in text
