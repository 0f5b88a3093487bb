//! Tells the program what it was built for, for `brisk --version`.

fn main() {
    for name in ["TARGET", "PROFILE"] {
        println!("cargo:rustc-env=BRISK_{name}={}", std::env::var(name).unwrap_or_default());
    }
    println!("cargo:rerun-if-changed=build.rs");
}
