"""The page as text: self-contained, escaped, in order, small, readable in both themes."""

import hashlib
import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from jinja2 import UndefinedError

from hil.core.errors import DataError
from hil.core.provenance import Origin
from reports import charts, render
from reports.page import page
from tests.reports.factory import report_data

# One page of two boards with 65 layers each, 2,020 splits and two waveforms.
BUDGET_BYTES = 1_100_000
EVIL = "</script><b>x & \"y\" 'z'"


class Outline(HTMLParser):
    """Elements, their ids and references; text of the headings."""

    def __init__(self):
        super().__init__()
        self.tags, self.ids, self.references, self.headings = [], [], [], []
        self._heading = None

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        if "id" in found:
            self.ids.append(found["id"])
        self.references += [found[k] for k in ("src", "href", "action", "data") if k in found]
        if tag in ("h1", "h2", "h3"):
            self._heading = [tag, ""]
            self.headings.append(self._heading)

    def handle_data(self, text):
        if self._heading:
            self._heading[1] += text

    def handle_endtag(self, tag):
        if self._heading and tag == self._heading[0]:
            self._heading = None


def outline(html):
    parser = Outline()
    parser.feed(html)
    return parser


def island(html, name):
    """The JSON that the page carries under that id."""
    body = html.split(f'id="{name}">')[1].split("</script>")[0]
    return json.loads(body)


@pytest.fixture(scope="module")
def data():
    return report_data()


@pytest.fixture(scope="module")
def shown(data):
    return page(data)


@pytest.fixture(scope="module")
def html(shown):
    return render.to_html(shown)


@pytest.fixture(scope="module")
def seen(html):
    return outline(html)


def test_the_file_is_written_with_its_folders(data, tmp_path, html):
    out = render.render(data, tmp_path / "runs" / "7" / "report.html")
    assert out.read_text(encoding="utf-8") == html


def test_a_folder_that_cannot_be_made_is_named(data, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"report\.html: the report cannot be written"):
        render.render(data, tmp_path / "file" / "report.html")


def test_sections_come_in_reading_order(seen):
    assert [text for tag, text in seen.headings if tag == "h2"] == [
        "Decision",
        "Layers",
        "Latency breakdown",
        "Partitions",
        "Slices",
        "Power waveform",
        "Energy uncertainty",
        "Sum of the layers",
        "Provenance",
    ]


def test_headings_never_skip_a_level(seen):
    levels = [int(tag[1]) for tag, _ in seen.headings]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(b - a <= 1 for a, b in itertools.pairwise(levels))


def test_nothing_is_fetched(html, seen):
    assert all(reference.startswith("#") for reference in seen.references)
    assert not [tag for tag, _ in seen.tags if tag in ("link", "img", "iframe", "base", "object")]
    style = html.split("<style>")[1].split("</style>")[0]
    assert "@import" not in style and "url(" not in style
    policy = next(a["content"] for t, a in seen.tags if a.get("http-equiv"))
    assert policy.startswith("default-src 'none'") and "connect-src" not in policy
    assert "unsafe-eval" not in policy


def test_ids_are_unique_and_labels_lead_somewhere(seen):
    assert len(seen.ids) == len(set(seen.ids))
    for _, attrs in seen.tags:
        if "aria-labelledby" in attrs:
            assert attrs["aria-labelledby"] in seen.ids


def test_every_figure_has_a_chart_with_words_and_a_table(seen, shown):
    drawn = [a for _, a in seen.tags if "data-spec" in a]
    assert {a["data-spec"] for a in drawn} == set(shown.specs)
    assert all(a["role"] == "img" and a["aria-label"] for a in drawn)
    for section in shown.sections:
        for figure in section.figures:
            assert figure.sentence
            # The partitions' figure stands right above the table of its numbers.
            assert figure.table is not None or section.tables


def test_the_decision_stands_before_any_figure(html):
    text = html.replace("\u00a0", " ")
    assert text.index("the GAP8 answers soonest") < text.index("<figure")


def test_names_cannot_break_out(data, seen):
    """One hostile text wherever a name of the user's can come from."""
    html = render.to_html(page(hostile(data)))
    found = outline(html)
    assert "b" not in {tag for tag, _ in found.tags}
    scripts = [[a for tag, a in o.tags if tag == "script"] for o in (found, seen)]
    assert scripts[0] == scripts[1]
    for name in ("specs", "waves", "split-cells"):
        assert "<b>" not in html.split(f'id="{name}">')[1].split("</script>")[0]
        island(html, name)
    # And it still reads as itself, in the data and on the page.
    assert EVIL in json.dumps(island(html, "waves"), ensure_ascii=False).replace('\\"', '"')
    assert "&lt;/script&gt;&lt;b&gt;x &amp; &#34;y&#34;" in html


def hostile(data):
    first, second = (_hostile_board(board) for board in data.boards)
    second = replace(second, voided=(replace(second.voided[0], reason=EVIL),))
    options = tuple(
        replace(o, split=replace(o.split, cut=EVIL), refused=EVIL) if o.split.layers == 1 else o
        for o in data.options
    )
    row = replace(data.slicing.slices[0], cut=EVIL)
    facts = {EVIL: EVIL}
    slicing = replace(data.slicing, slices=(row, *data.slicing.slices), facts=facts)
    return replace(data, title=EVIL, boards=(first, second), options=options, slicing=slicing)


def _hostile_board(board):
    window = replace(board.waveform.windows[0], name=EVIL)
    return replace(
        board,
        title=f"{board.title} {EVIL}",
        layers=(replace(board.layers[0], name=EVIL, block=EVIL, op=EVIL), *board.layers[1:]),
        waveform=replace(board.waveform, windows=(window,), file=EVIL, meter=EVIL),
    )


def test_compact_data_is_the_same_data(shown):
    panels = [p for section in shown.sections for f in section.figures for p in f.panels]
    assert set(shown.specs) == {panel.id for panel in panels}
    for panel in panels:
        assert _rows(charts.compact(panel.spec)["datasets"]) == panel.spec["datasets"]


def _rows(datasets):
    def read(column, i):
        return column["words"][column["at"][i]] if isinstance(column, dict) else column[i]

    return {
        name: [
            {key: read(column, i) for key, column in packed["columns"].items()}
            for i in range(packed["rows"])
        ]
        for name, packed in datasets.items()
    }


def test_specs_refer_only_to_data_they_bring(shown):
    for spec in shown.specs.values():
        used = set(re.findall(r'"data": {"name": "(\w+)"}', json.dumps(spec)))
        assert used == set(spec["datasets"])


def test_the_page_keeps_its_budget(html):
    size = len(html.encode())
    assert size < BUDGET_BYTES, f"{size} bytes, by part: {render.size_by_part(html)}"
    assert sum(render.size_by_part(html).values()) == size


def test_simulated_and_modelled_numbers_are_badged_at_every_figure(html, data):
    assert html.count("STM32F746: energy modelled") >= 2
    assert html.count("STM32F746: cycles simulated") >= 2
    measured = render.to_html(page(report_data(Origin.MEASURED)))
    assert "energy modelled" not in measured and "cycles measured" in measured


def test_cells_sort_by_more_than_their_text_only_where_needed(html):
    table = html.split('id="t-layers"')[1].split("</table>")[0]
    assert "data-s" not in table
    table = html.split('id="t-partitions"')[1].split("</table>")[0]
    assert re.search(r'data-s="14">block 4<', table)


def test_a_board_without_waveform_energy_or_decision_is_a_report_too(data):
    bare = replace(
        data.boards[0],
        waveform=None,
        layers=(),
        cycles_check=None,
        energy_check=None,
        network_cycles=None,
        network_energy_uj=None,
        memory=(),
    )
    few = replace(
        data,
        boards=(bare,),
        radios=(),
        decisions=(),
        ranges=(),
        curves=(),
        options=(),
        slicing=None,
        events=(),
    )
    html = render.to_html(page(few))
    for words in (
        "No decision was taken",
        "No layer was measured",
        "No split was priced",
        "was not trained for slices",
        "No power was measured",
        "The whole network was not measured by itself",
    ):
        assert words in html


def test_a_name_that_a_template_does_not_know_is_an_error():
    with pytest.raises(UndefinedError):
        render._environment().from_string("{{ pag }}").render(page=None)


def test_vendored_files_are_the_ones_named_in_their_readme():
    readme = (render.UPLOT / "README.md").read_text()
    for name in ("uPlot.iife.min.js", "uPlot.min.css", "LICENSE"):
        digest = hashlib.sha256((render.UPLOT / name).read_bytes()).hexdigest()
        assert f"| `{name}` | `{digest}` |" in readme


# Colours: WCAG 2.2, 1.4.3 (text, 4.5) and 1.4.11 (graphics, 3).

VARIABLES = dict(
    re.findall(
        r"--([\w-]+): light-dark\((#\w{6}, #\w{6})\)", (render.ASSETS / "report.css").read_text()
    )
)


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(front, back):
    high, low = sorted((luminance(front), luminance(back)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("back", ["page", "card", "row", "picked"])
@pytest.mark.parametrize("front", ["ink", "ink-2", "good", "warn", "bad", "accent"])
def test_text_can_be_read(front, back, theme):
    colours = [VARIABLES[name].split(", ")[theme] for name in (front, back)]
    assert contrast(*colours) >= 4.5


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("name", ["board-1", "board-2", "part-compute"])
def test_marks_stand_out(name, theme):
    assert contrast(*(VARIABLES[n].split(", ")[theme] for n in (name, "card"))) >= 3
