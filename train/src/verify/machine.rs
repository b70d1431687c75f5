//! What the machine tells about itself: processor, memory.

/// Processor and number of cores, for tables.
pub fn describe() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .map(|l| l.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{} ({cores} cores)", model.unwrap_or(std::env::consts::ARCH))
}

/// Memory the system can still give, where it tells.
pub fn available_memory() -> Option<u64> {
    let info = std::fs::read_to_string("/proc/meminfo").ok()?;
    kibibytes(&info, "MemAvailable:")
}

/// Memory this process holds now, where the system tells.
pub fn resident_memory() -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/self/status").ok()?, "VmRSS:")
}

/// Peak memory of this process since the start or the last [`reset_peak`], where the system tells.
pub fn peak_memory() -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Let the peak count from now. Where the system has no such switch the peak stays that of the whole process, which is
/// only ever larger.
pub fn reset_peak() {
    // Not being able to reset is not an error: see above.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

fn kibibytes(text: &str, key: &str) -> Option<u64> {
    let value = text.lines().find_map(|l| l.strip_prefix(key))?;
    value.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|k| k * 1024)
}
