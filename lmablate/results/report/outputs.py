"""The files of a report, side by side, and which files that exist already they may replace."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from markupsafe import escape

from lmablate.errors import UserError
from lmablate.evidence import Claim, Verdict
from lmablate.files import read_text, refuse_foreign, write_bytes
from lmablate.results import plots
from lmablate.results.exports import Exported
from lmablate.results.report import verdict_table

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
    """

    page: Path
    verdicts: Path
    figures: Path
    markdown: Path | None

    @classmethod
    def beside(cls, page: Path, verdicts: Path | None, figures: Path | None, markdown: Path | None) -> "Outputs":
        """Return the outputs; those that are not named are beside the page.

        Raises:
            UserError: if two have the same path.
        """
        outputs = cls(page, verdicts or page.with_name("verdicts.csv"), figures or page.with_name("figures"), markdown)
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

    def refuse_foreign(self, claims: Sequence[Claim], experiments: Mapping[str, Exported]) -> None:
        """Refuse to replace what is not of this study: a study is known by its claims, a figure by its folder.

        Raises:
            UserError: if a file exists that is not an older version of the one to be written.
        """
        study = "of a study with one of these claims"
        refuse_foreign("out", [self.page], partial(_is_page_of, claims=claims), f"a report {study}")
        is_csv, is_markdown = (
            partial(test, claims=claims) for test in (verdict_table.is_csv_of, verdict_table.is_markdown_of)
        )
        refuse_foreign("verdicts", [self.verdicts], is_csv, f"the verdicts {study}")
        refuse_foreign("markdown", [self.markdown] if self.markdown else [], is_markdown, f"the verdicts {study}")
        for name, data in experiments.items():
            for stem in plots.plan_gallery(data):
                paths = plots.figure_paths(self.figures / name / stem)
                refuse_foreign("figures", paths, plots.is_figure, plots.MARK)

    def write_tables(self, verdicts: Sequence[Verdict]) -> None:
        """Write the verdicts as CSV, and as Markdown if asked for; make the folders of all outputs."""
        for _, path in self._named():
            path.parent.mkdir(parents=True, exist_ok=True)
        table = verdict_table.verdict_rows(verdicts).to_csv(index=False, float_format="%.6g", lineterminator="\n")
        write_bytes(self.verdicts, table.encode())
        if self.markdown:
            write_bytes(self.markdown, verdict_table.markdown_table(verdicts).encode())


def _is_page_of(path: Path, claims: Sequence[Claim]) -> bool:
    """Return whether a file is the page of a study that has one of these claims."""
    try:
        page = read_text(path)
    except (OSError, ValueError):
        return False
    return PAGE_MARK in page and any(str(escape(claim.text)) in page for claim in claims)
