"""What a report is about: a whole study, or one experiment with its runs, claims and commands."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from lmablate.config.project import claims_folder, conf_folders, default_path, find_project
from lmablate.config.schema import CONF
from lmablate.errors import UserError
from lmablate.evidence import Claim, load_claims
from lmablate.files import checked_experiment
from lmablate.results.descriptions import describe_experiment
from lmablate.results.exports import refresh_tables
from lmablate.results.notebook import make_notebook
from lmablate.results.report.commands import training_commands
from lmablate.results.report.comparison import Comparison, compare
from lmablate.results.report.page import About
from lmablate.results.report.study import Study
from lmablate.runs.run import Run

# Said where a study's claims are not judged together.
_FAMILY = (
    "Only the claims that rest on {experiment} alone are judged here, as one family. A report on the whole study "
    "corrects for more claims, so a verdict may be weaker there: choose before the runs which of the two you quote."
)


@dataclass(frozen=True)
class Scope:
    """What a report is about.

    Attributes:
        experiment: the one experiment; None for the whole study.
        runs_dir: the folder of its runs, as it was typed; None if it was not.
        reference: the arm that the others are compared with, as it was typed; None for the first one.
    """

    experiment: str | None
    runs_dir: Path | None
    reference: str | None

    @classmethod
    def typed(cls, experiment: str, runs_dir: Path | None, reference: str | None, notebook: bool) -> "Scope":
        """Return the scope that a user means.

        Raises:
            UserError: if a key of one experiment is given for the whole study.
        """
        if experiment == "all":
            for key, value in (("runs_dir", runs_dir), ("reference", reference), ("notebook", notebook or None)):
                if value is not None:
                    shown = str(value).lower() if value is True else value
                    raise UserError(f"{key}={shown} is only for the report of one experiment: add experiment=NAME.")
            return cls(None, None, None)
        return cls(checked_experiment("experiment", experiment), runs_dir, reference)

    @property
    def is_single(self) -> bool:
        """Whether it is about one experiment."""
        return self.experiment is not None

    @property
    def page(self) -> Path:
        """Where the page is if nothing else is said."""
        return default_path("analysis") / f"{self.experiment or 'report'}.html"

    def load(self, exports: Path, overwrite: bool) -> Study:
        """Return the exported runs; those of one experiment are exported first, if they are in `runs_dir`.

        Raises:
            UserError: if there are none, or if tables would be replaced that describe other runs as well.
        """
        if self.experiment is None:
            return Study.load(exports)
        runs_dir = self.runs_dir or default_path("runs")
        runs = refresh_tables(self.experiment, runs_dir, exports, overwrite)
        if not runs and self.runs_dir is not None:
            raise UserError(f"runs_dir={self.runs_dir} holds no run of experiment={self.experiment}.")
        return Study.load(exports, [self.experiment])

    def claims(self, folder: Path | None) -> list[Claim]:
        """Return the claims that these runs may decide.

        Args:
            folder: the folder of the claims; None for that of the project, which may have none, or of lmablate.
        """
        place = folder or claims_folder()
        claims = load_claims(place) if folder or any(place.glob("*.y*ml")) else []
        return [claim for claim in claims if self.experiment is None or claim.experiments == {self.experiment}]

    def commands(self, study: Study) -> list[str]:
        """Return the commands that train the runs of the one experiment, as these recorded them; none if unknown."""
        if self.experiment is None:
            return []
        runs_dir = self.runs_dir or default_path("runs")
        ids: list[str] = study.experiments[self.experiment].runs["run"].tolist()
        recorded = [Run(runs_dir / run).arguments_for(self.experiment) for run in ids]
        return training_commands(recorded) if all(recorded) else []

    def compare(self, study: Study) -> Comparison | None:
        """Return the comparison of the one experiment's arms; None for a study, or if no run is finished.

        Raises:
            UserError: if there is no such reference.
        """
        return compare(study.experiments[self.experiment], self.reference) if self.experiment else None

    def notebook(self, exports: Path, claims: Sequence[Claim], commands: Sequence[str]) -> NotebookNode | None:
        """Return the notebook of the one experiment; None for a study.

        Args:
            exports: the folder of the tables.
            claims: those about the experiment, whose questions the notebook asks.
            commands: those that train the runs; if there are none, the experiment's name says what to train.
        """
        if self.experiment is None:
            return None
        about = self.about()
        questions = dict.fromkeys(filter(None, [about.question, *(claim.question for claim in claims)]))
        train = commands or [f"python -m lmablate.train experiment={self.experiment}"]
        description = describe_experiment(self.experiment)
        steps = [*train, *about.commands]
        return make_notebook(self.experiment, description, [*questions], steps, exports.absolute(), self.reference)

    def about(self) -> About:
        """Return what the page says of itself, in the words of the project if there is one."""
        project = find_project()
        title, question = (project.title, project.question) if project else ("", "")
        if self.experiment is None:
            return About(title or About.title, question)
        title = title or describe_experiment(self.experiment) or self.experiment.replace("_", " ")
        again = shlex.join(["python", "-m", "lmablate.report", *self._typed()])
        return About(title, question, [again], _FAMILY.format(experiment=self.experiment))

    def _typed(self) -> Sequence[str]:
        """Return the arguments that make the report again, in the folder of the project."""
        project = find_project()
        own = [folder for folder in conf_folders() if folder != CONF and not (project and folder == project.conf)]
        keys = {"experiment": self.experiment, "runs_dir": self.runs_dir, "reference": self.reference}
        flags = [word for folder in own for word in ("--config-dir", str(folder))]
        return [*flags, *(f"{key}={value}" for key, value in keys.items() if value is not None)]
