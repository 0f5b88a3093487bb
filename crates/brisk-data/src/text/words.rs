//! Chinese words, by jieba's dictionary.

use std::sync::OnceLock;

use jieba_rs::Jieba;

/// The text with a space between any two words.
pub(super) fn spaced(text: &str) -> String {
    static JIEBA: OnceLock<Jieba> = OnceLock::new();
    let words = JIEBA.get_or_init(Jieba::new).cut(text, true);
    let mut out = String::with_capacity(text.len() * 2);
    for word in words.iter().map(|w| w.trim()).filter(|w| !w.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

#[cfg(test)]
mod tests {
    #[test]
    fn finds_words() {
        assert_eq!(super::spaced("我们中出了一个叛徒, ok"), "我们 中出 了 一个 叛徒 , ok");
    }
}
