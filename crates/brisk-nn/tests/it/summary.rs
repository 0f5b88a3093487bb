//! The summary table.

use brisk_nn::prelude::*;
use brisk_nn::{LayerSpec, zoo};
use expect_test::expect;

#[test]
fn the_table_of_a_sequential_model() {
    let text = zoo::cifar10_cnn([32, 32, 3], 10).expect("fits").summary().expect("sound");
    expect![[r#"
        ┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━┓
        ┃ Layer (type)                   ┃ Output Shape       ┃ Param # ┃
        ┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━┩
        │ conv2d (Conv2D)                │ (None, 30, 30, 32) │     896 │
        ├────────────────────────────────┼────────────────────┼─────────┤
        │ max_pooling2d (MaxPooling2D)   │ (None, 15, 15, 32) │       0 │
        ├────────────────────────────────┼────────────────────┼─────────┤
        │ conv2d_1 (Conv2D)              │ (None, 13, 13, 64) │  18,496 │
        ├────────────────────────────────┼────────────────────┼─────────┤
        │ max_pooling2d_1 (MaxPooling2D) │ (None, 6, 6, 64)   │       0 │
        ├────────────────────────────────┼────────────────────┼─────────┤
        │ flatten (Flatten)              │ (None, 2304)       │       0 │
        ├────────────────────────────────┼────────────────────┼─────────┤
        │ dense (Dense)                  │ (None, 10)         │  23,050 │
        └────────────────────────────────┴────────────────────┴─────────┘
         Total params: 42,442 (165.79 KB)
         Trainable params: 42,442 (165.79 KB)
         Non-trainable params: 0 (0.00 B)
    "#]]
    .assert_eq(&text);
}

#[test]
fn the_table_of_a_branching_model() {
    let model = Sequential::new([8, 8, 4])
        .add(Conv2D::new(4, 3).padding(Padding::Same))
        .add(BatchNormalization::new())
        .add(LayerSpec::new(Add {}).inputs(["input", "batch_normalization"]))
        .build()
        .expect("fits");
    expect![[r#"
        ┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━━━━┳━━━━━━━━━┳━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
        ┃ Layer (type)                             ┃ Output Shape    ┃ Param # ┃ Connected to               ┃
        ┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━━━━╇━━━━━━━━━╇━━━━━━━━━━━━━━━━━━━━━━━━━━━━┩
        │ conv2d (Conv2D)                          │ (None, 8, 8, 4) │     148 │ input                      │
        ├──────────────────────────────────────────┼─────────────────┼─────────┼────────────────────────────┤
        │ batch_normalization (BatchNormalization) │ (None, 8, 8, 4) │      16 │ conv2d                     │
        ├──────────────────────────────────────────┼─────────────────┼─────────┼────────────────────────────┤
        │ add (Add)                                │ (None, 8, 8, 4) │       0 │ input, batch_normalization │
        └──────────────────────────────────────────┴─────────────────┴─────────┴────────────────────────────┘
         Total params: 164 (656.00 B)
         Trainable params: 156 (624.00 B)
         Non-trainable params: 8 (32.00 B)
    "#]]
    .assert_eq(&model.summary().expect("sound"));
}

#[test]
fn layers_count_the_parameters_of_their_parts() {
    let model = Sequential::new([5, 6])
        .add(TransformerEncoder::new(9, 2))
        .add(Bidirectional::new(LSTM::new(4)))
        .build()
        .expect("fits");
    let summary = model.summary().expect("sound");
    // Four kernels and biases of 6 by 6, two of 6 by 9, two norms; two LSTMs.
    let (encoder, lstms) = (4 * (36 + 6) + (54 + 9) + (54 + 6) + 2 * 12, 2 * 16 * (6 + 4 + 1));
    for count in [format!("{encoder} │"), format!("{lstms} │"), format!("Total params: {}", encoder + lstms)]
    {
        assert!(summary.contains(&count), "{count} in\n{summary}");
    }
}
