"""How each protection of the protocol is taken away: what `protections` puts in the place of the product's code."""

from contextlib import contextmanager
from dataclasses import replace
from unittest import mock

from video_reclaim.adapters import autoscaling, sqs
from video_reclaim.adapters.postgres import statements
from video_reclaim.adapters.redis import heartbeats, values
from video_reclaim.rules import reclaiming, staleness, waiting
from video_reclaim.rules.listing import RedisLook
from video_reclaim.rules.reclaiming import History

EXPIRED = statements._EXPIRED
SEEN = f"{statements._STATUS} || ' ' || {statements._LEASE} = seen.\"row\""
HOLDER = " AND v.leased_by = %(holder)s"
TERM = "\n  AND v.leased_until + interval '0' = ANY(%(untils)s::timestamptz[])"
QUARANTINED, FAILED = statements._QUARANTINED, f"{statements._UNINDEXED_STATUS} = 'FAILED'"
READ_BEFORE = statements._READ_BEFORE
UPLOADED = f" AND {statements._UNINDEXED_STATUS} = 'UPLOADED'"
TAKEN = "leased_by = %(holder)s,\n    leased_until = now() + make_interval(secs => %(handoff_s)s)"


def sql(name, *changes):
    """A statement with parts of it replaced."""
    statement = getattr(statements, name)
    for part, instead in changes:
        assert part in statement, f"{name} has changed: look again at what this takes away"
        statement = statement.replace(part, instead)
    return lambda: mock.patch.object(statements, name, statement)


def put(owner, name, value):
    return lambda: mock.patch.object(owner, name, value)


def sending_is_clearing(url, bodies, delays_s, send=sqs.send):
    sent = send(url, bodies, delays_s)
    sent.accepted = list(bodies)
    return sent


def missing_for_unknown(self, videos, claims):
    heartbeats = {video.id: staleness.Heartbeat(present=False) for video in videos}
    return History(heartbeats, seen_before=True)


def missing_at_first_sight(self, videos):
    return RedisLook(missing_for_unknown(self, videos, {}).heartbeats, seen_ttl_s=9)


def as_it_was_listed(_self, videos, _claims):
    """Nobody is heard, and everybody has a strike."""
    heartbeats = {v.id: staleness.Heartbeat(False, staleness.Strike(0.0, v.lease)) for v in videos}
    return History(heartbeats, seen_before=True)


class Anyone(str):
    """A lease that is the same as any other."""

    __hash__ = str.__hash__

    def __eq__(self, other):
        return True

    def __ne__(self, other):
        return False


def a_strike_against_anyone(value, parse=values.parse_strike):
    found = parse(value)
    return found and staleness.Strike(found.at_s, Anyone(found.lease))


def handed_over_to_anyone(video, heartbeat, criteria, judge=staleness.judge):
    if video.handoff_token:
        return staleness.Reason.ORPHANED
    return judge(video, heartbeat, criteria)


def a_stranger_to_itself(video, heartbeat, criteria, judge=staleness.judge):
    return judge(video, heartbeat, replace(criteria, own_token=None))


def the_first_miss_counts(_video, _strike, _criteria):
    return staleness.Reason.SILENT_TWICE


def believed(heartbeats, **_):
    return dict(heartbeats)


def by_the_wait_alone(due, _waits, _queue):
    return list(due)


def of_a_retry_unaware(videos, recorded, _just_retried, track=waiting.track):
    return track(videos, recorded, just_retried=())


def read_and_left(client, videos):
    """The waits of videos, which stay as they are."""
    ids = [str(video.id) for video in videos]
    found = client.pipeline().hmget(heartbeats.WAITING_KEY, ids).execute()[0] if ids else []
    waits = {video.id: values.parse_wait(value) for video, value in zip(videos, found, strict=True)}
    return {video_id: wait for video_id, wait in waits.items() if wait}


def taken_unaware(client, videos):
    """The waits of videos, whether a user has retried them or not."""
    waits = read_and_left(client, videos)
    if waits:
        client.hdel(heartbeats.WAITING_KEY, *waits)
    return waits


def lost_anyway(value, parse=values.parse_wait):
    wait = parse(value)
    return wait and replace(wait, lost=True)


def without_limit(*given, plan=reclaiming.plan, **named):
    return plan(*given, **{**named, "max_reclaims": 0})


def an_unknown_group_is_empty():
    ask = autoscaling.instances
    return mock.patch.object(autoscaling, "instances", lambda name: ask(name) or set())


def whoever_is_silent_is_gone(videos, found, _gone, keep=staleness.strikes_to_keep):
    return keep(videos, found, {staleness.instance_of(video.leased_by) for video in videos})


def nil_is_missing(_client, videos, answers):
    """Heartbeats from the answers of MGET alone, which gives nothing for a key of another type."""
    (texts, _existing), *_ = answers[3::4] or [([], 0)]
    beats, strikes = texts[: len(videos)], texts[len(videos) :]
    return {
        video.id: staleness.Heartbeat(beat is not None, values.parse_strike(strike))
        for video, beat, strike in zip(videos, beats, strikes, strict=True)
    }


def the_first_error_counts(pipeline):
    return pipeline.execute()


def recorded_without_a_look(recorded, *_, **__):
    return dict(recorded)


def identified_by(of):
    """Waits are told apart by this alone, in both functions."""

    @contextmanager
    def patched():
        with mock.patch.object(waiting, "identity", of), mock.patch.object(reclaiming, "identity", of):
            yield

    return patched
