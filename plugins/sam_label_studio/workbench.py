"""What the commands for whole projects work with: Label Studio, the model, the images, all as the settings say."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from sam_core import Segmenter
from sam_label_studio.client import LabelStudio, Project
from sam_label_studio.config import Controls
from sam_label_studio.embeddings import Embeddings
from sam_label_studio.errors import ConfigError
from sam_label_studio.export import Page, Read
from sam_label_studio.pages import categories_of, pages_of
from sam_label_studio.predict import Json, Mode, predict_task
from sam_label_studio.serial import SerialSegmenter
from sam_label_studio.settings import Settings
from sam_label_studio.warm import encode_pages


@dataclass(frozen=True, eq=False, slots=True)
class Workbench:
    """All that is needed to work on the tasks of a project.

    Parameters
    ----------
    settings
        Where Label Studio is, and how tasks are answered.
    load
        Loads the model; called only by what needs it.
    cache
        Keeps embeddings.
    """

    settings: Settings
    load: Callable[[], Segmenter]
    cache: Embeddings

    def studio(self) -> LabelStudio:
        """Return the API of Label Studio."""
        return LabelStudio(self.settings.credentials)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """See to it that what was encoded in the block is on disk after it, also where it is interrupted."""
        try:
            yield
        finally:
            self.cache.flush()

    def predictor(self, project: Project) -> Callable[[Json], Json]:
        """Return what predicts a whole task, as a batch of the backend does; from several threads if need be.

        Raises
        ------
        ConfigError
            Nothing can be answered with the project's labelling config.
        """
        controls = _controls(project)
        if controls.problems:
            raise ConfigError("; ".join(controls.problems))
        model, images = SerialSegmenter.loaded(self.load), self.settings.images()
        mode, options = cast("Mode", self.settings.mode), self.settings.options()
        return lambda task: predict_task(task, controls, model, self.cache, images, mode=mode, options=options)

    def encoder(self, project: Project) -> Callable[[Json], int]:
        """Return what encodes all pages of a task, and tells how many these are."""
        controls = _controls(project)
        model, images = SerialSegmenter.loaded(self.load), self.settings.images()
        return lambda task: encode_pages(task, controls, model, self.cache, images)

    def reader(self, project: Project) -> Read:
        """Return what reads the pages of an annotated task."""
        controls, images = _controls(project), self.settings.images()

        def read(task: Json, annotation: Json) -> Iterable[Page]:
            return pages_of(task, annotation, controls, lambda address: images.open(address, task=task["id"]))

        return read

    def labels(self, project: Project) -> list[str]:
        """Return what objects can be called in a project, in the order of its labelling config."""
        return categories_of(_controls(project))


def _controls(project: Project) -> Controls:
    return Controls.of(project.label_config)
