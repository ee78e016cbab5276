import numpy as np
import pytest

from curation.labelstudio.rle import decode, encode


def random_masks(count):
    """Empty, full, one pixel, noise, and blobs, of many shapes, most of them not square."""
    random = np.random.default_rng(0)
    for number in range(count):
        height, width = random.integers(1, 49, 2)
        mask = np.zeros((height, width), bool)
        kind = number % 5
        if kind == 1:
            mask[:] = True
        elif kind == 2:
            mask[random.integers(height), random.integers(width)] = True
        elif kind == 3:
            mask = random.random((height, width)) < random.random()
        elif kind == 4:
            y, x = np.indices((height, width))
            mask = np.hypot(y - random.integers(height), x - random.integers(width)) < random.integers(1, 20)
        yield mask


def reference_decode(code):
    """The decoder of rle-pack, word for word, on a string of bits."""
    bits = iter("".join(f"{byte:08b}" for byte in code))

    def read(count):
        return int("".join(next(bits) for _ in range(count)), 2)

    total, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    values = []
    while len(values) < total:
        repeated = read(1)
        count = 1 + read(sizes[read(2)])
        values += [read(word)] * count if repeated else [read(word) for _ in range(count)]
    return np.array(values, np.uint8)


def test_a_thousand_masks_come_back_bit_by_bit():
    for mask in random_masks(1_000):
        back = decode(encode(mask), *mask.shape)
        assert back.dtype == bool
        assert np.array_equal(back, mask)


def test_the_browsers_decoder_reads_what_we_write():
    for mask in random_masks(60):
        values = reference_decode(encode(mask)).reshape(*mask.shape, 4)
        assert np.array_equal(values, np.repeat(mask[..., None] * np.uint8(255), 4, axis=2))


def test_runs_longer_than_the_longest_code():
    mask = np.ones((300, 200), bool)
    mask[-1, -1] = False
    assert np.array_equal(decode(encode(mask), 300, 200), mask)


def test_values_that_do_not_repeat_are_read_too():
    """What the browser writes for a painted colour: runs of values as they are."""
    rgba = np.random.default_rng(1).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    bits = f"{rgba.size:032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in (3, 4, 8, 16))
    bits += f"011{rgba.size - 1:016b}" + "".join(f"{value:08b}" for value in rgba.ravel())
    bits += "0" * (-len(bits) % 8)
    code = list(int(bits, 2).to_bytes(len(bits) // 8, "big"))
    assert np.array_equal(decode(code, 5, 7), rgba[..., 3] > 127)


GOOD = encode(np.ones((8, 6), bool))


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (None, "not a list"),
        ("AAAA", "not a list"),
        ([0] * 1_000_000, "not a list of at most"),
        ([*GOOD[:-1], 256], "not a byte"),
        ([*GOOD[:-1], 1.5], "not a byte"),
        ([*GOOD[:-1], True], "not a byte"),
        ([], "ends too soon"),
        (GOOD[:8], "ends too soon"),
        ([255, 255, 255, 255, *GOOD[4:]], "not of 6 x 8 pixels"),
        (encode(np.ones((8, 7), bool)), "not of 6 x 8 pixels"),
        ([*GOOD[:4], 0b11111000 | GOOD[4] & 7, *GOOD[5:]], "not of 6 x 8 pixels"),
        ([*GOOD[:7], 0b11111111, 255, 255, 255, 255], "runs over its end"),
    ],
)
def test_hostile_codes_are_refused(code, message):
    with pytest.raises(ValueError, match=message):
        decode(code, 8, 6)
