"""Which image, which objects, and how the image is read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QComboBox, QFormLayout, QHBoxLayout, QLabel, QWidget

from sam_napari._ui import button, check, column, fill, picker, quietly

if TYPE_CHECKING:
    from sam_napari._desk import Desk

NEW = "New layer"
TARGET = "The Labels layer that is painted: a new one, or one of yours to correct it"
ROLES = {"t": "time", "z": "z", "y": "y", "x": "x", "c": "channel", "?": "other"}


class LayersPanel(QWidget):
    """Pickers of the image and of the layer that objects are painted on."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self.image = picker("Image", self._image)
        self.target = picker("Objects", self._target, TARGET)
        form = QFormLayout(self)
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Image", self.image)
        form.addRow("Objects", self.target)

    def refresh(self) -> None:
        """Show the layers that there are."""
        desk = self._desk
        picture = None if desk.picture is None else desk.picture.layer
        target = None if desk.canvas is None else desk.canvas.layer
        images, targets = desk.images, desk.targets
        fill(self.image, [layer.name for layer in images], images.index(picture) if picture in images else -1)
        names = [*(layer.name for layer in targets), NEW]
        fill(self.target, names, targets.index(target) if target in targets else -1)
        self.target.setEnabled(picture is not None)

    def _image(self, number: int) -> None:
        self._desk.use_image(self._desk.images[number])

    def _target(self, number: int) -> None:
        targets = self._desk.targets
        self._desk.use_target(targets[number] if number < len(targets) else None)


class AxesPanel(QWidget):
    """What each axis of the image is, which channel is looked at, and with which contrast."""

    def __init__(self, desk: Desk) -> None:
        super().__init__()
        self._desk = desk
        self._axes: list[QComboBox] = []
        self._row = QHBoxLayout()
        self._row.setContentsMargins(0, 0, 0, 0)
        axes = QWidget()
        axes.setLayout(self._row)
        self.channel = picker("Channel", self._choose_channel)
        self._channel = QWidget()
        form = QFormLayout(self._channel)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Channel", self.channel)
        self.contrast = check("Contrast as displayed", self._choose_contrast, CONTRAST)
        again = button("Read the image again", self._again, "After its pixels were changed in place")
        column(self, [QLabel("What each axis is, with its length"), axes, self._channel, self.contrast, again])

    def refresh(self) -> None:
        """Show how the image is read."""
        picture = self._desk.picture
        self.setEnabled(picture is not None)
        if picture is None:
            return
        self._make_boxes(picture.sizes)
        for box, role in zip(self._axes, picture.roles, strict=True):
            with quietly(box):
                box.setCurrentIndex(list(ROLES).index(role))
        self._channel.setVisible(picture.channels > 0)
        fill(self.channel, [str(i) for i in range(picture.channels)], picture.channel)
        with quietly(self.contrast):
            self.contrast.setChecked(picture.as_displayed)

    def _make_boxes(self, sizes: tuple[int, ...]) -> None:
        if [box.property("length") for box in self._axes] == list(sizes):
            return
        for box in self._axes:
            self._row.removeWidget(box)
            box.deleteLater()
        self._axes = [self._box(axis, size) for axis, size in enumerate(sizes)]
        for box in self._axes:
            self._row.addWidget(box)

    def _box(self, axis: int, size: int) -> QComboBox:
        box = picker(f"Axis {axis}", lambda number: self._choose_role(axis, list(ROLES)[number]))
        box.addItems([f"{name} ({size})" for name in ROLES.values()])
        box.setProperty("length", size)
        return box

    def _choose_role(self, axis: int, role: str) -> None:
        self._desk.read(lambda picture: picture.choose_role(axis, role))

    def _choose_channel(self, number: int) -> None:
        self._desk.read(lambda picture: picture.choose_channel(number))

    def _choose_contrast(self, on: bool) -> None:
        self._desk.read(lambda picture: picture.choose_contrast(on))

    def _again(self) -> None:
        self._desk.read(lambda picture: picture.choose_channel(picture.channel))


CONTRAST = "The model sees the contrast limits of the layer, instead of limits that are measured on each plane"
