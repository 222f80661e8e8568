"""Let lmablate's commands find the yaml files of the user's project, before lmablate's own."""

from hydra.core.config_search_path import ConfigSearchPath, SearchPathQuery
from hydra.plugins.search_path_plugin import SearchPathPlugin


class OwnConfigs(SearchPathPlugin):
    """Adds the folders of `lmablate.config.project.conf_folders` to Hydra's search path.

    Hydra asks this plugin in every program of the environment; in others than lmablate's it adds nothing.
    """

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        """Put the user's own folders before conf/."""
        from lmablate.config import project  # here, because Hydra imports this module in every program

        if project.searches():
            for folder in reversed(project.conf_folders()[:-1]):
                search_path.prepend("the user", f"file://{folder}", SearchPathQuery(provider="main"))
