//! Sizes that follow from the sizes of what comes in.

use std::collections::BTreeMap;
use std::fmt;

/// A sum of products of symbols, each product with a whole factor: `2 n`, `length - 4`, `n length`.
///
/// A product is the sorted list of its symbols' numbers; the empty one stands for the number 1.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size {
    terms: BTreeMap<Vec<usize>, i64>,
}

impl From<usize> for Size {
    fn from(n: usize) -> Size {
        Size::of(Vec::new(), i64::try_from(n).unwrap_or(i64::MAX))
    }
}

impl Size {
    fn of(product: Vec<usize>, factor: i64) -> Size {
        Size { terms: if factor == 0 { BTreeMap::new() } else { BTreeMap::from([(product, factor)]) } }
    }

    /// A number.
    pub fn number(n: i64) -> Size {
        Size::of(Vec::new(), n)
    }

    /// A symbol by itself.
    pub fn symbol(number: usize) -> Size {
        Size::of(vec![number], 1)
    }

    /// With a number more.
    pub fn plus(&self, n: i64) -> Size {
        let mut size = self.clone();
        let number = size.terms.entry(Vec::new()).or_default();
        *number = number.saturating_add(n);
        size.terms.retain(|_, factor| *factor != 0);
        size
    }

    /// Two sizes times each other.
    pub fn product(a: &Size, b: &Size) -> Size {
        let mut size = Size::default();
        for (p, f) in a.terms() {
            for (q, g) in b.terms() {
                let mut product = [p, q].concat();
                product.sort_unstable();
                let factor = size.terms.entry(product).or_default();
                *factor = factor.saturating_add(f.saturating_mul(g));
            }
        }
        size
    }

    /// The number, if no symbol stands in it.
    pub fn fixed(&self) -> Option<i64> {
        match self.terms.iter().next() {
            None => Some(0),
            Some((product, factor)) if product.is_empty() && self.terms.len() == 1 => Some(*factor),
            Some(_) => None,
        }
    }

    /// The symbol, if it is one.
    pub fn as_symbol(&self) -> Option<usize> {
        match self.terms.iter().next() {
            Some((product, 1)) if self.terms.len() == 1 => match product[..] {
                [symbol] => Some(symbol),
                _ => None,
            },
            _ => None,
        }
    }

    /// Its products, each with its factor.
    pub fn terms(&self) -> impl Iterator<Item = (&[usize], i64)> {
        self.terms.iter().map(|(product, factor)| (&product[..], *factor))
    }

    /// The simplest size that has these values where the symbols have those of `symbols`, each with as many values: a number, a product
    /// with a factor, or two of them. `None` if there is none.
    pub fn fit(values: &[usize], symbols: &[Vec<usize>]) -> Option<Size> {
        let values: Vec<i64> = values.iter().map(|&v| i64::try_from(v).ok()).collect::<Option<_>>()?;
        let first = *values.first()?;
        if values.iter().all(|&v| v == first) {
            return Some(Size::of(Vec::new(), first));
        }
        let products = products(symbols, values.len());
        let multiple = |product: &(Vec<usize>, Vec<i64>)| {
            let factor = first.checked_div(*product.1.first()?)?;
            let same = product.1.iter().zip(&values).all(|(p, v)| p.checked_mul(factor) == Some(*v));
            (same && factor != 0).then(|| Size::of(product.0.clone(), factor))
        };
        if let Some(size) = products.iter().find_map(multiple) {
            return Some(size);
        }
        for (i, a) in products.iter().enumerate() {
            for b in &products[..i] {
                if let Some([p, q]) = both(&values, &a.1, &b.1) {
                    return Some(Size { terms: BTreeMap::from([(a.0.clone(), p), (b.0.clone(), q)]) });
                }
            }
        }
        None
    }

    /// With the symbols' names.
    pub fn named<'a>(&'a self, names: &'a [String]) -> impl fmt::Display + 'a {
        struct Named<'a>(&'a Size, &'a [String]);
        impl fmt::Display for Named<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                if self.0.terms.is_empty() {
                    return f.write_str("0");
                }
                for (i, (product, factor)) in self.0.terms.iter().rev().enumerate() {
                    let sign = if *factor < 0 { "- " } else { "+ " };
                    match (i, *factor < 0) {
                        (0, false) => {}
                        (0, true) => f.write_str("-")?,
                        _ => write!(f, " {sign}")?,
                    }
                    let of = |&s: &usize| self.1.get(s).map_or("?", String::as_str);
                    let names: Vec<_> = product.iter().map(of).collect();
                    match (factor.unsigned_abs(), names.is_empty()) {
                        (n, true) => write!(f, "{n}")?,
                        (1, false) => f.write_str(&names.join(" * "))?,
                        (n, false) => write!(f, "{n} * {}", names.join(" * "))?,
                    }
                }
                Ok(())
            }
        }
        Named(self, names)
    }
}

/// Whole factors of `a` and `b` whose sum has the values.
fn both(values: &[i64], a: &[i64], b: &[i64]) -> Option<[i64; 2]> {
    let pairs = (1..values.len()).map(|j| (0, j));
    for (i, j) in pairs {
        let wide = |v: &[i64]| [i128::from(v[i]), i128::from(v[j])];
        let ([v0, v1], [a0, a1], [b0, b1]) = (wide(values), wide(a), wide(b));
        let det = a0 * b1 - a1 * b0;
        if det == 0 {
            continue;
        }
        let (p, q) = (v0 * b1 - v1 * b0, a0 * v1 - a1 * v0);
        if p % det != 0 || q % det != 0 {
            return None;
        }
        let (p, q) = (i64::try_from(p / det).ok()?, i64::try_from(q / det).ok()?);
        let sum = |k: usize| p.checked_mul(a[k])?.checked_add(q.checked_mul(b[k])?);
        return (p != 0 && q != 0 && (0..values.len()).all(|k| sum(k) == Some(values[k]))).then_some([p, q]);
    }
    None
}

/// The number 1 and all products of up to three symbols, or of two if there are many, with their values.
fn products(symbols: &[Vec<usize>], samples: usize) -> Vec<(Vec<usize>, Vec<i64>)> {
    const MANY: usize = 6;
    let longest = if symbols.len() < MANY { 3 } else { 2 };
    let mut all = vec![(Vec::new(), vec![1i64; samples])];
    let mut from = 0;
    for _ in 0..longest {
        let to = all.len();
        for i in from..to {
            for (s, own) in symbols.iter().enumerate() {
                let (product, values) = &all[i];
                if product.last().is_some_and(|&last| last > s) {
                    continue;
                }
                let times = values.iter().zip(own);
                let Some(values) =
                    times.map(|(v, &o)| v.checked_mul(i64::try_from(o).ok()?)).collect::<Option<Vec<_>>>()
                else {
                    continue;
                };
                let product = [&product[..], &[s]].concat();
                all.push((product, values));
            }
        }
        from = to;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_simplest_size() {
        let symbols = [vec![7, 11, 7, 7, 11], vec![61, 61, 97, 64, 97]];
        let names = ["n", "length"].map(String::from);
        let fit = |f: &dyn Fn(usize, usize) -> usize| {
            let values: Vec<usize> = symbols[0].iter().zip(&symbols[1]).map(|(&n, &l)| f(n, l)).collect();
            Size::fit(&values, &symbols).map(|s| s.named(&names).to_string())
        };
        assert_eq!(fit(&|_, _| 12).as_deref(), Some("12"));
        assert_eq!(fit(&|_, _| 0).as_deref(), Some("0"));
        assert_eq!(fit(&|n, _| 3 * n).as_deref(), Some("3 * n"));
        assert_eq!(fit(&|n, l| n * l).as_deref(), Some("n * length"));
        assert_eq!(fit(&|_, l| 2 * l - 5).as_deref(), Some("2 * length - 5"));
        assert_eq!(fit(&|n, l| n * (l + 4)).as_deref(), Some("n * length + 4 * n"));
        assert_eq!(fit(&|_, l| l * l).as_deref(), Some("length * length"));
        assert_eq!(fit(&|_, l| l / 2), None);
    }
}
