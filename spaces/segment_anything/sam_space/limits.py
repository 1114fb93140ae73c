"""How much a public server does for whom."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that keep one visitor from taking the server away from the others.

    Parameters
    ----------
    file_bytes
        Of an upload, counted while it arrives.
    file_pixels
        Of a plane of an upload, told from its header before anything is decoded.
    work_pixels
        Of a plane that is worked on; a larger one is shrunk, and the page says so.
    planes
        Of a stack.
    stack_bytes
        Of all planes of a stack, decoded.
    embedding_bytes, picture_bytes
        Of all embeddings and of all pictures that are kept, for all visitors; what was not used for longest goes.
    visitors
        That are known at a time; who was not there for longest is forgotten.
    idle_seconds
        After which a visitor is forgotten, and all that was uploaded.
    waiting
        Requests that may wait for the model; more are refused.
    previews_per_second, actions_per_second, opens_per_minute
        Of one visitor.
    visits_per_minute
        From one address.
    features_bytes, features_per_minute
        That are sent to a browser of one plane, and how often to one visitor; of a larger plane the server answers.
    objects, clicks, steps
        That one visitor may have: objects on a picture, clicks on an object, steps to undo.
    everything_seconds
        That one run of everything may take.
    models
        That are kept beside the one that is always there.
    model_seconds
        After which a visitor who asks nothing does not keep a model from making room.
    loads_per_hour
        Models that one visitor may have loaded; all together may three times as many.
    waiting_loads
        Visitors that may wait while another model is loaded.
    upload_seconds
        That what a program sent stays on the disk after it was read: it may be sent once more by another, who waits.
    exports
        Files that are made at a time; more wait.
    """

    file_bytes: int = 24 * MIB
    file_pixels: int = 40_000_000
    work_pixels: int = 2048 * 2048
    planes: int = 64
    stack_bytes: int = 128 * MIB
    embedding_bytes: int = 512 * MIB
    picture_bytes: int = 384 * MIB
    visitors: int = 400
    idle_seconds: float = 1800.0
    waiting: int = 48
    previews_per_second: float = 40.0
    actions_per_second: float = 8.0
    opens_per_minute: float = 40.0
    visits_per_minute: float = 60.0
    features_bytes: int = 24 * MIB
    features_per_minute: float = 60.0
    objects: int = 2000
    clicks: int = 64
    steps: int = 60
    everything_seconds: float = 120.0
    models: int = 2
    model_seconds: float = 600.0
    loads_per_hour: float = 20.0
    waiting_loads: int = 6
    upload_seconds: float = 15.0
    exports: int = 2
