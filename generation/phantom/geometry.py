"""The head as a height field: its relief, its pose, which point of it each pixel shows, and where landmarks fall."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from generation.phantom.anatomy import Subject, brow_centre, eye_centre, eye_to_face, lid_profile
from generation.phantom.canvas import Array, EyeState, Finding
from generation.phantom.fields import gauss, sample
from generation.phantom.shot import Shot

_LEFT, _TOP, _STEP, _COUNT = -1.2, -1.3, 0.0165, 150
_FAR = 0.75
_PIVOT = 0.42


@dataclass(frozen=True)
class Mouth:
    """The mouth in the photo's expression: centre line height, half width, gap above and below, corner lift."""

    y: float
    half_width: float
    gap_up: float
    gap_down: float
    lift: float


def mouth(subject: Subject, shot: Shot) -> Mouth:
    """The mouth of a subject in a shot (face units)."""
    return Mouth(
        y=subject.mouth_y - 0.012 * shot.smile + 0.012 * shot.mouth_open,
        half_width=subject.mouth_half_width * (1 + 0.20 * shot.smile - 0.08 * shot.mouth_open),
        gap_up=0.015 * shot.smile * (shot.smile > 0.5) + 0.012 * shot.mouth_open,
        gap_down=0.030 * shot.smile * (shot.smile > 0.5) + 0.085 * shot.mouth_open,
        lift=0.045 * shot.smile - subject.mouth_corner,
    )


def rotation(shot: Shot) -> Array:
    """Matrix (3, 3) from head axes to camera axes (x right, y down, z towards the camera), roll left out."""
    yaw, pitch = np.radians(shot.yaw), np.radians(shot.pitch)
    turn = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    nod = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    return (nod @ turn).astype(np.float32)


class Head:
    """Relief of one subject with one expression and finding, on a regular grid over the frontal face.

    ``level`` is 1 - (distance from the centre)^p, 0 on the contour; ``z`` the height towards the viewer.
    """

    def __init__(self, subject: Subject, shot: Shot, finding: Finding) -> None:
        self.x = (_LEFT + _STEP * np.arange(_COUNT, dtype=np.float32))[None, :]
        self.y = (_TOP + _STEP * np.arange(_COUNT, dtype=np.float32))[:, None]
        self.level = _level(subject, shot, self.x, self.y)
        self.z = _relief(subject, shot, finding, self.x, self.y, self.level)
        rows, columns = np.gradient(self.z, np.float32(_STEP))
        self.slope_x, self.slope_y = columns, rows

    @staticmethod
    def at(field: Array, x: Array, y: Array) -> Array:
        """A grid field (H, W[, C]) looked up at face coordinates."""
        return sample(field, (x - np.float32(_LEFT)) / np.float32(_STEP), (y - np.float32(_TOP)) / np.float32(_STEP))


def _level(subject: Subject, shot: Shot, x: Array, y: Array) -> Array:
    middle = -0.05
    chin = subject.chin_y + 0.04 + 0.05 * shot.mouth_open
    across = np.abs(x / subject.face_half_width) ** subject.cheek_power
    down = np.clip((y - middle) / (chin - middle), 0, None) ** subject.jaw_power
    up = np.clip((middle - y) / subject.skull_height, 0, None) ** 2.2
    return (1 - across - down - up).astype(np.float32)


def _relief(subject: Subject, shot: Shot, finding: Finding, x: Array, y: Array, level: Array) -> Array:
    s = subject
    z = np.where(level > 0, s.depth * np.clip(level, 1e-6, None) ** 0.42, 3.0 * np.clip(level, -0.5, 0))
    base = s.eye_y + s.nose_length
    h, w = s.nose_height, s.nose_half_width
    z = z + h * s.nose_bridge * gauss(x, y, 0, s.eye_y + 0.48 * s.nose_length, 0.052, 0.38 * s.nose_length)
    tip = base - 0.050 - s.nose_tip_up
    tall = np.where(y < tip, 0.085, 0.062).astype(np.float32)
    z = z + 0.88 * h * gauss(x, y, s.asymmetry[2], tip, 0.40 * w + 0.012, tall)
    z = z - 0.045 * gauss(x, y, 0, base + 0.060, 0.12, 0.035)
    smile, spread = shot.smile, 1 + 0.10 * shot.smile
    for side in (-1, 1):
        z = z + 0.50 * h * gauss(x, y, side * 0.66 * w * spread, base - 0.026, 0.28 * w, 0.040)
        z = z + s.cheekbone * gauss(x, y, side * 0.47, 0.02, 0.13, 0.09)
        z = z + (s.cheek_fullness + 0.035 * smile) * gauss(x, y, side * 0.36, 0.20 - 0.04 * smile, 0.13, 0.12)
        z = z - 0.05 * max(0.0, s.elder - 0.3) * gauss(x, y, side * 0.48, 0.30, 0.10, 0.14)
        z = z + 0.045 * s.elder * gauss(x, y, side * 0.40, 0.62, 0.10, 0.08)
    for index, state in enumerate(finding.eyes):
        side = -1 if index == 0 else 1
        cx, cy = eye_centre(s, index)
        bx, by = brow_centre(s, index)
        z = z - s.socket * gauss(x, y, cx * 0.94, cy - 0.02, 0.135, 0.075)
        z = z - 0.05 * gauss(x, y, side * 0.155, cy + 0.0, 0.045, 0.06)
        z = z + (0.062 + 0.090 * state.proptosis) * gauss(x, y, cx, cy + 0.005, 0.105, 0.062 + 0.01 * state.proptosis)
        z = z + s.brow_ridge * gauss(x, y, bx, by - 0.05 * state.brow_raise, 0.16, 0.045, side * -s.brow_slope)
        z = z + _lid_relief(s, state, index, x, y)
    m = mouth(s, shot)
    z = z + 0.055 * gauss(x, y, 0, m.y, 0.17, 0.085)
    z = z + s.chin_boss * gauss(x, y, 0, s.chin_y - 0.07, 0.15, 0.085) - 0.026 * gauss(x, y, 0, m.y + 0.14, 0.15, 0.034)
    z = z - 0.03 * s.chin_cleft * gauss(x, y, 0, s.chin_y - 0.09, 0.018, 0.05)
    return z.astype(np.float32)


def _lid_relief(subject: Subject, state: EyeState, index: int, x: Array, y: Array) -> Array:
    """Bags of swollen, aged or bulging lids."""
    cx, cy = eye_centre(subject, index)
    above = 0.035 * state.lid_swelling
    below = 0.032 * state.lid_swelling + 0.013 * subject.elder * subject.wrinkles
    z = above * gauss(x, y, cx, cy - subject.upper_height - 0.035, 0.12, 0.036)
    return z + below * gauss(x, y, cx * 0.98, cy + subject.lower_height + 0.055, 0.105, 0.034)


@dataclass(frozen=True)
class View:
    """What each pixel of a square photo shows: face coordinates ``x``, ``y``, height ``depth`` of the
    point towards the viewer, and ``level`` (> 0 on the head).

    ``frame_x``, ``frame_y`` are the pixel's own coordinates in [-1, 1]; ``plain_x``, ``plain_y`` the head's
    coordinates at the depth of the ears, for what lies behind the face. All (H, W) float32.
    """

    x: Array
    y: Array
    depth: Array
    level: Array
    frame_x: Array
    frame_y: Array
    plain_x: Array
    plain_y: Array


class Camera:
    """Pose and framing of one shot: from head points to the photo, and from pixels to the head."""

    def __init__(self, shot: Shot) -> None:
        self.matrix = rotation(shot)
        roll = np.radians(shot.roll)
        self._cos, self._sin = float(np.cos(roll)), float(np.sin(roll))
        self._scale, self._offset = shot.scale, (shot.offset[0], shot.offset[1] + 0.02)

    def project(self, x: Array, y: Array, z: Array) -> tuple[Array, Array]:
        """Head points to frame coordinates in [-1, 1]."""
        m, depth = self.matrix, np.asarray(z) - _PIVOT
        u = m[0, 0] * x + m[0, 1] * y + m[0, 2] * depth
        v = m[1, 0] * x + m[1, 1] * y + m[1, 2] * depth
        return (
            self._scale * (u * self._cos - v * self._sin) + self._offset[0],
            self._scale * (u * self._sin + v * self._cos) + self._offset[1],
        )

    def unroll(self, frame_x: Array, frame_y: Array) -> tuple[Array, Array]:
        """Frame coordinates to the camera plane of the head, roll, scale and offset taken off."""
        dx = (frame_x - np.float32(self._offset[0])) / np.float32(self._scale)
        dy = (frame_y - np.float32(self._offset[1])) / np.float32(self._scale)
        c, s = np.float32(self._cos), np.float32(self._sin)
        return dx * c + dy * s, -dx * s + dy * c

    def _ray(self, u: Array, v: Array) -> tuple[Array, ...]:
        """Affine view ray x = x0 + dx z, y = y0 + dy z through camera-plane points, in head axes."""
        m = self.matrix
        inverse = np.linalg.inv(m[:2, :2]).astype(np.float32)
        slope = inverse @ m[:2, 2]
        x0 = inverse[0, 0] * u + inverse[0, 1] * v + slope[0] * np.float32(_PIVOT)
        y0 = inverse[1, 0] * u + inverse[1, 1] * v + slope[1] * np.float32(_PIVOT)
        return x0, y0, -slope[0], -slope[1]

    def view(self, head: Head, size: int) -> View:
        """Where the ray of every pixel of a (size, size) photo first meets the head: a march, then secant steps."""
        axis = ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1).astype(np.float32)
        frame_x, frame_y = np.broadcast_to(axis[None, :], (size, size)), np.broadcast_to(axis[:, None], (size, size))
        u, v = self.unroll(frame_x, frame_y)
        x0, y0, dx, dy = self._ray(u, v)
        high, low = np.float32(head.z.max() + 0.01), np.float32(-0.35)
        travel = float(np.hypot(dx, dy)) * float(high - low)
        steps = int(np.clip(np.ceil(travel / 0.05), 1, 16))
        depth = np.full_like(u, high)
        stride = (high - low) / np.float32(steps)
        above = np.full_like(u, high)
        gap_above = high - Head.at(head.z, x0 + dx * high, y0 + dy * high)
        below, gap_below = above.copy(), gap_above.copy()
        open_ray = np.ones(u.shape, dtype=bool)
        for k in range(1, steps + 1):
            plane = high - stride * np.float32(k)
            gap = plane - Head.at(head.z, x0 + dx * plane, y0 + dy * plane)
            above, gap_above = np.where(open_ray, below, above), np.where(open_ray, gap_below, gap_above)
            below, gap_below = np.where(open_ray, plane, below), np.where(open_ray, gap, gap_below)
            open_ray &= gap > 0
        for _ in range(3):
            span = np.maximum(gap_above - gap_below, 1e-6)
            depth = np.where(gap_below > 0, below, above + (below - above) * np.clip(gap_above / span, 0.02, 0.98))
            gap = depth - Head.at(head.z, x0 + dx * depth, y0 + dy * depth)
            over = gap > 0
            above, gap_above = np.where(over, depth, above), np.where(over, gap, gap_above)
            below, gap_below = np.where(over, below, depth), np.where(over, gap_below, gap)
        x, y = x0 + dx * depth, y0 + dy * depth
        ears = np.float32(-0.05)
        return View(x, y, depth, Head.at(head.level, x, y), frame_x, frame_y, x0 + dx * ears, y0 + dy * ears)


def landmarks(subject: Subject, shot: Shot, finding: Finding, head: Head, camera: Camera, size: int) -> Array:
    """The 68 iBUG points (68, 2) float32 in pixels (pixel centres are integers) as they are seen in the photo."""
    s = subject
    inner: list[tuple[float, float]] = []
    for index in (0, 1):
        side = -1.0 if index == 0 else 1.0
        bx, by = brow_centre(s, index)
        by -= 0.06 * finding.eyes[index].brow_raise
        along = (1, 0.55, 0.05, -0.5, -0.95) if index == 0 else (-0.95, -0.5, 0.05, 0.55, 1)
        rise = brow_curve(s, np.array(along)) - 0.35 * s.brow_thickness
        inner += [(bx + side * k * s.brow_length, by + float(r)) for k, r in zip(along, rise, strict=True)]
    base = s.eye_y + s.nose_length
    tip = base - 0.045 - s.nose_tip_up
    inner += [(0.0, s.eye_y - 0.01 + (tip - s.eye_y + 0.01) * k / 3) for k in range(4)]
    inner += [(k * s.nose_half_width * 0.82, base + 0.030 * (1 - 0.5 * abs(k))) for k in (-1, -0.5, 0, 0.5, 1)]
    for index in (0, 1):
        top, bottom = lid_margins(s, shot, finding.eyes[index])
        order = ((1, 0), (0.36, -1), (-0.36, -1), (-1, 0), (-0.36, 1), (0.36, 1))
        if index == 1:
            order = ((-1, 0), (-0.36, -1), (0.36, -1), (1, 0), (0.36, 1), (-0.36, 1))
        for t, where in order:
            profile = float(lid_profile(np.float32(t), where < 0 and top < 0))
            height = 0.0 if where == 0 else (top if where < 0 else bottom) * profile
            x, y = eye_to_face(s, index, np.float32(t * s.eye_half_width), np.float32(height))
            inner.append((float(x), float(y)))
    inner += _mouth_points(s, mouth(s, shot))
    xy = np.array(inner, dtype=np.float32)
    z = Head.at(head.z, xy[:, 0], xy[:, 1])
    jaw = _jaw(subject, head, camera)
    inside = np.stack(camera.project(xy[:, 0], xy[:, 1], z), axis=-1)
    frame = np.concatenate([jaw, inside])
    return ((frame + 1) * (size / 2) - 0.5).astype(np.float32)


def brow_curve(subject: Subject, t: Array) -> Array:
    """Height of a brow's middle line over its centre at t in [-1 nasal, 1 temporal] (face units, y down)."""
    rise = subject.brow_arch * (1 - ((t - 0.25) / 1.1) ** 2) * 1.6
    return -rise - subject.brow_slope * 0.5 * subject.brow_length * t + 0.02 * np.maximum(t - 0.3, 0) ** 2


def lid_margins(subject: Subject, shot: Shot, state: EyeState) -> tuple[float, float]:
    """Signed amplitude (face units, down positive) of the upper and lower lid margin in the photo."""
    wide = 1 + 0.32 * state.proptosis
    height = subject.upper_height + subject.lower_height
    squint = 0.16 * shot.squint + 0.10 * shot.smile
    swell = 0.22 * state.lid_swelling
    bottom = subject.lower_height * (wide - squint - 0.3 * swell) + 0.9 * state.lower_lid_drop * height
    lid = state.upper_lid_drop - 0.75 * state.upper_lid_raise + 0.5 * (squint + swell)
    lid -= 0.010 * np.clip(shot.gaze_pitch - 0.6 * shot.pitch, -12, 12)
    top = -subject.upper_height * wide + lid * height
    return float(min(top, bottom - 0.004)), float(bottom)


def lip_lines(subject: Subject, m: Mouth, t: Array) -> tuple[Array, Array, Array, Array]:
    """Heights y of upper lip border, its lower edge, the lower lip's upper edge and its border at t in [-1, 1]."""
    body = np.clip(1 - t * t, 0, 1)
    middle = (
        m.y - np.float32(m.lift) * t * t + np.float32(0.012) * (np.exp(-((t / 0.35) ** 2)) - np.float32(0.3)) * body
    )
    up = middle - np.float32(m.gap_up) * body
    down = middle + np.float32(m.gap_down) * body
    bow = (
        1
        - subject.cupid * 0.30 * np.exp(-((t / 0.13) ** 2))
        + subject.cupid * 0.12 * np.exp(-(((np.abs(t) - 0.25) / 0.15) ** 2))
    )
    top = up - np.float32(subject.upper_lip) * body**0.8 * bow
    bottom = down + np.float32(subject.lower_lip) * body**0.7
    return top, up, down, bottom


def _mouth_points(subject: Subject, m: Mouth) -> list[tuple[float, float]]:
    def row(ts: tuple[float, ...], which: int) -> list[tuple[float, float]]:
        heights = lip_lines(subject, m, np.array(ts, dtype=np.float32))[which]
        return [(float(t * m.half_width), float(y)) for t, y in zip(ts, heights, strict=True)]

    upper = row((-1.0, -0.55, -0.22, 0.0, 0.22, 0.55, 1.0), 0)
    lower = row((0.62, 0.28, 0.0, -0.28, -0.62), 3)
    inner_upper = row((-0.85, -0.25, 0.0, 0.25, 0.85), 1)
    inner_lower = row((0.25, 0.0, -0.25), 2)
    return upper + lower + inner_upper + inner_lower


def _jaw(subject: Subject, head: Head, camera: Camera) -> Array:
    """The 17 contour points (17, 2) in frame coordinates: the seen outline, but never behind the jaw's edge."""
    angle = np.radians(np.linspace(180, 0, 17)).astype(np.float32)
    angle = angle - np.float32(np.radians(4)) * np.sin(2 * (np.pi - angle))
    cx, cy = 0.0, subject.eye_y - 0.08
    share = np.linspace(0.55, 1.25, 141, dtype=np.float32)[None, :]
    reach = np.hypot(np.cos(angle) * subject.face_half_width, np.sin(angle) * (subject.chin_y - cy))[:, None]
    x = cx + np.cos(angle)[:, None] * share * reach
    y = cy + np.sin(angle)[:, None] * share * reach
    level = Head.at(head.level, x, y)
    u, v = camera.project(x, y, Head.at(head.z, x, y))
    mx, my = camera.project(np.array(cx), np.array(cy), np.array(0.55))
    extent = (u - mx) * (u - mx) + (v - my) * (v - my)
    extent = np.where(level > 0.08, extent, -1)
    best = extent.argmax(axis=1)
    pick = np.arange(17)
    return np.stack([u[pick, best], v[pick, best]], axis=-1)
