//! Memory that is given back to the system comes again as pages that the system clears, one fault at a time.
//!
//! glibc gives back whatever lies free at the end of its heap, which tensors and plaintexts of a few hundred kilobytes do all the
//! time: a fifth of the time of training a ResNet and of running it encrypted (`docs/benchmarks.md`). It reads its settings from the
//! environment when a program starts, so the program starts itself again with them. Settings the user made are kept.

/// What glibc reads: no memory mapped for single requests, and none given back below four gigabytes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const SETTINGS: [(&str, &str); 2] = [("MALLOC_MMAP_MAX_", "0"), ("MALLOC_TRIM_THRESHOLD_", "4000000000")];

/// Start again with memory kept, unless that has been done; where it is impossible, go on as we are.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn keep_memory() {
    use std::os::unix::process::CommandExt;
    if SETTINGS.iter().any(|(name, _)| std::env::var_os(name).is_some()) {
        return;
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next();
    if let Ok(program) = std::env::current_exe() {
        let mut again = std::process::Command::new(program);
        if let Some(name) = name {
            again.arg0(name);
        }
        // Returns only if it failed, and then nothing is lost but time.
        let _ = again.args(arguments).envs(SETTINGS).exec();
    }
}

/// Other systems' allocators keep memory by themselves.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn keep_memory() {}
