//! Compiles the C of the example `supervisor`, where there is a C compiler.

fn main() {
    println!("cargo::rerun-if-changed=supervisor/letters.c");
    println!("cargo::rerun-if-env-changed=CC");
    println!("cargo::rustc-check-cfg=cfg(has_c_compiler)");
    let mut build = cc::Build::new();
    // The one program that calls it says so itself.
    build.file("supervisor/letters.c").warnings(true).cargo_metadata(false);
    match build.try_compile("letters") {
        Ok(()) => {
            println!("cargo::rustc-cfg=has_c_compiler");
            if let Ok(folder) = std::env::var("OUT_DIR") {
                println!("cargo::rustc-link-search=native={folder}");
            }
        }
        Err(error) => {
            println!(
                "cargo::warning=the example `supervisor` does nothing: no C compiler: {error}"
            );
        }
    }
}
