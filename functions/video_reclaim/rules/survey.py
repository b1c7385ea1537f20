"""The findings of a listing, page by page: all videos are counted, and no row is kept."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from video_reclaim.rules.listing import Tally, count_expired_but_beating, is_trusted, judge_all
from video_reclaim.rules.staleness import Criteria, Hearing, Heartbeat, Reason, Video


@dataclass(slots=True)
class Survey:
    """What a listing has found so far.

    Whether no worker at all is heard is known only after the last page, so as long as none is, each page is
    judged under both criteria.

    Attributes:
        criteria: how strictly videos are judged.
        mass_silence_s: how long silence must last while no worker is heard, seconds, if that is longer.
        hearing: which workers are heard.
        trusted: every heartbeat that matters was known.
        expired_but_beating: number of videos with an expired lease and a heartbeat.
    """

    criteria: Criteria
    mass_silence_s: int
    hearing: Hearing = field(default_factory=Hearing)
    trusted: bool = True
    expired_but_beating: int = 0
    _usual: Tally = field(default_factory=Tally)
    _in_mass_silence: Tally = field(default_factory=Tally)

    def add(self, videos: Sequence[Video], heartbeats: Mapping[int, Heartbeat]) -> dict[int, Reason]:
        """Judge the videos of a page; return their reasons as far as they are known now.

        Args:
            videos: the rows as read, in order.
            heartbeats: by id, with their strikes as written now; an absent one is unknown.
        """
        self.hearing.add(videos, heartbeats)
        self.trusted = self.trusted and is_trusted(videos, heartbeats, self.criteria)
        self.expired_but_beating += count_expired_but_beating(videos, heartbeats)
        usual = judge_all(videos, heartbeats, self.criteria)
        self._usual.add(usual)
        if self.hearing.anybody:
            return usual
        patient = replace(self.criteria, confirm_silence_s=self._patience_s)
        in_mass_silence = judge_all(videos, heartbeats, patient)
        self._in_mass_silence.add(in_mass_silence)
        return in_mass_silence if self.hearing.is_mass_silence else usual

    @property
    def found(self) -> Tally:
        """The reasons of all videos, after the last page."""
        return self._in_mass_silence if self.hearing.is_mass_silence else self._usual

    @property
    def confirm_silence_s(self) -> int:
        """How long silence must last before it counts, seconds, after the last page."""
        return self._patience_s if self.hearing.is_mass_silence else self.criteria.confirm_silence_s

    @property
    def can_confirm(self) -> bool:
        """Whether a second look in the same run can confirm a first miss, after the last page."""
        return self.confirm_silence_s == self.criteria.confirm_silence_s

    @property
    def _patience_s(self) -> int:
        return max(self.criteria.confirm_silence_s, self.mass_silence_s)
