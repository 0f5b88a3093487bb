#!/usr/bin/env python3
"""Makes `fashion-mnist-sample/` from the whole of Fashion-MNIST.

    python3 data/make_sample.py FOLDER

FOLDER holds the four gz IDX files (Debian: `dataset-fashion-mnist`, /usr/share/datasets/fashion-mnist).
Takes the first 600 training and the first 100 test images of every class, in the order of the originals,
so that the result depends on nothing but the input. Needs only Python's standard library.
"""
import gzip
import io
import struct
import sys
from pathlib import Path

PER_CLASS = {"train": 600, "t10k": 100}
CLASSES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]


def write(path: Path, content: bytes) -> None:
    buffer = io.BytesIO()
    # No name and no time in the header: the same input gives the same bytes.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=9, fileobj=buffer, mtime=0) as f:
        f.write(content)
    path.write_bytes(buffer.getvalue())
    print(f"{path.name}: {len(buffer.getvalue()):,} bytes")


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    source, target = Path(sys.argv[1]), Path(__file__).parent / "fashion-mnist-sample"
    target.mkdir(exist_ok=True)
    for part, per_class in PER_CLASS.items():
        images = gzip.decompress((source / f"{part}-images-idx3-ubyte.gz").read_bytes())
        labels = gzip.decompress((source / f"{part}-labels-idx1-ubyte.gz").read_bytes())
        magic, n, height, width = struct.unpack(">IIII", images[:16])
        assert magic == 0x803 and struct.unpack(">II", labels[:8]) == (0x801, n), "not the expected IDX files"
        taken, keep = [0] * len(CLASSES), []
        for i, label in enumerate(labels[8:]):
            if taken[label] < per_class:
                taken[label] += 1
                keep.append(i)
        assert taken == [per_class] * len(CLASSES), f"too few images: {taken}"
        size = height * width
        pixels = b"".join(images[16 + i * size : 16 + (i + 1) * size] for i in keep)
        write(target / f"{part}-images-idx3-ubyte.gz", struct.pack(">IIII", 0x803, len(keep), height, width) + pixels)
        write(target / f"{part}-labels-idx1-ubyte.gz", struct.pack(">II", 0x801, len(keep)) + bytes(labels[8 + i] for i in keep))
    (target / "labels.txt").write_text("\n".join(CLASSES) + "\n")


if __name__ == "__main__":
    main()
