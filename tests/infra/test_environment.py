"""What the stage says is what the functions read: each setting, with the stage's value."""

import json

import msgspec
import pytest

from cdk.stage import load, stages_in
from tests.infra.conftest import STAGES, functions, synthesized
from tests.infra.references import ACCOUNT, written
from tests.infra.test_template import READS
from video_reclaim import settings

DERIVED = {("Database", "statement_seconds"), ("Queues", "urls")}
"""Not settings of a stage: the first follows from the function's timeout, the second from the queues."""
CHANGED = {
    "database": {"port": 6543, "sslMode": "verify-ca"},
    "reclaiming": {
        **{"confirmSilenceSeconds": 45, "handoffSeconds": 600, "maxReclaims": 3, "massSilenceSeconds": 300},
        **{"lostAfterSeconds": 1200, "lostMessages": "report", "expiredButBeating": "spare"},
    },
    "schedule": {"rateMinutes": 2},
    "metrics": {"namespace": "Other", "dimensions": {"Site": "a"}},
    "scaling": {
        **{"mode": "apply", "videosPerWorker": 2, "spareWorkers": 0, "peakWindowSeconds": 300},
        **{"scaleInWindowSeconds": 600, "maxStepOut": 4, "overrideParameter": "/other"},
    },
}
CASES = [pytest.param(name, "{}", id=name) for name in STAGES]
CASES.append(pytest.param("existing", json.dumps(CHANGED), id="every-setting-changed"))


def read(resources, step, section):
    """Read a section as the function will, from its environment in the template."""
    given = functions(resources)[step]["Environment"]["Variables"]
    return settings.read(section, {name: written(value, resources) for name, value in given.items()})


@pytest.mark.parametrize(("name", "overrides"), CASES)
@pytest.mark.parametrize("step", READS)
def test_a_function_reads_what_the_stage_says(name, overrides, step):
    resources, stage = synthesized(name, overrides).template["Resources"], load(stages_in(), name, overrides)
    for section in READS[step]:
        found = read(resources, step, getattr(settings, section))
        for field in msgspec.structs.fields(found):
            if (section, field.name) not in DERIVED:
                said = getattr(getattr(stage, section.lower()), field.name)
                assert getattr(found, field.name) == said, f"{section}.{field.name}"


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("step", [step for step, sections in READS.items() if "Queues" in sections])
def test_a_function_reads_every_queue_of_the_stage(name, step):
    resources, stage = synthesized(name).template["Resources"], load(stages_in(), name)
    urls = read(resources, step, settings.Queues).urls
    named = {kind: [url.rpartition("/")[2] for url in of_kind] for kind, of_kind in urls.items()}
    assert named == {"Video": [stage.queues.video], **stage.queues.others}
    for url in (url for of_kind in urls.values() for url in of_kind):
        assert url.startswith("https://sqs.") and url.split("/")[-2] in (ACCOUNT, stage.account)


@pytest.mark.parametrize("name", STAGES)
def test_a_statement_is_given_time(name):
    """A statement that reads ten thousand videos takes seconds on a busy database."""
    resources = synthesized(name).template["Resources"]
    assert all(read(resources, step, settings.Database).statement_seconds >= 10 for step in READS)
