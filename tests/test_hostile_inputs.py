"""Odd, damaged and hostile files on the command line: done, or refused in one line that names the file.

A row of CASES is a name, files by their names, the command, its exit status, and what is printed. To add one,
write a row. Commands run in this process, in the folder of the files, with a detector that finds red
rectangles; none may end in an exception or leave hidden files.
"""

import logging
import re
import struct
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import video_fixtures
from hostile_files import (
    Content,
    by_frame,
    clip,
    coco,
    cvat,
    exif,
    glb,
    grey,
    link,
    npz,
    photo,
    png_of,
    png_with,
    top_down_bmp,
    video,
    xml_bomb,
)

from fullframe.body import load_body
from fullframe.cli import main as cli
from fullframe.models import create_model
from fullframe.recovery import photo as recovery


class Case(NamedTuple):
    name: str
    files: dict[str, Content]
    command: str
    status: int
    printed: str


CASES: list[Case] = []


def case(name: str, files: dict[str, Content], command: str, status: int, printed: str) -> None:
    CASES.append(Case(name, files, command, status, printed))


A = {"a.png": photo()}
RUN = "run a.png -o out --save npz"
FOUND = r"a\.\w+: 1 person"


def photos(name: str, file: str, content: Content, status: int, printed: str) -> None:
    case(f"photo: {name}", {file: content}, f"run {file} -o out --save npz", status, printed)


photos("png named jpg", "a.jpg", photo(), 0, FOUND)
photos("jpeg named png", "a.png", photo("JPEG"), 0, FOUND)
photos("gif named jpeg", "a.jpeg", photo("GIF"), 0, FOUND)
photos("jpeg named mp4", "a.mp4", photo("JPEG"), 0, FOUND)
photos("text", "a.jpg", b"hello", 1, "a.jpg: not an image")
photos("pdf", "a.jpg", b"%PDF-1.4\n", 1, "a.jpg: not an image")
photos("zip", "a.png", npz(a=np.zeros(3)), 1, "a.png: not an image")
photos("svg", "a.svg", b"<svg xmlns='http://www.w3.org/2000/svg'/>", 1, "a.svg: not an image")
photos("web page", "a.jpg", b"<html>404</html>", 1, "a.jpg: not an image")
photos("postscript", "a.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", 1, "a.jpg: ")
photos("photoshop", "a.psd", b"8BPS" + bytes(40), 1, "a.psd: not an image")
photos("icon", "a.ico", b"\0\0\1\0\1\0" + bytes(40), 1, "a.ico: ")
photos("dds", "a.jpg", b"DDS " + bytes(200), 1, "a.jpg: ")
photos("tga noise", "a.tga", bytes(range(256)) * 2, 1, "a.tga: not an image")
photos("one pixel", "a.png", photo(size=(1, 1)), 0, FOUND)
photos("one row", "a.png", photo(size=(3000, 1)), 0, FOUND)
photos("one column", "a.png", photo(size=(1, 3000)), 0, FOUND)
photos("cmyk", "a.jpg", photo("JPEG", mode="CMYK"), 0, FOUND)
photos("lab", "a.tif", photo("TIFF", mode="LAB"), 0, FOUND)
photos("one bit", "a.tif", photo("TIFF", mode="1"), 0, "no person found")
photos("16 bits of zeros", "a.png", grey(np.zeros((48, 64), np.uint16)), 0, "no person found")
photos(
    "float with nan", "a.tif", grey(np.full((8, 8), np.nan, np.float32), "TIFF"), 1, "a.tif: .* not finite"
)
photos("bmp from the top", "a.bmp", top_down_bmp(), 0, FOUND)
photos("cut jpeg", "a.jpg", photo("JPEG", (640, 480))[:4000], 1, "a.jpg: .*truncated")
photos("cut gif", "a.gif", photo("GIF")[:30], 1, "a.gif: ")
photos("cut webp", "a.webp", photo("WEBP")[:30], 1, "a.webp: ")
photos("cut jp2", "a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(40), 1, "a.jp2: ")
photos("bytes after the end", "a.jpg", photo("JPEG") + b"x" * 5000, 0, FOUND)
photos("png of 10^10 px", "a.png", png_of(10**5, 10**5), 1, "a.png: .*exceeds limit")
photos("png of 169 megapixels", "a.png", png_of(13_000, 13_000), 1, "^failed a.png: .*truncated")
photos("ppm of 10^15 px", "a.ppm", b"P6 99999999 99999999 255\n", 1, "a.ppm: .*exceeds limit")
photos("profile of 64 MB", "a.png", png_with(b"iCCP", 1 << 26), 1, "a.png: .*too large")
photos("text of 64 MB", "a.png", png_with(b"zTXt", 1 << 26), 1, "a.png: .*too large")
photos("orientation 0", "a.jpg", photo("JPEG", exif=exif(0)), 0, FOUND)
photos("orientation 99", "a.jpg", photo("JPEG", exif=exif(99)), 0, FOUND)
photos("damaged exif", "a.jpg", photo("JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 54), 0, "^a.jpg: 1 person")
photos("exif of 65535 mm", "a.jpg", photo("JPEG", exif=exif(equivalent=65535)), 0, "not used: .* no lens has")
photos(
    "exif of a cut photo", "a.jpg", photo("JPEG", (32, 60), exif=exif(equivalent=26, width=32, height=60)), 0,
    r"focal 68 px \(diagonal; EXIF's is not used: 32 x 60 px is no camera's shape: the photo was cut\)",
)  # fmt: skip
photos(
    "exif of another photo",
    "a.jpg",
    photo("JPEG", exif=exif(equivalent=26, width=9, height=9)),
    0,
    "not used",
)

for name in (
    "a b.jpg", "%d.jpg", "[x].jpg", "~x.jpg", "0", "7.jpg", "a.jpg.", "é😀.jpg", "a:b.jpg", "rtsp:x.jpg",
    "*.jpg", "a?.jpg", "a#b.jpg", "A.JPG",
):  # fmt: skip
    case(f"name: {name}", {name: photo("JPEG")}, f"run|{name}|-o|out|--save|npz", 0, "1 person in 1 photo")
case("name: option", {"-o.jpg": photo("JPEG")}, "run ./-o.jpg -o out --save npz", 0, "-o.jpg: 1 person")
case(
    "name: escapes",
    {"a\x1b[31m\x07.jpg": photo("JPEG")},
    "run|a\x1b[31m\x07.jpg|-o|out",
    0,
    r"a\?\[31m\?.jpg",
)
case(
    "name: long",
    {f"d/{'b' * 245}.jpg": photo("JPEG"), f"d/{'b' * 245}.png": photo(), f"d/{'ä' * 120}.png": photo()},
    "run d -o out", 0, "3 people in 3 photos",
)  # fmt: skip
case("name: empty", {}, "run||-o|out", 2, "an input is empty")
case(
    "same file by links",
    {**A, "b.png": link("a.png")},
    "run a.png b.png ./a.png -o out",
    0,
    "1 person in 1 photo",
)
case("folder in itself", {"d/a.png": photo(), "d/d": link("..")}, "run d -o out", 0, "left out: d .a folder")
case(
    "same stems",
    {"d/a.png": photo(), "d/a.jpg": photo("JPEG"), "d/A.gif": photo("GIF")},
    "run d -o o",
    0,
    "3 photos",
)
case("out: a file", {**A, "out": b"x"}, RUN, 2, "output folder out: File exists")
case("out: a broken link", {**A, "out": link("nowhere/x")}, RUN, 2, "output folder out")
case("out: below a file", {**A, "f": b"x"}, "run a.png -o f/out", 2, "output folder f/out: Not a directory")
case(
    "out: a folder in the way",
    {**A, "out/a.npz/x": b""},
    RUN,
    1,
    "a folder has the name of the file to write",
)
case("out: a link to the input", {**A, "out/a.npz": link("../a.png")}, RUN, 2, "would overwrite an input")
case("no files: empty folder", {"d/.x": b""}, "run d -o out", 2, "d: no photos or videos")
case("no files: bracket", {}, "run [a.jpg -o out", 2, "no file matches")
for save in ("", ",", "NPZ"):
    case(f"save: {save}", A, f"run|a.png|-o|out|--save|{save}", 2, "--save takes any of")

for option, message in {
    "--focal=0": "focal length must be positive",
    "--focal=nan": "focal length must be positive",
    "--focal=1e400": "focal length must be positive",
    "--focal=abc": "could not convert",
    "--fov=180": "between 0 and 180",
    "--fov=nan": "between 0 and 180",
    "--fov=-60": "between 0 and 180",
    "--intrinsics 0 0 0 0": "focal length must be positive",
    "--intrinsics nan 1 2 3": "focal length must be positive",
    "--intrinsics 80": "input length 1|expected 4 arguments",  # by the version of tyro
}.items():
    case(f"camera: {option}", A, f"{RUN} {option}", 2, message)
for option, message in {
    "--focal=1e-5": "a.png: .*has to be in px",
    "--focal=12": "a.png: .*give 22 px",
    "--fov=1.05": "a.png: .*radians, give 60",
    "--intrinsics 80 80 -5 20": r"a.png: .*\(-5, 20\) lies outside the photo of 64 x 48 px$",
    "--intrinsics 80 80 320 240": "a.png: .*perhaps 640 x 480 px",
    "--intrinsics 80 800 32 24": "a.png: .*far from square",
    "--intrinsics 1.2 1.6 .5 .5": "a.png: .*look normalised",
}.items():
    case(f"camera: {option}", A, f"{RUN} {option}", 1, message)


def own(
    name: str, content: Content, status: int, printed: str, file: str = "p.json", **files: Content
) -> None:
    """The people of a.png out of a file."""
    given = file.split("/")[0]
    case(f"own: {name}", {**A, file: content, **files}, f"{RUN} --boxes {given}", status, printed)


TWICE = [{"id": 1, "file_name": "a.png"}, {"id": 1, "file_name": "b.png"}]
own("empty", b" \n", 2, "p.json: the file is empty")
own("object", b"{}", 2, "p.json has none of the formats")
own("null", b"null", 2, "p.json has none of the formats")
own("nested lists", b"[" * 10**5, 2, "p.json is not a JSON file: maximum recursion")
own("nested objects", b'{"a":' * 10**5, 2, "p.json is not a JSON file: maximum recursion")
own("utf-8 with mark", b"\xef\xbb\xbf" + coco(), 0, FOUND)
own("utf-16", coco().decode().encode("utf-16"), 0, FOUND)
own("latin-1", coco({"file_name": "x"}).replace(b'"x"', b'"\xe4"'), 2, "p.json is not a JSON file")
own("cut", coco()[:200], 2, "p.json is not a JSON file")
own("two documents", coco() + b"\n" + coco(), 2, "p.json is not a JSON file: Extra data")
own(
    "5000 digits", coco().replace(b'"bbox": [16', b'"bbox": [1' + b"0" * 5000), 2, "p.json is not a JSON file"
)
own("infinite box", coco().replace(b'"bbox": [16', b'"bbox": [1e999'), 1, "p.json, .*not finite")
own("nan box", coco().replace(b'"bbox": [16', b'"bbox": [NaN'), 1, "p.json, .*not finite")
own("box of text", coco(bbox=["16", "12", "16", "30"]), 1, "p.json, .*must be 4 numbers")
own("box of 3", coco(bbox=[1, 2, 3]), 1, "p.json, .*found 3 values")
own("box of 5", coco(bbox=[16, 12, 16, 30, 0.9]), 1, "p.json, .*found 5 values")
own("box as object", coco(bbox={"x": 1}), 1, "p.json, .*must be 4 numbers")
own("box without area", coco(bbox=[16, 12, 0, 0]), 1, "p.json, .*no area")
own("box outside", coco(bbox=[500, 500, 20, 20]), 1, "p.json, .*outside the image")
own("box partly outside", coco(bbox=[-50, -50, 90, 90]), 0, FOUND)
own("neither box nor keypoints", coco(bbox=None, keypoints=None), 1, "p.json, .*neither a bbox nor keypoints")
own("49 numbers of keypoints", coco(keypoints=[1.0] * 49), 1, "p.json, .*found 49 values")
own("keypoints in lists", coco(keypoints=[[1, 2, 1]] * 17), 1, "p.json, .*must be numbers")
own("category without list", coco(categories=None), 0, FOUND)
own("category of text", coco(category_id="person"), 0, "0 of 1 entries in p.json are people")
own(
    "category twice",
    coco(categories=[{"id": 1, "name": n} for n in ("person", "car")]),
    2,
    "several categories",
)
own("categories as text", coco(categories=["person"]), 2, "p.json: 'categories' must be a list of objects")
own("image's id as text", coco(image_id="1"), 0, FOUND)
own("image's id null", coco(image_id=None), 0, "p.json names nobody in it")
own("image's id twice", coco(images=TWICE), 1, "a.png: none of its .*the id 1 stands for several images")
own("images as object", coco(images={"1": "a.png"}), 2, "'images' and 'annotations' must be lists")
own("name null", coco({"file_name": None}), 1, "p.json has no entry for a.png")
own("name outside", coco({"file_name": "../../a.png"}), 1, "p.json has no entry for a.png")
own("name of Windows", coco({"file_name": "C:\\data\\a.png"}), 0, FOUND)
own("name of an address", coco({"file_name": "https://x.org/up%20load/a.png?size=2"}), 0, FOUND)
own("name of 10^5 letters", coco({"file_name": "a" * 10**5}), 1, "p.json has no entry for a.png")
own("name with NUL", coco({"file_name": "a\0.png"}), 1, "p.json has no entry for a.png")
own("name with half a letter", coco({"file_name": "\ud800.png"}), 1, "p.json has no entry for a.png")
own("size as text", coco({"width": "64", "height": "48"}), 0, FOUND)
own("size null", coco({"width": None, "height": None}), 0, FOUND)
own("size negative", coco({"width": -64}), 1, "p.json has no entry for a.png")
own("size of another photo", coco({"width": 100}), 1, "a.png: 64 x 48 px upright, but annotated as 100 x 48")
own("score null", coco(score=None), 0, FOUND)
own("score 2", coco(score=2), 1, "p.json, .*between 0 and 1")
own("crowd", coco(iscrowd=1), 0, "0 of 1 entries in p.json are people: 1 crowd")
own(
    "5000 people",
    coco(annotations=[{"image_id": 1, "category_id": 1, "bbox": [1, 1, 9, 9]}] * 5000),
    1,
    "limit is 1000",
)
own("entity bomb", xml_bomb(), 2, "p.xml is not an XML file that can be read: it has a document", "p.xml")
own(
    "external entity",
    b'<!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotations/>',
    2,
    "document type",
    "p.xml",
)
own("other XML", b"<html/>", 2, "p.xml is not CVAT's XML", "p.xml")
own("cut XML", b"<annotations><image", 2, "p.xml is not an XML file", "p.xml")
own("XML in utf-16", "<annotations/>".encode("utf-16"), 2, "p.xml is not CVAT's XML", "p.xml")
own("XML", cvat(), 0, FOUND, "p.xml")
own("XML without size", cvat(size=""), 0, FOUND, "p.xml")
own("XML with nan", cvat('xtl="nan" ytl="12" xbr="32" ybr="40"'), 1, "p.xml, .*not finite", "p.xml")
own("npz", npz(a=np.zeros(3)), 2, "p.npz is a ZIP archive", "p.npz")
own("pickle", b"\x80\x04.", 2, "p.pkl is not a JSON file", "p.pkl")
own("photo", photo(), 2, "p.json is not a JSON file")
own("folder of text", b"hello world\n", 1, "p/a.txt, line 1: expected numbers", "p/a.txt")
own("yolo nan", b"0 nan 0.5 0.2 0.5\n", 1, "p/a.txt, line 1", "p/a.txt")
own("yolo decimal commas", b"0 0,5 0,5 0,2 0,5\n", 1, "p/a.txt, line 1", "p/a.txt")
own("yolo in px", b"0 24 27 16 30\n", 1, "p/a.txt, line 1: .*must be fractions", "p/a.txt")
own("yolo of another photo", b"0 0.4 0.5 0.2 0.5\n", 1, "p has no entry for a.png", "p/b.txt")
own("MOT for a photo", b"1,1,16,12,16,30,1\n", 1, "t.txt has no entry for a.png", "t.txt")

NOT_A_VIDEO = "not a video that can be read"


def videos(name: str, content: Content, status: int, printed: str, file: str = "a.mp4") -> None:
    case(f"video: {name}", {file: content}, f"run {file} -o out --save npz", status, printed)


videos("one frame", video(1), 0, "1 person in 1 frame")
videos("two px", video(size=(2, 2)), 0, "in 3 frames")
videos("odd sides", video(size=(7, 5)), 0, "1 person in 3 frames")
videos("frames at one time", video(times=(0, 0, 0)), 0, "in 3 frames")
videos("hours between frames", video(times=(0, 3_600_000, 7_200_000)), 0, "person 1 enters at 3600.00 s")
videos("named jpg", video(kind="mp4"), 0, "1 person in 3 frames", "a.jpg")
videos("without suffix", video(kind="mp4"), 0, "1 person in 3 frames", "clip")
videos("sound alone", video(sound_alone=True), 1, "a.mp4: there is no video")
videos("text", b"hello", 1, f"a.mp4: {NOT_A_VIDEO}")
videos("empty", b"", 1, "a.mp4: the file is empty")
videos("concat list", b"ffconcat version 1.0\nfile /etc/passwd\n", 1, f"a.mp4: {NOT_A_VIDEO}")
videos("playlist", b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n", 1, f"a.ts: {NOT_A_VIDEO}", "a.ts")
videos("subtitles", b"1\n00:00:00,000 --> 00:00:01,000\nhi\n", 1, f"a.mp4: {NOT_A_VIDEO}")
videos("noise", b"RIFF" + bytes(range(256)) * 8, 1, f"a.avi: {NOT_A_VIDEO}", "a.avi")
videos("frames of 10^10 px", b"YUV4MPEG2 W99999 H99999 F25:1\nFRAME\n", 1, f"a.y4m: {NOT_A_VIDEO}", "a.y4m")
videos("cut", video(30, change=lambda content: content[: len(content) // 2]), 1, f"a.mp4: {NOT_A_VIDEO}")

FRAMES = {"d/f_1.png": photo(), "d/f_2.png": photo()}
CLIP = "run d -o out --save npz"
for fps in ("0", "-1", "nan", "inf", "1e9"):
    case(f"fps: {fps}", FRAMES, f"{CLIP} --fps={fps}", 2, "--fps takes frames per second")
case(
    "frames: another size",
    {**FRAMES, "d/f_3.png": photo(size=(48, 64))},
    f"{CLIP} --fps 9",
    1,
    "d: frame 2 is 48 x 64",
)
case("frames: one broken", {**FRAMES, "d/f_3.png": b"x"}, f"{CLIP} --fps 9", 0, "1 broken frame skipped")
case("frames: 100 digits", {f"d/{n * 99}.png": photo() for n in "12"}, f"{CLIP} --fps 9", 0, "in 2 frames")

MOVIE = {"a.mp4": video()}


def tracks(name: str, content: bytes, status: int, printed: str, file: str = "t.txt") -> None:
    files = {**MOVIE, file: content}
    case(f"tracks: {name}", files, f"run a.mp4 -o out --save npz --boxes {file}", status, printed)


ROWS = b"%d,%s,16,12,16,30,1\n"
tracks("MOT", b"".join(ROWS % (n, b"5") for n in (1, 2, 3)), 0, "1 person in 3 frames")
tracks("Windows lines", b"1,1,16,12,16,30,1\r\n2,1,16,12,16,30,1\r\n", 0, "2 boxes in 2 frames")
tracks("frames from 0", ROWS % (0, b"1"), 0, "frames count from 0")
tracks("header", b"frame,id,x,y,w,h\n" + ROWS % (1, b"1"), 2, "t.txt is neither MOT")
tracks("semicolons", b"1;1;16;12;16;30;1\n", 2, "t.txt is neither MOT")
tracks("far frame", ROWS % (99999999999, b"1"), 1, "t.txt, line 1")
tracks("huge id", ROWS % (1, b"9" * 22), 1, "t.txt, line 1")
tracks("nan", b"1,1,nan,12,16,30,1\n", 1, "t.txt, line 1")
tracks("same track twice", ROWS % (1, b"1") * 2, 0, "left out: 1 not usable")
tracks("utf-16", (ROWS % (1, b"1")).decode().encode("utf-16"), 2, "t.txt is not a text file")
tracks("another resolution", b"1,1,1600,1200,160,300,1\n", 1, r"a.mp4, frame 0: none of its entries in t.txt")
tracks("after the end", ROWS % (7, b"1"), 0, "warning a.mp4 has 3 frames, its people are given up to frame 6")
tracks("negative ids", by_frame(track_id=-3), 0, "3 track ids are not whole numbers from 0 on", "t.json")
tracks("ids as text", by_frame(track_id="left"), 0, "3 track ids are not whole numbers from 0 on", "t.json")
tracks("ids of 60 bits", by_frame(track_id=1 << 60), 0, "3 track ids are not whole numbers", "t.json")
tracks("negative frames", b'{"-1": []}', 2, "t.json has none of the formats", "t.json")
tracks("for a photo", coco(), 1, "p.json .COCO annotations. does not say which frame", "p.json")

HEADER = struct.pack("<Q", 1 << 62) + b"{}"
WEIGHTS = "run a.png -o out --model m.safetensors"
case("model: empty name", A, "run|a.png|-o|out|--model|", 2, "no model ")
case("model: unknown", A, "run a.png -o out --model nothing", 2, "no model nothing: give cliff-lite")
case("model: without card", {**A, "m.safetensors": HEADER}, WEIGHTS, 2, "m.json is missing")
case(
    "model: card of a list",
    {**A, "m.safetensors": HEADER, "m.json": b"[]"},
    WEIGHTS,
    2,
    "m.json is not a card",
)
case("detector: unknown", A, f"{RUN} --detector nothing", 2, "unknown detector 'nothing'")
BODY = f"{RUN} --body smpl --body-path"
case("body: text", {**A, "b.npz": b"hello"}, f"{BODY} b.npz", 2, "b.npz: not a usable .npz")
case("body: text as pickle", {**A, "b.pkl": b"hello"}, f"{BODY} b.pkl", 2, "b.pkl: damaged or not a pickle")
case("body: other arrays", {**A, "b.npz": npz(a=np.zeros(3))}, f"{BODY} b.npz", 2, "b.npz: not a body file")
case("body: missing", A, f"{BODY} b.npz", 2, "b.npz: no such body file")
for name, content in {
    "text": b"hello",
    "empty": b"",
    "other arrays": npz(a=np.zeros(3)),
    "header of a list": npz(header=np.array("[1]"), pose=np.zeros(3), translation=np.zeros(3)),
    "nested header": npz(header=np.array("[" * 10**5), pose=np.zeros(3), translation=np.zeros(3)),
}.items():
    case(f"view: {name}", {"a.npz": content}, "view a.npz", 2, "a.npz is not a People file")
    case(f"review: {name}", {"a.npz": b"", "a_people.npz": content}, "review a.npz .", 2, "a_people.npz")
for name, content, message in (
    ("nan", clip(pose=np.full((2, 24, 3, 3), np.nan)), "pose holds NaN"),
    ("falling times", clip(times=np.array([1.0, 0])), "times must ascend"),
    ("half frames", clip(frames=np.array([0.5, 1])), "frames is of type float64"),
    ("negative errors", clip(reprojection=np.array([-1.0, 0])), "reprojection holds -1"),
    ("camera", clip({"camera": {"focal": [0, 0]}}), "camera: "),
    ("body", clip({"body": "nothing"}), "body must be one of open"),
    ("video", clip({"video": [1]}), "video must be text"),
):
    case(f"view: clip, {name}", {"a.npz": content}, "view a.npz", 2, f"a.npz is not a clip .*{message}")
    files = {"a.npz": content, "b.glb": b""}
    case(
        f"retarget: clip, {name}",
        files,
        "retarget a.npz b.glb -o c.glb",
        2,
        f"a.npz is not a clip .*{message}",
    )
NODES = [{"name": "hips", "children": [1]}, {"name": "spine", "children": [0]}]
for name, (content, message) in {
    "text": (b"hello", "is not a readable GLB"),
    "empty": (b"", "is not a readable GLB"),
    "cut": (glb({}, cut=9), "is not a readable GLB"),
    "list": (glb(b"[]"), "its JSON is no object"),
    "nested": (glb(b"[" * 10**5), "is not a readable GLB .maximum recursion"),
    "no skin": (glb({"nodes": [{}]}), "has no skin"),
    "no such joint": (glb({"nodes": [{}], "skins": [{"joints": [5]}]}), "is a damaged GLB"),
    "joints null": (glb({"nodes": [{}], "skins": [{"joints": None}]}), "is a damaged GLB"),
    "circle": (glb({"nodes": NODES, "skins": [{"joints": [0, 1]}]}), "a node lies above itself"),
    "other files": (
        glb(
            {"nodes": [{}], "skins": [{"joints": [0]}], "buffers": [{"uri": "/etc/passwd", "byteLength": 9}]}
        ),
        "keeps its numbers in other files",
    ),
}.items():
    files = {"a.npz": clip(), "b.glb": content}
    case(f"retarget: {name}", files, "retarget a.npz b.glb -o c.glb", 2, f"b.glb .*{message}")
for height in ("0", "nan", "1e400", "180", "1.8m", "0:1.8,x:2", ","):
    case(f"height: {height}", A, f"{RUN} --height={height}", 2, "height")
case("export: suffix", {}, "export cliff-lite -o a.txt", 2, "a.txt: the name of an ONNX file ends in .onnx")
case("export: no model", {"m.pt": b""}, "export m.pt -o a.onnx", 2, "no model m.pt")
case("view: nothing in it", {"d/x": b""}, "view d", 2, "d: no .npz")
for port in ("-1", "70000"):
    case(f"app: port {port}", {}, f"app --port {port}", 2, "choose one from 1024 to 65535")
LABELS = "annotate p.json . -o labels.npz"
case(
    "annotate: nobody", {**A, "p.json": coco(annotations=[])}, LABELS, 2, "p.json: no annotation can be used"
)
case("annotate: no photo", {"p.json": coco()}, LABELS, 2, "a.png: no such photo")
case(
    "annotate: name outside",
    {"p.json": coco({"file_name": "../a.png"})},
    LABELS,
    2,
    "not a path below the folder",
)
case(
    "annotate: a folder in the way",
    {"p.json": coco(), "labels.npz/x": b""},
    LABELS,
    2,
    "labels.npz is a folder",
)
case("evaluate: unknown", {}, "evaluate nothing", 2, "unknown benchmark 'nothing'")
for name, content in {
    "text": b"hello",
    "empty": b"",
    "zip": npz(a=np.zeros(3)),
    "code": b"cos\nsystem\n.",
}.items():
    case(
        f"convert: {name}", {"m.pt": content}, "convert-checkpoint m.pt -o m.safetensors", 2, "m.pt: refused"
    )
case("synth: no frames", {}, "synth -o out -n 0", 2, "frames must be at least 1")
case("synth: huge seed", {}, f"synth -o out --seed 1{400 * '0'}", 2, "both at most 1000000000")
SYNTH = "synth -o out -n 1"
case("synth: backgrounds", {"b": b"x"}, f"{SYNTH} --backgrounds b", 2, "b: no photos")
case("synth: labels", {"l.npz": b"x"}, f"{SYNTH} --labels l.npz", 2, "l.npz: not a usable .npz")
for name, pose in {"nan": np.full((3, 72), np.nan), "degrees": np.full((3, 72), 180.0)}.items():
    case(
        f"synth: {name}", {"l.npz": npz(pose=pose)}, f"{SYNTH} --labels l.npz", 2, "l.npz: pose holds numbers"
    )
case(
    "synth: other labels",
    {"l.npz": npz(pose=np.zeros((3, 71)))},
    f"{SYNTH} --labels l.npz",
    2,
    "l.npz: not a list",
)
for name, (content, message) in {
    "text": (b"hello [", "not readable as TOML"),
    "binary": (bytes(range(256)), "not readable as TOML"),
    "nested": (b"a = " + b"[" * 20_000, "not readable as TOML: maximum recursion"),
    "twice": (b"samples = 1\nsamples = 2\n", "not readable as TOML"),
    "table": (b"samples = {}\n", "samples must be a whole number, not {}"),
    "date": (b"samples = 1979-05-27\n", "samples must be a whole number"),
    "infinity": (b"[optim]\nlearning_rate = inf\n", "learning_rate must be positive, not inf"),
    "a thousand million": (b"batch_size = 1000000000\n", "batch_size must be at most 65,536"),
    "unknown": (b"a.b.c.d = 1\n", "unknown key 'a'"),
}.items():
    case(f"train: {name}", {"t.toml": content}, "train t.toml", 2, f"t.toml: .*{message}")
case(
    "train: no source",
    {"t.toml": b"[synth]\nweight = 0\n"},
    "train t.toml",
    2,
    "no source of data has a weight",
)


class _Detector(video_fixtures.RedBoxes):
    def keypoints(self, image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        return np.full((len(boxes), 17, 3), 0.5, np.float32)


@pytest.fixture(scope="module")
def body() -> Any:
    return load_body(num_betas=11)


@pytest.fixture(scope="module")
def network() -> Any:
    torch.manual_seed(0)
    return create_model("cliff", encoder="resnet18", crop=(64, 64), num_betas=11).eval()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, body: Any, network: Any) -> None:
    """The default model is a tiny network of random weights; others are loaded as usual."""

    class Quick(recovery.Recoverer):
        def __init__(
            self, model=None, refine=True, body="open", body_path=None, detector="builtin", height=None
        ) -> None:
            if (model, body, body_path, detector) != (None, "open", None, "builtin"):
                super().__init__(model, refine, body, body_path, detector, height)
            self.detector, self.card, self.fitter, self.name = _Detector(), None, None, "tiny"
            self.height = height
            self.body, self.network = open_body, network

    open_body = body
    monkeypatch.setattr(recovery, "Recoverer", Quick)
    monkeypatch.setattr(logging.getLogger("fullframe"), "handlers", [])


def test_names_are_different() -> None:
    assert len({each.name for each in CASES}) == len(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_hostile_input(
    case: Case,
    quick: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in case.files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content) if isinstance(content, bytes) else content(path)
    words = case.command.split("|" if "|" in case.command else None)
    monkeypatch.setattr(sys, "argv", ["fullframe", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    printed = "".join(capsys.readouterr())
    assert ended.value.code == case.status, printed
    assert re.search(case.printed, printed, re.MULTILINE), printed
    assert "Traceback" not in printed and "Warning" not in printed
    left = [path for path in tmp_path.rglob(".*") if path.name not in case.files and path.name != ".x"]
    assert not left
