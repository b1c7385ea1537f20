"""The picture of the dashboard is drawn from its definition: nothing is made up, nothing left out."""

from copy import deepcopy

import pytest

from dev.dashboard import Day, draw, key_of
from dev.definition import synthesize, widgets


@pytest.fixture(scope="module")
def day():
    day = Day()
    day.run()
    return day


@pytest.fixture(scope="module")
def graphs():
    return widgets(synthesize("existing"))


def test_the_day_holds_every_series_of_the_dashboard_and_no_other(day, graphs):
    shown = {key_of(series) for graph in graphs for series in graph["properties"]["metrics"]}
    assert shown == set(day.put)


def test_every_graph_has_a_place_of_its_own(day, graphs):
    import matplotlib.pyplot as plt

    figure = draw(graphs, day.put)
    titles = [axis.get_title(loc="left") for axis in figure.axes if axis.get_visible()]
    plt.close(figure)
    assert sorted(titles) == sorted(graph["properties"]["title"] for graph in graphs)


def test_every_line_of_an_alarm_has_its_label(day, graphs):
    import matplotlib.pyplot as plt

    lines = [
        line["label"]
        for graph in graphs
        for line in graph["properties"].get("annotations", {}).get("horizontal", ())
    ]
    figure = draw(graphs, day.put)
    drawn = [text.get_text() for axis in figure.axes for text in axis.texts]
    plt.close(figure)
    assert lines and sorted(drawn) == sorted(lines)


def test_a_series_without_a_name_on_the_day_is_an_error(day, graphs):
    changed = deepcopy(graphs)
    changed[0]["properties"]["metrics"][0][1] = "Unheard"
    with pytest.raises(KeyError, match="Unheard"):
        draw(changed, day.put)
