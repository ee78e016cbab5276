"""Renders one photo of one subject with one finding: canvas, signs, light, eyes, hair, background, camera."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from generation.phantom.anatomy import Subject, anchors, eye_centre, face_to_eye, lid_profile
from generation.phantom.canvas import Array, Canvas, Finding
from generation.phantom.eyes import eye_layer, gaze_angles
from generation.phantom.fields import double, edge, halve, line, mix, smoothstep, srgb
from generation.phantom.geometry import Camera, Head, View, landmarks, lid_margins
from generation.phantom.hair import hair_colour, hair_depth, surroundings
from generation.phantom.shot import Shot
from generation.phantom.skin import paint_skin, smooth_tint, window

Job = tuple[Subject, Shot, Finding]

UPPER_FACE = 0.36
"""How far below the eyes ``Photo.upper_face`` reaches, in face units."""


@dataclass(frozen=True)
class Photo:
    """One photo and its truth. S is the size in pixels.

    ``image`` (S, S, 3) uint8 sRGB. Masks (S, S) bool: ``lesion`` what painters marked, ``eye_region`` both eyes with
    lids and the skin about them (brows excluded), ``upper_face`` the face down to the cheekbones, which holds all that
    an eye disease changes (raised brows and the forehead over them, tears), ``face_region`` all facial skin, lips and
    eyes. ``landmarks`` (68, 2) float32: (x, y) pixels in iBUG order, pixel centres at integers. ``gaze`` (2, 2)
    float32: (yaw, pitch)
    in degrees of the subject's right and left eye in camera axes, positive to the photo's right and up,
    strabismus included.
    """

    image: Array
    lesion: Array
    eye_region: Array
    upper_face: Array
    face_region: Array
    landmarks: Array
    gaze: Array


def render(subject: Subject, shot: Shot, finding: Finding | None = None, size: int = 128) -> Photo:
    """One photo of ``size`` × ``size`` pixels (even, >= 32); the same arguments give the same bits.

    Raises ValueError for another size.
    """
    if size < 32 or size % 2:
        raise ValueError(f"size {size} is not an even number >= 32")
    finding = finding or Finding()
    head, camera = Head(subject, shot, finding), Camera(shot)
    view = camera.view(head, size)
    fields = _gather(subject, head, view)
    canvas, beard = _canvas(subject, shot, finding, view, fields, size)
    paint_skin(canvas, subject, shot, finding, beard)
    steer = anchors(subject)
    for paint in finding.painters:
        paint(canvas, steer)
    light = np.array(shot.light_colour, np.float32) * np.float32(shot.light_intensity)
    picture = _shade(canvas, shot, camera, double(fields[..., 4:7]), light)
    for index in (0, 1):
        _add_eye(picture, canvas, subject, shot, finding, index, light)
    small = halve(picture)
    lesion = halve(np.clip(canvas.lesion, 0, 1)) > 0.5
    depth = fields[..., 7]
    on_head = _on_head(view)
    in_hair = smoothstep(-0.016, 0.012, depth)
    if in_hair.max() > 0:
        normal_light = 0.45 + 0.65 * np.clip(fields[..., 6] * 2 + 0.6, 0.3, 1.2)
        hair = hair_colour(subject, view.x, view.y) * normal_light[..., None] * light
        small = mix(small, hair, in_hair)
    behind = surroundings(subject, shot, view, light * np.float32(0.9), 0.8)
    small = mix(behind, small, on_head)
    face_region = (on_head > 0.5) & (in_hair < 0.5)
    metered = min(1.3, (0.36 / float(np.mean(subject.skin_colour))) ** 0.25) if subject.skin_tone > 5 else 1.0
    return Photo(
        image=_develop(small * np.float32(metered), shot),
        lesion=lesion & (on_head > 0.5),
        eye_region=_eye_region(subject, view) & face_region,
        upper_face=face_region & (view.y < subject.eye_y + np.float32(UPPER_FACE)),
        face_region=face_region,
        landmarks=landmarks(subject, shot, finding, head, camera, size),
        gaze=np.array([gaze_angles(shot, finding.eyes[i], i) for i in (0, 1)], dtype=np.float32),
    )


def render_batch(jobs: Sequence[Job], size: int = 128, workers: int = 1) -> Iterator[Photo]:
    """Photos of ``jobs`` in order; with ``workers`` > 1 by that many processes, the bits the same."""
    if workers <= 1:
        for subject, shot, finding in jobs:
            yield render(subject, shot, finding, size)
        return
    from concurrent.futures import ProcessPoolExecutor

    with ProcessPoolExecutor(workers) as pool:
        subjects, shots, findings = zip(*jobs, strict=True) if jobs else ((), (), ())
        yield from pool.map(render, subjects, shots, findings, [size] * len(jobs), chunksize=8)


def _on_head(view: View) -> Array:
    """Where the photo shows the front of the head rather than what lies behind it (S, S)."""
    from scipy.ndimage import uniform_filter

    return uniform_filter(edge(view.depth - np.float32(0.14), 0.08), 3, mode="nearest")


def _gather(subject: Subject, head: Head, view: View) -> Array:
    """Slow fields as the photo shows them (S, S, 8): tint (3), beard, slope x, slope y, occlusion, hair depth."""
    from scipy.ndimage import gaussian_filter

    occlusion = np.clip((head.z - gaussian_filter(head.z, 6.0)) * 2.4, -0.5, 0.2)
    occlusion = np.where(head.level > 0.12, occlusion, np.minimum(occlusion, 0))
    slow = [
        smooth_tint(subject, head),
        np.stack([head.slope_x, head.slope_y, occlusion, hair_depth(subject, head)], axis=-1),
    ]
    return Head.at(np.concatenate(slow, axis=-1).astype(np.float32), view.x, view.y)


def _canvas(
    subject: Subject, shot: Shot, finding: Finding, view: View, fields: Array, size: int
) -> tuple[Canvas, Array]:
    x, y = double(view.x), double(view.y)
    fine = double(fields[..., :4])
    albedo = np.array(subject.skin_colour, np.float32) * fine[..., :3]
    on_face = double(_on_head(view) * smoothstep(0.012, -0.016, fields[..., 7]))
    canvas = Canvas(
        x=x,
        y=y,
        albedo=albedo,
        bump=np.zeros_like(x),
        gloss=np.full_like(x, 0.25 + 0.03 * max(0, subject.skin_tone - 6)),
        lesion=np.zeros_like(x),
        skin=on_face,
        pixel=1.0 / size,
    )
    for index in (0, 1):
        cx, cy = eye_centre(subject, index)
        part = window(x, y, (cx - 0.22, cx + 0.22, cy - 0.16, cy + 0.16))
        canvas.skin[part] *= 1 - _aperture(subject, shot, finding, index, x[part], y[part], canvas.pixel)
    return canvas, fine[..., 3]


def _aperture(subject: Subject, shot: Shot, finding: Finding, index: int, x: Array, y: Array, pixel: float) -> Array:
    u, v = face_to_eye(subject, index, x, y)
    t = u / np.float32(subject.eye_half_width)
    top, bottom = lid_margins(subject, shot, finding.eyes[index])
    upper = np.float32(top) * lid_profile(t, top < 0)
    return edge(v - upper, pixel) * edge(np.float32(bottom) * lid_profile(t, False) - v, pixel)


def _shade(canvas: Canvas, shot: Shot, camera: Camera, slopes: Array, light: Array) -> Array:
    """Linear picture of the lit canvas."""
    rows, columns = np.gradient(canvas.bump, np.float32(canvas.pixel))
    slope_x, slope_y, occlusion = (np.ascontiguousarray(slopes[..., k]) for k in range(3))
    nx, ny = -slope_x - columns, -slope_y - rows
    length = np.float32(1) / np.sqrt(nx * nx + ny * ny + 1)
    toward = camera.matrix.T @ np.array(shot.light, np.float32)
    eye = camera.matrix.T @ np.array([0, 0, 1], np.float32)
    half = toward + eye
    half = half / np.linalg.norm(half)
    facing = (nx * toward[0] + ny * toward[1] + toward[2]) * length
    diffuse = np.clip((facing + np.float32(0.25)) * np.float32(0.8), 0, 1)
    rim = np.clip((nx * eye[0] + ny * eye[1] + eye[2]) * length, 0, 1)
    sky = 0.75 - 0.25 * ny * length
    shade = (shot.ambient * sky * (0.55 + 0.45 * rim) + (1.05 - 0.65 * shot.ambient) * diffuse) * (1 + occlusion)
    mirror = np.clip((nx * half[0] + ny * half[1] + half[2]) * length, 0, 1)
    square = mirror * mirror
    fourth = square * square
    eighth = fourth * fourth
    shine = canvas.gloss * (0.10 * eighth + 0.45 * eighth * eighth * eighth) * (1 + 0.8 * occlusion) * 0.55
    picture = canvas.albedo * shade[..., None]
    picture += shine[..., None]
    picture *= light
    return picture


def _add_eye(
    picture: Array, canvas: Canvas, subject: Subject, shot: Shot, finding: Finding, index: int, light: Array
) -> None:
    state = finding.eyes[index]
    cx, cy = eye_centre(subject, index)
    part = window(canvas.x, canvas.y, (cx - 0.215, cx + 0.215, cy - 0.15, cy + 0.135))
    if canvas.x[part].size == 0:
        return
    x, y = double(canvas.x[part]), double(canvas.y[part])
    facing = float(np.clip(shot.light[2] * 0.6 + 0.4, 0.3, 1))
    lit = light * np.float32(1.18 * (0.5 * shot.ambient + 0.72 * facing) * 0.95)
    layer = eye_layer(subject, shot, state, index, x, y, canvas.pixel / 2, lit)
    cover, shade = halve(layer.cover), halve(layer.shade)
    colour = halve(layer.colour * layer.cover[..., None]) / np.maximum(cover, 1e-4)[..., None]
    lash = np.array([0.012, 0.009, 0.008], np.float32) + 0.25 * np.array(subject.brow_colour, np.float32)
    crease = mix(picture[part], np.minimum(lash, picture[part]), shade)
    lesion = np.clip(canvas.lesion[part], 0, 1)
    picture[part] = mix(crease, colour, cover * (1 - lesion))
    if state.tearing > 0.01:
        _tear(picture, canvas, subject, index, state.tearing, light)


def _tear(picture: Array, canvas: Canvas, subject: Subject, index: int, strength: float, light: Array) -> None:
    """A wet streak from the lower lid down the cheek."""
    cx, cy = eye_centre(subject, index)
    part = window(canvas.x, canvas.y, (cx - 0.16, cx + 0.16, cy + 0.04, cy + 0.50))
    u, v = face_to_eye(subject, index, canvas.x[part], canvas.y[part])
    fade = smoothstep(subject.lower_height * 0.7, subject.lower_height * 1.1, v) * smoothstep(
        0.45 * strength + 0.1, 0.1, v
    )
    path = u + 0.045 + 0.03 * np.sin(v * 9)
    gleam = 0.55 * strength * fade * line(path - 0.006, 0.006)
    dark = 0.25 * strength * fade * line(path + 0.006, 0.012)
    picture[part] = picture[part] * (1 - dark)[..., None] + gleam[..., None] * light * 0.7


def _eye_region(subject: Subject, view: View) -> Array:
    """Both eyes with lids and the skin about them, up to the brows."""
    region = np.zeros(view.x.shape, dtype=bool)
    for index in (0, 1):
        u, v = face_to_eye(subject, index, view.x, view.y)
        up = max(0.10, subject.brow_gap - subject.brow_thickness - 0.012)
        across, down = (u / 0.255) ** 2, np.where(v < 0, v / np.float32(up), v / np.float32(0.19)) ** 2
        region |= across * across + down * down < 1
    return region


def _develop(light: Array, shot: Shot) -> Array:
    """Exposure, white balance, tone curve, blur and sensor noise of the camera; (S, S, 3) uint8."""
    size = light.shape[0]
    exposed = light * np.array(shot.white_balance, np.float32) * np.float32(shot.exposure)
    rolled = np.where(exposed > 0.7, 0.7 + 0.3 * np.tanh((exposed - 0.7) / 0.45), exposed)
    picture = srgb(rolled).astype(np.float32)
    sigma = shot.blur * size
    if sigma > 0.15:
        from scipy.ndimage import correlate1d

        reach = int(np.ceil(2.5 * sigma))
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2).astype(np.float32)
        kernel /= kernel.sum()
        for axis in (0, 1):
            picture = correlate1d(picture, kernel, axis=axis, mode="nearest")
    rng = np.random.default_rng([shot.seed, 0xCA3E])
    grain = rng.standard_normal(picture.shape, dtype=np.float32)
    return (np.clip(picture + np.float32(shot.noise) * grain, 0, 1) * 255 + 0.5).astype(np.uint8)
