import io

from matplotlib.figure import Figure
from PIL import Image

from orchestrator.reviews import drawing


def test_a_label_of_several_panels_is_in_the_legend_once() -> None:
    with drawing.fixed_style():
        figure = Figure()
        for axes in figure.subplots(1, 2):
            axes.plot([0, 1], label="row A")
        figure.axes[1].plot([1, 0], label="row B")
        drawing.legend_below(figure, n_columns=2)
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["row A", "row B"]


def test_png_does_not_say_who_wrote_it() -> None:
    image = Image.open(io.BytesIO(drawing.png(Figure(figsize=(1, 1)))))
    assert image.info.keys() == {"dpi"}
