"""Pages as lists of sections: a figure with words of its own needs no template."""

from orchestrator.reviews.page import Figure, Section, drawn, rendered

PNG = b"\x89PNG..."
PICTURE: Figure[list[int]] = Figure(
    file="counts.png",
    alt=lambda found: f'Bars of {len(found)} "counts"',
    draw=lambda found: PNG + bytes(found),
    is_shown=bool,
    title="Counts & bars",
    caption=lambda found: f"{sum(found)} in all.",
)
SECTIONS: tuple[Section[list[int]], ...] = (PICTURE, "reviews/sections/provenance.html.j2")


def page(found: list[int]) -> str:
    pictures = drawn(SECTIONS, found)
    return rendered(SECTIONS, found, pictures, title="tau", provenance=[("Method", "<none>")])


def test_a_figure_has_heading_picture_and_caption() -> None:
    assert drawn(SECTIONS, [1, 2]) == {"counts.png": PNG + b"\1\2"}
    html = page([1, 2])
    assert "<title>Review of tau</title>" in html
    assert "<h2>Counts &amp; bars</h2>" in html
    assert 'alt="Bars of 2 &#34;counts&#34;"' in html
    assert "<figcaption>3 in all.</figcaption>" in html
    assert "data:image/png;base64,iVBORy4uLgEC" in html
    assert html.index("Counts") < html.index("Provenance")


def test_a_figure_with_nothing_to_draw_leaves_no_heading() -> None:
    assert drawn(SECTIONS, []) == {}
    assert "Counts" not in page([])


def test_text_is_escaped() -> None:
    assert "&lt;none&gt;" in page([])
