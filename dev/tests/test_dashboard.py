"""The picture of the dashboard is drawn from its definition: nothing is made up, nothing left out."""

import json

import pytest

from dev.dashboard import Day, draw, key_of
from dev.definition import synthesize, widgets


@pytest.fixture(scope="module")
def day():
    day = Day()
    day.run()
    return day


def test_the_day_holds_every_series_of_the_dashboard_and_no_other(day):
    shown = {
        key_of(series)
        for graph in widgets(synthesize("existing"))
        for series in graph["properties"]["metrics"]
    }
    assert shown == set(day.put)


def test_every_graph_has_a_place_of_its_own(day):
    import matplotlib.pyplot as plt

    graphs = widgets(synthesize("existing"))
    figure = draw(graphs, day.put)
    titles = [axis.get_title(loc="left") for axis in figure.axes if axis.get_visible()]
    plt.close(figure)
    assert sorted(titles) == sorted(graph["properties"]["title"] for graph in graphs)


def test_a_series_without_a_name_on_the_day_is_an_error(day):
    graphs = json.loads(json.dumps(widgets(synthesize("existing"))))
    graphs[0]["properties"]["metrics"][0][1] = "Unheard"
    with pytest.raises(KeyError, match="Unheard"):
        draw(graphs, day.put)
