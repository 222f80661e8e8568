"""The files of a report, side by side, and which files that exist already they may replace."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from markupsafe import escape
from nbformat import NotebookNode

from lmablate.errors import UserError
from lmablate.evidence import Claim, Verdict
from lmablate.files import read_text, refuse_foreign, write_bytes
from lmablate.results import plots
from lmablate.results.exports import Exported
from lmablate.results.notebook import is_notebook_like, write_notebook
from lmablate.results.report import verdict_table
from lmablate.results.report.comparison import ENDINGS, Comparison, is_result_of

# What each page says of itself.
PAGE_MARK = "lmablate report"


@dataclass(frozen=True)
class Outputs:
    """Where a report is written.

    Attributes:
        page: the page.
        verdicts: the verdicts as CSV.
        figures: the folder of the figures; each experiment has a folder in it.
        markdown: the verdicts as Markdown; None for none.
        comparison: of the page of one experiment, its results as CSV, Markdown and LaTeX.
        notebook: the notebook; None for none.
    """

    page: Path
    verdicts: Path
    figures: Path
    markdown: Path | None
    comparison: tuple[Path, ...] = ()
    notebook: Path | None = None

    @classmethod
    def beside(
        cls,
        page: Path,
        verdicts: Path | None,
        figures: Path | None,
        markdown: Path | None,
        single: bool = False,
        notebook: bool = False,
    ) -> "Outputs":
        """Return the outputs; those that are not named are beside the page.

        Args:
            page: the page.
            verdicts: the verdicts as CSV.
            figures: the folder of the figures.
            markdown: the verdicts as Markdown; None for none.
            single: whether the page is about one experiment; its other files are then called like the page.
            notebook: whether there is a notebook.

        Raises:
            UserError: if the page is a folder, or two have the same path.
        """
        if page.is_dir():
            raise UserError(f"out: {page} is a folder, and a file cannot replace it.")
        outputs = cls(
            page,
            verdicts or page.with_name(f"{page.stem}.verdicts.csv" if single else "verdicts.csv"),
            figures or page.with_name("figures"),
            markdown,
            tuple(page.with_name(page.stem + ending) for ending in ENDINGS) if single else (),
            page.with_suffix(".ipynb") if notebook else None,
        )
        places: dict[Path, str] = {}
        for key, path in outputs._named():
            if other := places.get(path.absolute()):
                raise UserError(f"{key}={path} is the same file as {other}: name another.")
            places[path.absolute()] = key
        return outputs

    def _named(self) -> Iterator[tuple[str, Path]]:
        yield from (("out", self.page), ("verdicts", self.verdicts), ("figures", self.figures))
        if self.markdown:
            yield "markdown", self.markdown
        yield from (("the results", path) for path in self.comparison)
        if self.notebook:
            yield "the notebook", self.notebook

    def refuse_foreign(
        self,
        claims: Sequence[Claim],
        experiments: Mapping[str, Exported],
        overwrite: bool,
        notebook: NotebookNode | None = None,
    ) -> None:
        """Refuse to replace what is not of this study: a study is known by its claims, a figure by its folder.

        Raises:
            UserError: if a file exists that is not an older version of the one to be written.
        """
        if self.markdown and not claims:
            raise UserError(f"markdown={self.markdown} would be empty: there is no claim that these runs may decide.")
        study = "of a study with one of these claims"
        is_page = partial(_is_page_of, claims=claims, experiments=experiments)
        refuse_foreign("out", [self.page], is_page, f"a report {study if claims else 'on these runs'}", overwrite)
        is_csv, is_markdown = (
            partial(test, claims=claims) for test in (verdict_table.is_csv_of, verdict_table.is_markdown_of)
        )
        refuse_foreign("verdicts", [self.verdicts] if claims else [], is_csv, f"the verdicts {study}", overwrite)
        refuse_foreign(
            "markdown", [self.markdown] if self.markdown else [], is_markdown, f"the verdicts {study}", overwrite
        )
        for name in experiments if self.comparison else ():
            is_ours = partial(is_result_of, experiment=name)
            refuse_foreign("out", self.comparison, is_ours, f"the results of {name}", overwrite)
        if self.notebook and notebook:
            same = partial(is_notebook_like, notebook=notebook)
            refuse_foreign("out", [self.notebook], same, "the notebook of this command, unedited", overwrite)
        for name, data in experiments.items():
            for stem in plots.plan_gallery(data):
                paths = plots.figure_paths(self.figures / name / stem)
                refuse_foreign("figures", paths, plots.is_figure, plots.MARK, overwrite)

    def write_tables(
        self, verdicts: Sequence[Verdict], comparison: Comparison | None = None, notebook: NotebookNode | None = None
    ) -> None:
        """Write the verdicts as CSV, and as Markdown if asked for, and what else there is; make all folders."""
        for _, path in self._named():
            path.parent.mkdir(parents=True, exist_ok=True)
        if verdicts:
            table = verdict_table.verdict_rows(verdicts).to_csv(index=False, float_format="%.6g", lineterminator="\n")
            write_bytes(self.verdicts, table.encode())
        if self.markdown:
            write_bytes(self.markdown, verdict_table.markdown_table(verdicts).encode())
        for path, text in zip(self.comparison, comparison.texts() if comparison else (), strict=False):
            write_bytes(path, text.encode())
        if self.notebook and notebook:
            write_notebook(notebook, self.notebook)


def _is_page_of(path: Path, claims: Sequence[Claim], experiments: Collection[str]) -> bool:
    """Return whether a file is the page of a study that has one of these claims, or, without claims, these runs."""
    try:
        page = read_text(path)
    except (OSError, ValueError):
        return False
    marks = [claim.text for claim in claims] or [f'experiments" content="{" ".join(sorted(experiments))}">']
    return PAGE_MARK in page and any(mark in page or str(escape(mark)) in page for mark in marks)
