"""Mutants are made where they say, nowhere else, and counted as they should be."""

import copy
import json

import pytest

from dev.mutants import report, workflow
from dev.mutants.bodies import closed, opened
from dev.mutants.mistakes import Mistake, mistakes_in
from dev.mutants.outcome import Outcome
from dev.mutants.templates import InTemplates

BODY = {"Fn::Join": ["", ['{"queues":["', {"Ref": "Jobs"}, '"],"n":1}']]}
TEMPLATE = {
    "Resources": {
        "VideoReclaimAlarmsOldestWait0123ABCD": {
            "Type": "AWS::CloudWatch::Alarm",
            "Properties": {"Threshold": 5, "Dimensions": [{"Name": "a", "Value": "b"}], "Statistic": "Sum"},
        },
        "RolePolicy0123ABCD": {
            "Type": "AWS::IAM::Policy",
            "Properties": {
                "PolicyDocument": {
                    "Statement": [{"Effect": "Allow", "Action": ["s:A", "s:B"], "Resource": ["one", "two"]}]
                }
            },
        },
        "Query0123ABCD": {
            "Type": "AWS::Logs::QueryDefinition",
            "Properties": {"QueryString": "fields a\n| limit 1", "Body": BODY},
        },
    },
    "Outputs": {"Url": {"Value": "u"}},
}


def made(resource, keys, what):
    template = opened(copy.deepcopy(TEMPLATE))
    Mistake(resource, keys, what).make(template)
    return closed(template)


def test_nothing_is_lost_by_opening_and_closing_a_template():
    again = closed(opened(copy.deepcopy(TEMPLATE)))
    body = again["Resources"]["Query0123ABCD"]["Properties"].pop("Body")["Fn::Join"][1]
    assert json.loads("".join("?" if isinstance(part, dict) else part for part in body)) == {
        "queues": ["?"],
        "n": 1,
    }
    expected = copy.deepcopy(TEMPLATE)
    del expected["Resources"]["Query0123ABCD"]["Properties"]["Body"]
    assert again == expected


@pytest.mark.parametrize(
    ("resource", "keys", "what", "expected"),
    [
        pytest.param("AlarmsOldestWait", ("Properties", "Threshold"), "ten times", 50, id="a-number"),
        pytest.param("AlarmsOldestWait", ("Properties", "Statistic"), 'to "Maximum"', "Maximum", id="a-name"),
        pytest.param("AlarmsOldestWait", ("Properties", "Dimensions"), "dropped", None, id="a-list"),
        pytest.param(
            "RolePolicy",
            ("Properties", "PolicyDocument", "Statement", "[Allow s:B]", "Action"),
            "widened",
            ["s:A", "s:B", "s:*"],
            id="a-grant-by-one-of-its-actions",
        ),
        pytest.param(
            "RolePolicy",
            ("Properties", "PolicyDocument", "Statement", "[Allow s:A]", "Resource", "[two]"),
            "dropped",
            None,
            id="an-entry-by-its-text",
        ),
        pytest.param("Outputs", ("Url", "Value"), "other", "other", id="an-output"),
    ],
)
def test_a_mistake_is_made_where_it_says_and_nowhere_else(resource, keys, what, expected):
    changed, unchanged = made(resource, keys, what), closed(opened(copy.deepcopy(TEMPLATE)))
    differing = list(differences(unchanged, changed))
    assert len(differing) == 1
    assert differing[0] == expected


def differences(before, after):
    """What stands after wherever it differs; None for what is gone."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key in before:
            yield from differences(before[key], after[key]) if key in after else [None]
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for one, other in zip(before, after, strict=True):
            yield from differences(one, other)
    elif (
        isinstance(before, list) and isinstance(after, list) and set(map(str, after)) < set(map(str, before))
    ):
        yield None
    elif before != after:
        yield after


def test_every_mistake_changes_its_resource():
    for id_, resource in opened(copy.deepcopy(TEMPLATE))["Resources"].items():
        name = id_.removeprefix("VideoReclaim").removesuffix("0123ABCD")
        for mistake in mistakes_in(name, resource):
            template = opened(copy.deepcopy(TEMPLATE))
            mistake.make(template)
            assert template != opened(copy.deepcopy(TEMPLATE)), str(mistake)


def test_no_other_file_than_a_template_is_changed(tmp_path):
    rewrite = InTemplates(Mistake("Outputs", ("Url",), "dropped"))
    assert rewrite(tmp_path / "manifest.json", "{}") == "{}"
    assert json.loads(rewrite(tmp_path / "one.template.json", json.dumps(TEMPLATE)))["Outputs"] == {}


def test_every_mutant_of_the_workflow_has_a_name_and_a_change_of_its_own():
    mutants = workflow.mutants()
    assert len({mutant.name for mutant in mutants}) == len(mutants) > 300
    text = workflow.DEFINITION.read_text()
    assert all(json.loads(one.rewrite(workflow.DEFINITION, text)) != json.loads(text) for one in mutants)


class TestReport:
    NOTICED, ALIVE, OTHER = (
        *(Outcome("one", "Retry 0: dropped", True), Outcome("one", "Retry 1: dropped", False)),
        Outcome("two", "x", False),
    )

    def equivalents(self, **entries):
        return report.Equivalents({"one": entries})

    def test_the_score_is_the_share_of_those_that_could_be_noticed(self):
        assert report.score([self.NOTICED, self.ALIVE]) == 0.5
        marked = self.equivalents(**{"Retry 1: *": "why"}).mark([self.NOTICED, self.ALIVE])
        assert (report.score(marked), marked[1].equivalent) == (1.0, "why")

    def test_an_equivalent_is_of_its_own_area(self):
        marked = self.equivalents(x="why").mark([self.OTHER])
        assert marked == [self.OTHER]

    def test_what_the_functions_have_marked_themselves_stays(self):
        marked = Outcome("one", "x", False, "their reason")
        equivalents = report.Equivalents({"x": "their reason"})
        assert equivalents.mark([marked]) == [marked]
        assert equivalents.unused([marked]) == []

    @pytest.mark.parametrize(
        ("name", "unused"),
        [
            pytest.param("Retry 1: *", [], id="it-survives"),
            pytest.param("Retry 0: *", ["one: Retry 0: *"], id="it-is-noticed"),
            pytest.param("Retry 2: *", ["one: Retry 2: *"], id="there-is-no-such-mutant"),
        ],
    )
    def test_an_entry_that_no_longer_holds_is_told(self, name, unused):
        assert self.equivalents(**{name: "why"}).unused([self.NOTICED, self.ALIVE]) == unused

    def test_one_area_below_its_least_score_is_enough_to_fail(self):
        many = [Outcome("one", str(n), True) for n in range(100)]
        assert report.passes(many)
        assert not report.passes([*many, self.OTHER])
