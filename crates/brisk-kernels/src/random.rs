//! Counter-based random numbers: Philox4x32-10 (Salmon and others, "Parallel random numbers: as easy as 1, 2, 3", 2011).
//!
//! Element `i` of a stream depends on the key and on `i` alone, so that any part can be made on any thread.

/// Ten rounds of Philox4x32 on one counter.
pub fn philox(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let p0 = u64::from(c0) * 0xD251_1F53;
        let p1 = u64::from(c2) * 0xCD9E_8D57;
        (c0, c1, c2, c3) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [c0, c1, c2, c3]
}

/// Random word number `index` of the stream of `key`.
pub fn bits(key: [u32; 2], index: u64) -> u32 {
    let block = index / 4;
    philox(key, [block as u32, (block >> 32) as u32, 0, 0])[(index % 4) as usize]
}

/// `out[i] = bits(key, start + i)`.
pub fn fill_bits(key: [u32; 2], start: u64, out: &mut [u32]) {
    for (i, o) in out.iter_mut().enumerate() {
        *o = bits(key, start + i as u64);
    }
}

/// `out[i] = (bits(key, start + i) >> 8) / 2^24`: uniform in `[0, 1)`, every value a multiple of `2^-24`.
pub fn fill_uniform(key: [u32; 2], start: u64, out: &mut [f32]) {
    for (i, o) in out.iter_mut().enumerate() {
        *o = (bits(key, start + i as u64) >> 8) as f32 * (1.0 / 16_777_216.0);
    }
}

/// Standard normal numbers (Box and Muller): elements `2j` and `2j + 1` are the two coordinates made of words
/// `2j` and `2j + 1`, so that element `start + i` depends on its number alone.
pub fn fill_normal(key: [u32; 2], start: u64, out: &mut [f32]) {
    for (i, o) in out.iter_mut().enumerate() {
        let at = start + i as u64;
        let (a, b) = (bits(key, at & !1), bits(key, at | 1));
        let radius = (-2.0 * (((a >> 8) + 1) as f32 * (1.0 / 16_777_216.0)).ln()).sqrt();
        let angle = (b >> 8) as f32 * (std::f32::consts::TAU / 16_777_216.0);
        *o = radius * if at % 2 == 0 { angle.cos() } else { angle.sin() };
    }
}

/// A uniformly random order of `0..n` (Fisher and Yates), the same for one key and `n`.
pub fn permutation(key: [u32; 2], n: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..u32::try_from(n).expect("permutation of at most 2^32 items")).collect();
    for i in (1..n).rev() {
        let wide = u64::from(bits(key, 2 * i as u64)) << 32 | u64::from(bits(key, 2 * i as u64 + 1));
        let j = ((u128::from(wide) * (i as u128 + 1)) >> 64) as usize;
        order.swap(i, j);
    }
    order
}
