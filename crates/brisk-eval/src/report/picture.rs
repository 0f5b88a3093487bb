use base64::{Engine as _, engine::general_purpose::STANDARD};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};

use super::Mistake;

/// The picture as a PNG in a `data:` address; `None` if its sizes do not describe its pixels.
pub(super) fn data_uri(m: &Mistake) -> Option<String> {
    let color = match m.c {
        1 => ExtendedColorType::L8,
        2 => ExtendedColorType::La8,
        3 => ExtendedColorType::Rgb8,
        4 => ExtendedColorType::Rgba8,
        _ => return None,
    };
    let pixels = m.h.checked_mul(m.w)?.checked_mul(m.c)?;
    if pixels == 0 || pixels != m.image.len() {
        return None;
    }
    let mut png = Vec::new();
    let (w, h) = (u32::try_from(m.w).ok()?, u32::try_from(m.h).ok()?);
    PngEncoder::new(&mut png).write_image(&m.image, w, h, color).ok()?;
    Some(format!("data:image/png;base64,{}", STANDARD.encode(png)))
}
