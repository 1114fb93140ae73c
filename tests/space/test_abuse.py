"""What a stranger may send: none of it gets in, none of it shows anything of the server, and the server goes on.

Every case is sent to a page that has work on it; afterwards the work is as it was.
"""

from __future__ import annotations

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from sam_space.limits import Limits
from sam_space.picture import inside, read_upload, safe_name
from sam_space.refusal import Refusal
from tests.space.drive import EASY, Page, opened, png, squares

SMALL = Limits(
    file_bytes=1 << 18,
    file_pixels=250_000,
    work_pixels=200_000,
    planes=4,
    stack_bytes=1 << 20,
    actions_per_second=1e6,
    previews_per_second=1e6,
    opens_per_minute=1e6,
    visits_per_minute=1e6,
)
DEEP = "[" * 60_000 + "]" * 60_000
STRANGE: tuple[Any, ...] = (
    None, True, False, "", "0", "10", [], [1], {}, {"a": 1}, 1e300, -1e300, 1e7, -5, 60.5, 1e6,
)  # fmt: skip
PATHS = (
    "/etc/passwd", "../../../../etc/passwd", "....//....//etc/passwd", "%2e%2e%2fetc%2fpasswd", "..%2f..%2fdesk.py",
    "..\\..\\desk.py", "C:\\Windows\\win.ini", "file:///etc/passwd", "/proc/self/environ", "/dev/zero", "~/.ssh/id_rsa",
    "server.py", "page.html", "main.js%00.png", "\0", ".", "..", "", "//etc/passwd", "static/../desk.py", "main.js/",
    "MAIN.JS", "main.js.map", ".git/config", "app.py", "__init__.py", "a" * 5000, "\u202egnp.exe", "*", "{main.js}",
)  # fmt: skip


@pytest.fixture(scope="module")
def page() -> Page:
    page = opened(SMALL)
    page.act("click", x=10, y=10)
    return page


@pytest.fixture(autouse=True)
def _unharmed(page: Page) -> Any:
    """The work is there, untouched, and the model still answers."""
    yield
    (each,) = page.post("/look", {"plane": 0}).json()["objects"]
    assert (each["number"], each["area"], each["name"]) == (1, 100, "object 1")
    assert page.post("/preview", {"plane": 0, "x": 40, "y": 25}).json()["mask"]


def refused(answer: Any) -> str:
    """It is refused with a sentence, which says nothing of paths, modules or lines."""
    told: str = answer.json()["refused"]
    assert answer.status_code in (200, 400, 404, 413, 429, 503)
    assert told
    for inner in ("Traceback", "/tmp", "site-packages", "sam_space", ".py", "line ", "0x"):
        assert inner not in told
    assert answer.headers["x-content-type-options"] == "nosniff"
    return told


# -- requests ---------------------------------------------------------------------------------------------------------

BODIES = (
    b"", b"{", b"null", b"[]", b"1", b'"a"', b"\xff\xfe\0", b"NaN", b"{\"plane\": }", DEEP.encode(), b"<xml/>",
    b"plane=0", b"\0" * 100, b'{"action": "click"' + b" " * 1000, b'{"plane": 1e999}',
    b'{"plane": "' + b"a" * 100 + b'"}',
)  # fmt: skip


@pytest.mark.parametrize("body", BODIES, ids=range(len(BODIES)))
def test_malformed_json(page: Page, body: bytes) -> None:
    refused(page.post("/act", body))


@pytest.mark.parametrize(
    "path",
    ["/act", "/preview", "/look", "/take", "/python", "/example", "/encode", "/everything", "/models", "/model"],
)
def test_bodies_without_end(page: Page, path: str) -> None:
    assert "bytes" in refused(page.post(path, b" " * (200 << 10)))


@pytest.mark.parametrize("value", STRANGE, ids=repr)
@pytest.mark.parametrize(
    "given",
    [("click", "x"), ("click", "y"), ("box", "box"), ("choose", "index"), ("stroke", "points"), ("stroke", "radius")],
)
def test_strange_values(page: Page, given: tuple[str, str], value: Any) -> None:
    action, name = given
    good = {"x": 500, "y": 500, "box": None, "index": -1, "points": [["a", "b"]], "radius": 0}
    refused(page.post("/act", {"action": action, "plane": 0, **good, name: value}))


@pytest.mark.parametrize("plane", [v for v in STRANGE if v is not None] + [1, 2**70, 0.0, [0]], ids=repr)
def test_strange_planes(page: Page, plane: Any) -> None:
    for path in ("/look", "/preview", "/picture"):
        refused(page.post(path, {"plane": plane, "x": 10, "y": 10}))


@pytest.mark.parametrize("action", [*STRANGE, "__init__", "then", "__class__", "eval", "click ", "CLICK"], ids=repr)
def test_unknown_actions(page: Page, action: Any) -> None:
    refused(page.post("/act", {"action": action, "plane": 0}))


@pytest.mark.parametrize(
    "name", [*STRANGE, *PATHS, "facebook/sam-vit-huge", "cell2", "cell@main", "acme/toy"], ids=repr
)
def test_models_that_are_not_offered(page: Page, name: Any) -> None:
    """Nothing is asked of the Hub, and nothing is loaded from the disk."""
    *told, last = page.lines("/model", {"name": name})
    assert told == []
    assert "not offered here" in last.get("refused", "") or (name == "" and last["model"] == "cell")


@pytest.mark.parametrize("points", [
    [[1, 1]] * 2001, [[1, 1, 1]], [[1]], [1, 2], [[None, 1]], [["1", "2"]], [[float("1e30"), 1]], [{"x": 1}], [[]],
    "ab",
])  # fmt: skip
def test_strokes_that_are_none(page: Page, points: Any) -> None:
    refused(page.post("/act", {"action": "stroke", "plane": 0, "points": points, "radius": 2}))


@pytest.mark.parametrize(
    "colour", ["red", "#fff", "#gggggg", "#ff0000;x", "url(http://a)", "", "#12345\n", "expression(1)"]
)
def test_colours_that_are_none(page: Page, colour: str) -> None:
    refused(page.post("/act", {"action": "recolour", "number": 1, "colour": colour}))


@pytest.mark.parametrize("key", ["", "a", "None", "../", "'; drop table", "x" * 5000, "0", "undefined"])
def test_keys_of_nobody(page: Page, key: str) -> None:
    for path in ("/act", "/look", "/open", "/take", "/everything", "/models", "/model"):
        assert page.http.post(path, content="{}", headers={"x-visitor": key}).status_code == 404


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
@pytest.mark.parametrize("place", ["static", "example"])
def test_paths_that_lead_elsewhere(page: Page, place: str, path: str) -> None:
    from urllib.parse import quote

    for each in (path, quote(path, safe=""), quote(path)):
        if "\0" in each or each in ("", ".", "..", "/"):
            continue
        answer = page.http.get(f"/{place}/{each}")
        assert answer.status_code in (404, 405)
        assert "root:" not in answer.text


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH"])
def test_other_methods(page: Page, method: str) -> None:
    assert page.http.request(method, "/act").status_code == 405


# -- files ------------------------------------------------------------------------------------------------------------


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png_of(width: int, height: int, content: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(content)) + chunk(b"IEND", b"")


def gif_of_many() -> bytes:
    out = io.BytesIO()
    frames = [Image.fromarray(np.full((9, 9), i * 20, np.uint8)) for i in range(9)]
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    return out.getvalue()


def tiff(image: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, image, **{"photometric": "minisblack", **options})
    return out.getvalue()


def swollen_tiff() -> bytes:
    """A deflated strip that unpacks to a hundred times what the page says."""
    honest = bytearray(tiff(np.zeros((16, 16), np.uint8), compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(bytes(honest))) as file:
        (page,) = file.pages
        tags = {name: page.tags[name].valueoffset for name in ("StripOffsets", "StripByteCounts")}
        sizes = {name: page.tags[name].dtype for name in tags}
    bomb = zlib.compress(b"\0" * 25_600, 9)
    for name, value in (("StripOffsets", len(honest)), ("StripByteCounts", len(bomb))):
        struct.pack_into({3: "<H", 4: "<I"}[int(sizes[name])], honest, tags[name], value)
    return bytes(honest) + bomb


def ome_of_others(name: str) -> bytes:
    ome = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06" UUID="urn:uuid:me">'
        '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYCZT" Type="uint8" SizeX="16" SizeY="16" SizeC="1" '
        f'SizeZ="1" SizeT="1"><TiffData IFD="0"><UUID FileName="{name}">urn:uuid:other</UUID></TiffData></Pixels>'
        "</Image></OME>"
    )
    return tiff(np.zeros((16, 16), np.uint8), description=ome, metadata=None)


FILES: dict[str, bytes] = {
    "nothing": b"",
    "text": b"root:x:0:0",
    "html": b"<html><script>alert(1)</script>",
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
    "svg bomb": b'<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><svg>&c;</svg>',
    "postscript": b"%!PS-Adobe-3.0 EPSF-3.0\n(%pipe%id) (r) file",
    "pdf": b"%PDF-1.7\n",
    "zip": b"PK\3\4" + b"\0" * 60,
    "elf": b"\x7fELF" + b"\0" * 60,
    "pickle": b"\x80\x04\x95\x10\0\0\0\0\0\0\0\x8c\x02os\x94\x8c\x06system\x94",
    "npy of objects": b"\x93NUMPY\1\0v\0{'descr': '|O', 'fortran_order': False, 'shape': (9, 9), }" + b" " * 56 + b"\n",
    "huge npy": b"\x93NUMPY\1\0v\0{'descr': '<f8', 'fortran_order': False, 'shape': (99999, 99999), }".ljust(128)
    + b"\n",
    "png head": b"\x89PNG\r\n\x1a\n",
    "png of 4e18 pixels": png_of(2**31 - 1, 2**31 - 1),
    "png of 1e10 pixels": png_of(100_000, 100_000),
    "png just too large": png_of(501, 500, b"\0" * 502 * 500),
    "png without pixels": png_of(0, 0),
    "png cut short": png(squares())[:60],
    "png bomb": png_of(400, 400, b"\0" * (1 << 24))[:200],
    "gif of many planes": gif_of_many(),
    "gif cut": b"GIF89a\xff\xff\xff\xff\0\0\0",
    "jpeg head": b"\xff\xd8\xff\xe0",
    "jpeg of 4e9": b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\3\1\x22\0\2\x11\1\3\x11\1\xff\xd9",
    "bmp": b"BM" + struct.pack("<IHHI", 100, 0, 0, 54) + struct.pack("<IiiHHI", 40, 2**31 - 1, 2**31 - 1, 1, 24, 0),
    "webp": b"RIFF\xff\xff\xff\x7fWEBPVP8 ",
    "tiff head": b"II*\0",
    "tiff loop": b"II*\0\x08\0\0\0\0\0\x08\0\0\0",
    "tiff wild": b"II*\0\xff\xff\xff\x7f",
    "bigtiff wild": b"II+\0\x08\0\0\0" + b"\xff" * 8,
    "tiff of many pages": tiff(np.zeros((600, 16, 16), np.uint8)),
    "tiff of 5 planes": tiff(np.zeros((5, 16, 16), np.uint8)),
    "tiff too large": tiff(np.zeros((600, 600), np.uint8), compression="zlib"),
    "tiff swollen": swollen_tiff(),
    "tiff of complex": tiff(np.zeros((16, 16), np.complex64)),
    "tiff of nan": tiff(np.full((16, 16), np.nan, np.float32)),
    "ome of /etc": ome_of_others("/etc/passwd"),
    "ome of others": ome_of_others("../../secret.tif"),
    "ome of a url": ome_of_others("http://127.0.0.1/a.tif"),
    "too many bytes": b"\x89PNG" + b"\0" * (1 << 19),
    "text that opens with II": b"II*\0" + b"A" * 1000,
}


@pytest.mark.parametrize("kind", FILES)
def test_files_that_are_traps(page: Page, kind: str) -> None:
    for name in ("a.png", "../../a.tif"):
        told = refused(page.open(FILES[kind], name))
        assert "got" in told


def test_only_the_first_planes_of_a_bomb_are_ever_unpacked(tmp_path: Path) -> None:
    """The traps above are refused for what they are, not by chance: the honest ones of the same make are read."""
    for name, content in {
        "a.png": png_of(400, 400, b"\0" * 401 * 400),
        "b.tif": tiff(np.zeros((16, 16), np.uint8), compression="zlib"),
        "c.tif": tiff(np.zeros((4, 16, 16), np.uint8)),
    }.items():
        (tmp_path / name).write_bytes(content)
        assert read_upload(tmp_path / name, name, SMALL).planes


def test_a_large_picture_is_shrunk_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(np.zeros((498, 500), np.uint8)))
    picture = read_upload(tmp_path / "a.png", "a.png", SMALL)
    assert (picture.shrunk, picture.shape) == (2, (249, 250))


@pytest.mark.parametrize("path", PATHS, ids=range(len(PATHS)))
def test_only_files_inside_the_folder_of_uploads(path: str, tmp_path: Path) -> None:
    folder = tmp_path / "uploads"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(png(squares()))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "mine.png").write_bytes(png(squares()))
    for each in (
        path,
        str(folder / "link.png"),
        str(folder / ".." / "secret.png"),
        str(folder),
        f"{folder}x/../secret.png",
    ):
        with pytest.raises(Refusal):
            inside(each, folder)
    assert inside(folder / "mine.png", folder).name == "mine.png"


@pytest.mark.parametrize("name", [*PATHS, '<img src=x onerror="alert(1)">.png', 'a"; filename="b.exe', "a\r\nX: y.png"])
def test_names_are_harmless(page: Page, name: str) -> None:
    kept = safe_name(name)
    assert kept == Path(kept).name
    assert not set('<>"\r\n\0;/\\') & set(kept)


def test_a_page_never_makes_markup_of_text() -> None:
    """The one `innerHTML` is a drawing of our own; all else goes through `textContent` and `value`."""
    import sam_space.server

    scripts = [file.read_text() for file in sam_space.server.STATIC.glob("*.js")]
    assert sum(text.count("innerHTML") for text in scripts) == 1
    assert not any(
        word in text for text in scripts for word in ("outerHTML", "insertAdjacentHTML", "eval(", "document.write")
    )


# -- floods -----------------------------------------------------------------------------------------------------------


def test_floods_are_turned_away(page: Page) -> None:
    flood = opened(Limits(actions_per_second=2, previews_per_second=2, opens_per_minute=6, visits_per_minute=3))
    previews = [flood.post("/preview", {"plane": 0, "x": 10, "y": 10}).status_code for _ in range(20)]
    acts = [flood.post("/act", {"action": "undo"}).status_code for _ in range(30)]
    opens = [flood.open(png(squares())).status_code for _ in range(10)]
    visits = [flood.http.post("/visit").status_code for _ in range(6)]
    for codes in (previews, acts, opens, visits):
        assert codes[0] == 200
        assert set(codes) == {200, 429}


def test_visitors_without_end_take_the_place_of_the_oldest(page: Page) -> None:
    from dataclasses import replace

    from tests.space.drive import desk

    crowd = desk(replace(EASY, visitors=5))
    pages = [Page(crowd) for _ in range(9)]
    assert len(crowd.visitors) == 5
    assert [p.post("/look").json()["refused"][:10] for p in (pages[0], pages[-1])] == ["your visit", "there is n"]


def test_the_queue_is_bounded(page: Page) -> None:
    import threading

    from sam_space.gate import Gate

    gate = Gate(1, waiting=2)
    done: list[bool] = []

    def wait() -> None:
        with gate.through() as turn:
            done.append(turn)

    with gate.through():
        waiting = [threading.Thread(target=wait) for _ in range(2)]
        for each in waiting:
            each.start()
        while gate.length < 2:
            pass
        with pytest.raises(Refusal), gate.through():
            pass
    for each in waiting:
        each.join(10)
    assert done == [True, True]


def test_a_click_goes_before_previews_that_wait(page: Page) -> None:
    import threading

    from sam_space.gate import Gate

    gate = Gate(1, waiting=9)
    order: list[bool] = []

    def wait(urgent: bool) -> None:
        with gate.through(urgent=urgent):
            order.append(urgent)

    with gate.through():
        waiting = []
        for number, urgent in enumerate((False, False, True, True), start=1):
            waiting.append(threading.Thread(target=wait, args=(urgent,)))
            waiting[-1].start()
            while gate.length < number:
                pass
    for each in waiting:
        each.join(10)
    assert order == [True, True, False, False]


def test_how_many_cases_there_are() -> None:
    """At least the 200 that were promised."""
    files = 2 * len(FILES)
    requests = len(BODIES) + 6 * len(STRANGE) + 3 * 19 + 8 * 5 + 2 * len(PATHS) + 10 + 8 + 22
    assert files + requests + 2 * len(PATHS) >= 200
    assert json.dumps(DEEP)
