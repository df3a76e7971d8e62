"""The page in a browser: at the width of a desk and of a phone, in the light and in the dark.

Needs `pip install 'tooltrain[browser]'` and a Chromium: the system's, or the one that
`playwright install chromium` fetches. Screenshots stay in pytest's temporary directory.
"""

import shutil

import pytest

from tests.report.conftest import gold, nothing, write_stage, wrong_vehicle
from tests.report.tables_test import benchmark, interval
from tooltrain.report import tables
from tooltrain.report.page import write_report

api = pytest.importorskip("playwright.sync_api")
pytestmark = pytest.mark.slow

WIDTHS = {"desk": 1280, "phone": 390}
# Least contrast of what is read: 7 of text, 4.5 of what stands beside it (WCAG AAA, AA).
READ = {"h1": 7, "p": 4.5, ".fault": 4.5, "mark": 7, "td": 7, "td small": 4.5, "summary": 4.5}
# How far the ink stands out from the paper (WCAG 2.2, contrast ratio), of the element's own
# color and the nearest background that is not transparent.
CONTRAST = """
element => {
  const channels = color => color.match(/[\\d.]+/g).map(Number);
  const light = color => {
    const [r, g, b] = channels(color).slice(0, 3).map(c => c / 255)
      .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const solid = color => (channels(color)[3] ?? 1) === 1;
  const ink = light(getComputedStyle(element).color);
  while (!solid(getComputedStyle(element).backgroundColor)) element = element.parentElement;
  const paper = light(getComputedStyle(element).backgroundColor);
  return [(Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05), paper];
}
"""


@pytest.fixture(scope="module")
def browser():
    with api.sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("google-chrome")
        try:
            # No sandbox: a container's root user has none, and the page is ours.
            started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except api.Error as error:
            pytest.skip(f"no Chromium could be started: {str(error).splitlines()[0]}")
        yield started
        started.close()


def one_run(workdir):
    path = workdir("run", sft=wrong_vehicle, grpo=gold)
    write_stage(path, "sft", [{"step": i, "loss": 1 / i, "eval/loss": 2 / i} for i in range(1, 9)])
    return [path]


def several_runs(workdir):
    """Long names, every kind of section, a policy's hostile text."""
    players = {"learning_rate_0.0001_without_entropy_bonus": wrong_vehicle, "b": nothing, "c": gold}
    paths = [workdir(name, sft=player, grpo=player) for name, player in players.items()]
    for seed, path in enumerate(paths):
        lines = [{"step": i, "reward": i / 9, "entropy": 1 / i} for i in range(1, 9)]
        write_stage(path, "grpo", lines, seed=seed, grpo={"steps": 8, "reward": "x" * 200})
    scores = {name: interval(0.5) for name in tables.COMPLEXFUNCBENCH}
    groups = {"Car-Rental": {"samples": 40, **scores}}
    summary = {
        "identity": {"player": "grpo", "distractors": 2, "view": [80, 2, 64]},
        "samples": 40,
        "overall": {"samples": 40, **scores},
        **dict.fromkeys(("by_domain", "by_turns", "by_calls"), groups),
        "outcomes": {"success": 30, "malformed": 10},
    }
    benchmark(paths[0], "complexfuncbench", "grpo", summary)
    row = {"tests": 20, **interval(0.3)}
    rows = {"live_parallel_multiple": row, "simple_python": row}
    found = {"identity": {}, "by_category": rows, "errors": {"wrong_function_name": 9}}
    benchmark(paths[1], "bfcl", "grpo", found)
    return paths


@pytest.mark.parametrize("runs", [one_run, several_runs])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_can_be_read(runs, width, scheme, browser, workdir, tmp_path):
    file = write_report(runs(workdir), tmp_path / "page.html")
    context = browser.new_context(
        viewport={"width": WIDTHS[width], "height": 844},
        color_scheme=scheme,
        is_mobile=width == "phone",
    )
    context.set_default_timeout(600_000)  # ms: drawing takes a busy machine a while
    page, said, loaded = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: loaded.append(request.url))
    page.goto(file.as_uri())
    folded = page.locator("details")
    assert folded.count() > 3
    folded.evaluate_all("all => all.forEach(details => { details.open = true })")
    picture = page.screenshot(path=tmp_path / f"{width}_{scheme}.png", full_page=True)

    assert said == []
    assert loaded == [file.as_uri()]
    assert len(picture) > 50_000  # something was drawn
    # Wide tables scroll within themselves; the page does not.
    assert page.evaluate("document.documentElement.scrollWidth") == WIDTHS[width]
    outside = "all => all.filter(e => e.getBoundingClientRect().right > innerWidth + 1).length"
    assert page.locator("h1, h2, p, svg, pre, blockquote, .wide, .turn").evaluate_all(outside) == 0
    for what, least in {
        "h1": 7,
        "p": 4.5,
        ".fault": 4.5,
        "mark": 7,
        "td": 7,
        "td small": 4.5,
    }.items():
        if found := page.locator(what).all():
            contrast, paper = found[0].evaluate(CONTRAST)
            assert contrast >= least, what
            assert (paper < 0.1) == (scheme == "dark") or what == "mark", what
    context.close()
