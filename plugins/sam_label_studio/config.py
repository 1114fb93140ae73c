"""The labelling config of a project: what can be clicked, what can be answered, and where the images are."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias, get_args
from xml.etree.ElementTree import Element, ParseError, XMLParser

Kind: TypeAlias = Literal["keypoint", "rectangle", "ellipse", "brush", "polygon", "bitmask"]
KINDS: tuple[Kind, ...] = get_args(Kind)
OUTPUTS: tuple[Kind, ...] = ("brush", "polygon", "bitmask", "rectangle", "ellipse")
"""Kinds that can be answered, the one that shows a mask best first."""
LONGEST = 1_000_000  # characters of a config
YES = ("true", "1", "yes")
FLAG = "{{idx}}"  # what stands for the number of a page in a Repeater that names nothing else
STEP = re.compile(r"([^.\[\]]+)(?=[.\[]|$)|\[(\d{1,9})\]")  # a name, or a number in brackets


@dataclass(frozen=True, slots=True)
class Repeat:
    """A `Repeater` around tags: there is one of each for each entry of a list in the task.

    Parameters
    ----------
    on
        "$pages": where the list is.
    flag
        What stands for the number of the entry in the attributes of the tags.
    """

    on: str
    flag: str

    def times(self, data: Any) -> int:
        """Return how many entries the list has."""
        found = _field(self.on, data)
        return len(found) if isinstance(found, list) else 0


@dataclass(frozen=True, slots=True)
class Control:
    """A control tag, as it applies to one image.

    Parameters
    ----------
    name
        Of the tag: the `from_name` of its regions.
    kind
        What it draws.
    to_name
        Name of the image tag.
    labels
        What it can say, as Label Studio stores it: the alias where there is one.
    labelled
        Whether it is a tag like `BrushLabels`; False for one like `Brush`.
    dynamic
        Whether its labels come with the task, so that any may be right.
    smart
        Whether it asks for predictions.
    smart_only
        Whether it does nothing else, so that answers must come from another tag.
    repeat
        The `Repeater` that it is in, if any; see `Controls.of_task`.
    """

    name: str
    kind: Kind
    to_name: str
    labels: tuple[str, ...] = ()
    labelled: bool = True
    dynamic: bool = False
    smart: bool = False
    smart_only: bool = False
    repeat: Repeat | None = None

    @property
    def type(self) -> str:
        """What its regions are called, and where their label is kept."""
        return f"{self.kind}labels" if self.labelled else self.kind

    def knows(self, label: str) -> bool:
        """Tell whether it can say a label."""
        return self.dynamic or label in self.labels


@dataclass(frozen=True, slots=True)
class ImageTag:
    """An image tag.

    Parameters
    ----------
    name
        What control tags refer to.
    value
        "$image" for a field of the task's data, or a fixed address.
    value_list
        "$images" for a field that holds several addresses, "" where there is none.
    repeat
        The `Repeater` that it is in, if any; see `Controls.of_task`.
    number
        Which of those it is that a `Repeater` made of one tag; None where there is none.
    """

    name: str
    value: str
    value_list: str = ""
    repeat: Repeat | None = None
    number: int | None = None

    def references(self, data: Any) -> list[Any]:
        """Return the addresses of the images of a task's `data`, in the order of `item_index`; [] where it has none.

        Examples
        --------
        >>> ImageTag("image", "$image").references({"image": "/data/a.png"})
        ['/data/a.png']
        >>> ImageTag("image", "", "$pages").references({"pages": ["a", "b"]})
        ['a', 'b']
        """
        found = _field(self.value_list, data) if self.value_list else None
        if found is None and self.value:
            found = _field(self.value, data)
        if found is None or found == "":
            return []
        return list(found) if isinstance(found, list) else [found]

    def is_list(self, data: Any) -> bool:
        """Tell whether a task has several images, so that `item_index` chooses one of them and not a page."""
        return isinstance(_field(self.value_list or self.value, data), list)


@dataclass(frozen=True, slots=True)
class Controls:
    """What a labelling config allows. Make one with `Controls.of`; what is wrong with the config is in `problems`.

    Parameters
    ----------
    controls
        Tags that draw regions on an image, once for each image tag that they apply to.
    images
        The image tags.
    problems
        What is wrong: sentences for a log. Not empty where nothing can be answered.

    Examples
    --------
    >>> controls = Controls.of('''<View><Image name="image" value="$image"/>
    ...     <KeyPointLabels name="kp" toName="image" smart="true"><Label value="Cell"/></KeyPointLabels>
    ...     <BrushLabels name="brush" toName="image"><Label value="Cell"/></BrushLabels></View>''')
    >>> controls.output("image", "Cell").name
    'brush'
    >>> Controls.of("<View>").problems
    ('got a labelling config that is no XML (no element found: line 1, column 6); correct it in the project',)
    """

    controls: tuple[Control, ...] = ()
    images: tuple[ImageTag, ...] = ()
    problems: tuple[str, ...] = ()

    @classmethod
    def of(cls, xml: object) -> Controls:
        """Read a config; never raises."""
        if not isinstance(xml, str) or not xml.strip():
            return cls(problems=("got no labelling config; set one up in the project",))
        try:
            tags = list(_parsed(xml).iter())
        except (ParseError, ValueError) as error:
            return cls(problems=(f"got a labelling config that is no XML ({error}); correct it in the project",))
        repeats = _repeats(tags)
        images = tuple(_image(tag, repeats.get(tag)) for tag in tags if tag.tag == "Image" and tag.get("name"))
        names = {image.name for image in images}
        controls = tuple(each for tag in tags for each in _controls(tag, repeats.get(tag)) if each.to_name in names)
        return cls(controls, images, tuple(_problems(controls, images)))

    def of_task(self, data: Any) -> Controls:
        """Return what the config means for the data of one task: tags in a `Repeater` are there once for each entry.

        Examples
        --------
        >>> controls = Controls.of('''<View><Repeater on="$pages" indexFlag="{{idx}}">
        ...     <Image name="page_{{idx}}" value="$pages[{{idx}}].url"/>
        ...     <BrushLabels name="brush_{{idx}}" toName="page_{{idx}}"><Label value="Cell"/></BrushLabels>
        ...     </Repeater></View>''')
        >>> of_task = controls.of_task({"pages": [{"url": "a.png"}, {"url": "b.png"}]})
        >>> of_task.output("page_1").name, of_task.images[1].value
        ('brush_1', '$pages[1].url')
        """
        if not any(image.repeat for image in self.images):
            return self
        controls = tuple(replace(c, **names) for c in self.controls for _, names in _repeated(c, data))
        images = tuple(replace(i, number=n, **names) for i in self.images for n, names in _repeated(i, data))
        return replace(self, controls=controls, images=images)

    def pictures(self) -> list[ImageTag]:
        """Return the image tags on which everything is segmented: the first that has an answer, one for each page."""
        first = self.image()
        if first is None or first.number is None:
            return [first] if first else []
        answered = {control.to_name for control in self.controls if control.kind in OUTPUTS}
        return [image for image in self.images if image.number is not None and image.name in answered]

    def image(self, to_name: str | None = None) -> ImageTag | None:
        """Return the image tag of that name, or else the first one that something can be answered about."""
        targets = [control.to_name for control in self.controls if control.kind in OUTPUTS]
        wanted = to_name or (targets[0] if targets else None)
        return next((image for image in self.images if image.name == wanted), None)

    def output(self, to_name: str, label: str | None = None, kind: Kind | None = None) -> Control | None:
        """Choose the tag that answers about an image: one that knows the label, and shows a mask best.

        Parameters
        ----------
        to_name
            Name of the image tag.
        label
            What the answer should say, where that is known.
        kind
            Take a tag of this kind alone.
        """
        found = [c for c in self.controls if c.to_name == to_name and c.kind in OUTPUTS and kind in (None, c.kind)]
        found = [c for c in found if not c.smart_only] or found
        found.sort(key=lambda c: (label is not None and not c.knows(label), OUTPUTS.index(c.kind), not c.labelled))
        return found[0] if found else None

    def named(self, name: object) -> Control | None:
        """Return the control tag of a name."""
        return next((control for control in self.controls if control.name == name), None)


def _parsed(xml: str) -> Element:
    """Parse XML that may come from anybody: no document types, so no entities that grow."""
    if len(xml) > LONGEST:
        msg = f"{len(xml)} characters, expected at most {LONGEST}"
        raise ValueError(msg)
    if "<!DOCTYPE" in xml.upper() or "<!ENTITY" in xml.upper():
        msg = "it declares a document type or entities, which are not taken"
        raise ValueError(msg)
    parser = XMLParser()
    parser.feed(xml)
    root: Element = parser.close()
    return root


def _repeats(tags: Iterable[Element]) -> dict[Element, Repeat]:
    """Return of each tag inside a `Repeater` which one that is."""
    return {
        inside: Repeat(tag.get("on", ""), tag.get("indexFlag") or tag.get("indexflag") or FLAG)
        for tag in tags
        if tag.tag == "Repeater"
        for inside in tag.iter()
    }


def _repeated(tag: Control | ImageTag, data: Any) -> Iterator[tuple[int | None, dict[str, Any]]]:
    """Yield the number of each tag that there is in place of this one, and the attributes in which they differ."""
    repeat = tag.repeat
    if repeat is None:
        yield None, {}
        return
    texts = {name: getattr(tag, name) for name in ("name", "to_name", "value", "value_list") if hasattr(tag, name)}
    for i in range(repeat.times(data)):
        yield i, {name: text.replace(repeat.flag, str(i)) for name, text in texts.items()}


def _image(tag: Element, repeat: Repeat | None) -> ImageTag:
    value_list = tag.get("valueList", tag.get("valuelist", ""))
    return ImageTag(tag.get("name", ""), tag.get("value", ""), value_list, repeat)


def _controls(tag: Element, repeat: Repeat | None) -> Iterator[Control]:
    """Yield a control for each image that a tag applies to; nothing for a tag that draws no region."""
    name = tag.tag.lower()
    labelled = name.endswith("labels")
    kind = next((kind for kind in KINDS if name.removesuffix("labels") == kind), None)
    if kind is None or not tag.get("name"):
        return
    labels = tuple(each.get("alias") or each.get("value") or "" for each in tag.iter("Label"))
    smart_only = _is_on(tag, "smartOnly")
    for to_name in tag.get("toName", "").split(","):
        yield Control(
            name=tag.get("name", ""),
            kind=kind,
            to_name=to_name.strip(),
            labels=labels if labelled else (),
            labelled=labelled,
            dynamic=labelled and tag.get("value", "").startswith("$"),
            smart=smart_only or _is_on(tag, "smart"),
            smart_only=smart_only,
            repeat=repeat,
        )


def _is_on(tag: Element, attribute: str) -> bool:
    return (tag.get(attribute) or tag.get(attribute.lower()) or "").lower() in YES


def _problems(controls: tuple[Control, ...], images: tuple[ImageTag, ...]) -> Iterator[str]:
    if not images:
        yield "got a labelling config without an Image tag that has a name; add one"
    elif not any(control.kind in OUTPUTS for control in controls):
        yield (
            "got a labelling config without a tag that can show an answer; add BrushLabels, PolygonLabels, "
            "BitmaskLabels, RectangleLabels or EllipseLabels with the toName of the image"
        )


def _field(value: str, data: Any) -> Any:
    """Look up "$image", "$page.image" or "$pages[0].image" in a task's data; what has no $ is meant as it stands."""
    if not value.startswith("$"):
        return value or None
    if isinstance(data, dict) and value[1:] in data:
        return data[value[1:]]
    for name, number in STEP.findall(value[1:]):
        if number:
            data = data[int(number)] if isinstance(data, list) and int(number) < len(data) else None
        else:
            data = data.get(name) if isinstance(data, dict) else None
    return data
