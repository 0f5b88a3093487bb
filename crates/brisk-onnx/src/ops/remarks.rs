//! What is to be known of operators beyond ONNX's own description.

use super::Operator;

const RANDOM: &str = "its numbers are Brisk's, not those of the suite";
const SEEN: &str = "the shape of its result follows from numbers: only `predict` and `bench` run it";

/// By domain and name.
const REMARKS: &[(&str, &str, &str)] = &[
    ("", "Attention", "in bfloat16 some results differ by one in the last of their eight digits"),
    ("", "Bernoulli", RANDOM),
    ("", "Compress", SEEN),
    ("", "DFT", "the suite expects the rounding of its own inverse transform where the result is 0"),
    ("", "Dropout", "in training, its numbers are Brisk's, not those of the suite"),
    (
        "",
        "If",
        "a condition that follows from numbers: both branches must yield the same shapes, or only `predict` and `bench` run it",
    ),
    (
        "",
        "Loop",
        "it is unrolled; where the number of turns follows from numbers, only `predict` and `bench` run it",
    ),
    ("", "Multinomial", RANDOM),
    ("", "NonMaxSuppression", SEEN),
    ("", "NonZero", SEEN),
    ("", "RandomNormal", RANDOM),
    ("", "RandomNormalLike", RANDOM),
    ("", "RandomUniform", RANDOM),
    ("", "RandomUniformLike", RANDOM),
    ("", "Scan", "it is unrolled"),
    ("", "Unique", SEEN),
];

impl Operator {
    /// What is to be known of it, in a line; mostly nothing.
    ///
    /// ```
    /// let unique = brisk_onnx::operators().find(|o| o.name == "Unique").expect("an operator");
    /// assert!(unique.remark().expect("a remark").contains("follows from numbers"));
    /// ```
    pub fn remark(&self) -> Option<&'static str> {
        REMARKS.iter().find(|r| (r.0, r.1) == (self.domain, self.name)).map(|r| r.2)
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn remarks_are_about_operators() {
        for (domain, name, _) in super::REMARKS {
            assert!(super::super::operator(domain, name).is_some(), "{domain} {name}");
        }
    }
}
