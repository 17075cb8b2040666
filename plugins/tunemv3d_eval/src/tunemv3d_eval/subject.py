"""A checkpoint as an evaluation sees it."""

from collections.abc import Sequence
from dataclasses import dataclass

from tunemv3d_core.diffusion import MultiviewDiffusion
from tunemv3d_core.io.generated import GeneratedBy
from tunemv3d_eval.samples.identity import Identity
from tunemv3d_eval.samples.jobs import Job, Settings
from tunemv3d_eval.samples.store import SampleStore
from tunemv3d_eval.scoring.chosen import Needs
from tunemv3d_eval.scoring.real import Data
from tunemv3d_eval.scoring.score import Samples


@dataclass(frozen=True)
class Subject:
    """A checkpoint that is evaluated.

    Attributes:
        model: loaded.
        settings: of its sampling.
        identity: what binds samples to it.
        by: what made its samples, as their pictures tell it.
        needs: what there is of what metrics need.
        data: real objects that metrics compare with, if there are any.
    """

    model: MultiviewDiffusion
    settings: Settings
    identity: Identity
    by: GeneratedBy
    needs: Needs
    data: Data | None

    def samples(self, store: SampleStore, jobs: Sequence[Job]) -> Samples:
        """Read its samples of jobs again, as far as they are there."""
        return Samples(self.model, store, self.settings, jobs, self.by)
