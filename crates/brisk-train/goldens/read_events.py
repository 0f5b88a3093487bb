"""Reads what `cargo run -p brisk-train --example events -- DIR` wrote, with TensorBoard itself. Exits with an error if anything differs.

    python -m venv target/tb && target/tb/bin/pip install tensorboard==2.21.0 "setuptools<81"
    cargo run -p brisk-train --example events -- target/tb/events
    target/tb/bin/python crates/brisk-train/goldens/read_events.py target/tb/events
"""

import math
import sys

from tensorboard.backend.event_processing import event_accumulator

events = event_accumulator.EventAccumulator(sys.argv[1])
events.Reload()
tags = events.Tags()["scalars"]
assert sorted(tags) == ["accuracy", "loss", "训练/损失"], tags
loss = [(e.step, e.value) for e in events.Scalars("loss")]
assert loss == [(step, 1 / 2**step) for step in range(1, 8)], loss
assert all(math.isnan(e.value) for e in events.Scalars("accuracy"))
assert events.file_version == 2.0, events.file_version
print("TensorBoard reads", {tag: len(events.Scalars(tag)) for tag in tags})
