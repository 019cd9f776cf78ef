"""The page of a plan: strict HTML, nothing loaded from anywhere, everything escaped, and it fits a phone."""

import html
import re
import shutil
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hosts.problem import Problem
from hosts.schema import load_yaml
from infra import page, shown, spec, view
from infra.reading import Reading

VOID = {"meta", "br", "hr", "img", "input", "line", "rect"}
SELF_CLOSED = {"line", "rect"}
"""Of SVG, which end with `/>` where they hold nothing."""
LOADS = ("src", "href", "xlink:href", "srcset", "data", "action", "poster", "background", "style")
BROWSER = next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), "")
PHONE, DESKTOP = 390, 1440


class Strict(HTMLParser):
    """Refuses a page whose elements are not closed in order, and keeps what it names."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.names: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """An element begins."""
        assert len({name for name, _ in attrs}) == len(attrs), f"{tag} says something twice"
        self.names.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID or (tag in SELF_CLOSED and not self.get_starttag_text().endswith("/>")):  # type: ignore[union-attr]
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """An element ends."""
        if tag in SELF_CLOSED and (not self.open or self.open[-1] != tag):
            return  # `/>` tells of both
        assert self.open, f"</{tag}> ends nothing"
        assert self.open.pop() == tag, f"</{tag}> is out of order"

    def handle_data(self, data: str) -> None:
        """Text."""
        self.text.append(data)


def parsed(text: str) -> Strict:
    """The page, held to be right."""
    assert text.startswith("<!doctype html>\n")
    assert re.sub(r"&(?:[a-z]+|#\d+|#x[0-9a-f]+);", "", text).count("&") == 0, "a bare ampersand"
    found = Strict()
    found.feed(text)
    found.close()
    assert found.open == []
    return found


def broken() -> Reading:
    """A stack that does not fit, on a fleet of smaller GPUs."""
    data = load_yaml(spec.STACKS / "Pulumi.dgx-h200.yaml")
    assert isinstance(data, dict)
    data["config"]["slipway:fleet"] = "h100-80"
    return spec.examine("broken", data, "Pulumi.broken.yaml")


PAGES = (*spec.stacks(), "broken")


def reading(name: str) -> Reading:
    """A stack of this repository, or the broken one."""
    return broken() if name == "broken" else spec.read(name)


@pytest.mark.parametrize("name", PAGES)
def test_the_page_is_strict_and_loads_nothing(name: str) -> None:
    text = page.plan_html(reading(name))
    found = parsed(text)
    assert not {"script", "link", "iframe", "img", "object", "embed", "base", "form"} & set(found.names)
    assert [pair for pair in found.attributes if pair[0] in LOADS or pair[0].startswith("on")] == []
    assert not re.search(r"url\(|@import|expression\(", text)
    assert text.count("<style>") == 1
    assert "prefers-color-scheme: dark" in text


@pytest.mark.parametrize("name", PAGES)
def test_the_page_says_what_the_terminal_says(name: str) -> None:
    it = reading(name)
    said = " ".join(" ".join(parsed(page.plan_html(it)).text).split())
    for problem in it.problems:
        for _, text in view.said(problem):
            assert " ".join(text.split()) in said
    for ledger in shown.ledgers(it):
        assert ledger.said in said
        for part in ledger.parts:
            assert f"{part.gib:.1f} GiB" in said
    for launch in shown.by_hand(it):
        assert launch.where in said
        assert all(text in said for text in launch.same)
    assert shown.cost(it) in said


@pytest.mark.parametrize("name", PAGES)
def test_parts_of_a_gpu_have_colours_of_their_own(name: str) -> None:
    text = page.plan_html(reading(name))
    for table in re.findall(r"<svg class=\"gpu\".*?</table>", text, re.DOTALL):
        swatches = re.findall(r'class="swatch ([a-z0-9-]+)"', table)
        pieces = re.findall(r'<rect class="([a-z0-9-]+)"', table)
        for classes in (pieces, [it for it in swatches if it != page.SUM]):
            assert len(classes) == len(set(classes)), classes
        colours = re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", text[: text.index("@media")])
        drawn = [dict(colours)[it] for it in pieces]
        assert len(drawn) == len(set(drawn))


@pytest.mark.parametrize(
    ("problems", "fits", "text"),
    [
        ("", True, "fits; no problem found"),
        ("w", True, "fits; 1 warning"),
        ("w", False, "can be planned; 1 warning"),
        ("e", True, "refused: 1 error"),
        ("eeww", True, "refused: 2 errors, 2 warnings"),
    ],
)
def test_the_verdict_is_the_terminals(problems: str, fits: bool, text: str) -> None:
    it = spec.read("dgx-h200")
    found = tuple(
        Problem(where="$", found="a", wanted="b", level="error" if kind == "e" else "warning") for kind in problems
    )
    it = replace(it, problems=found, fits=it.fits if fits else {})
    assert f">{text}</span>" in page.plan_html(it)
    assert (f"{text}." in view.plan_text(it)) is ("e" in problems)


def test_the_same_plan_is_the_same_page() -> None:
    assert page.plan_html(spec.read("dgx-h200")) == page.plan_html(spec.read("dgx-h200"))


def test_names_are_escaped() -> None:
    nasty = """</pre><script>alert("1")</script>&'<img src=x onerror=alert(1)>"""
    d = spec.load("dgx-h200")
    problem = Problem(where=nasty, token=nasty, found=nasty, wanted=nasty, why=nasty, fix=nasty, source=nasty)
    fleet = replace(
        d.fleet, name=nasty, hosts=tuple(replace(host, name=f"{host.name}{nasty}") for host in d.fleet.hosts)
    )
    d = replace(d, stack=nasty, fleet=fleet, args={**d.args, "served-model-name": nasty}, env={"A": nasty})
    it = replace(view.reading(d), problems=(problem,), left_out=(nasty,), staged=False)
    text = page.plan_html(it)
    found = parsed(text)
    assert not {"script", "img"} & set(found.names)
    assert "<script" not in text
    assert nasty in "".join(found.text)


@pytest.mark.parametrize("kind", ["light", "dark"])
def test_text_stands_out_from_its_paper(kind: str) -> None:
    """WCAG AA: 4.5 to 1."""
    css = page.plan_html(spec.read("dgx-h200"))
    block = css[css.index("prefers-color-scheme") :] if kind == "dark" else css
    colour = dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6})", block[: block.index("}")]))
    pairs = [("ink", "paper"), ("soft", "paper"), ("ink", "panel"), ("bad", "bad-paper"), ("warn", "warn-paper")]
    pairs += [("good", "good-paper"), ("soft", "bad-paper"), ("soft", "warn-paper"), ("bad", "paper")]
    for front, back in pairs:
        first, second = sorted((_luminance(colour[front]), _luminance(colour[back])), reverse=True)
        assert (first + 0.05) / (second + 0.05) >= 4.5, (kind, front, back)


def _luminance(colour: str) -> float:
    """As WCAG has it."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


PROBE = """<!doctype html><body><script>
const frame = document.createElement('iframe');
frame.style = 'border:0;height:2000px;width:WIDTHpx';
frame.onload = () => {
  const page = frame.contentDocument;
  page.querySelectorAll('details').forEach(it => it.open = true);
  const edge = page.documentElement.clientWidth;
  const all = names => [...page.querySelectorAll(names)];
  const size = it => parseFloat(frame.contentWindow.getComputedStyle(it).fontSize);
  const out = all('body *').filter(it => it.getBoundingClientRect().right > edge + 0.5);
  const clipped = all('td, pre, p, dd, h1, h3, summary').filter(it => it.scrollWidth > it.clientWidth + 1);
  const small = all('main *').filter(it => it.childNodes.length && !it.closest('svg') && size(it) < 12);
  const told = list => list.map(it => it.tagName + ':' + it.textContent.trim().slice(0, 30)).join('; ');
  document.title = JSON.stringify([page.documentElement.scrollWidth, edge, told(out), told(clipped), told(small)]);
};
frame.srcdoc = document.getElementById('page').textContent;
document.body.append(frame);
</script></body>"""


@pytest.mark.skipif(not BROWSER, reason="no chromium is installed")
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("name", ["k2-sglang-pd-4p12d", "broken"])
def test_nothing_overflows(name: str, width: int, tmp_path: Path) -> None:
    text = html.escape(page.plan_html(reading(name)))
    probe = PROBE.replace("WIDTH", str(width)).replace("<body>", f"<body><textarea id='page' hidden>{text}</textarea>")
    file = tmp_path / "probe.html"
    file.write_text(probe, encoding="utf-8")
    command = [
        BROWSER,
        "--headless=new",
        "--no-sandbox",
        "--hide-scrollbars",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    command += [f"--window-size={max(width, 600)},2000", "--virtual-time-budget=5000", "--dump-dom", file.as_uri()]
    drawn = subprocess.run(command, capture_output=True, text=True, check=True, timeout=90).stdout
    found = re.search(r"<title>(.*?)</title>", drawn, re.DOTALL)
    assert found, "the page was not drawn"
    assert html.unescape(found.group(1)) == f'[{width},{width},"","",""]'
