//! Processor time of processes, as Linux counts it.

use std::fs;

/// Ticks a second in `/proc/PID/stat`. The kernel counts otherwise inside, but shows programs this.
const TICKS: f64 = 100.0;

/// The milliseconds of processor time that a process has used.
pub(crate) fn busy(process: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    let [user, system, ..] = ticks(&stat);
    milliseconds(user + system)
}

/// The same of all processes of PostgreSQL on this machine together. `None`: there are none here.
pub(crate) fn postgres_busy() -> Option<f64> {
    let mut all = None::<u64>;
    for entry in fs::read_dir("/proc").unwrap() {
        let folder = entry.unwrap().path();
        // Most entries are no processes, and processes end.
        let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
        let Ok(stat) = fs::read_to_string(folder.join("stat")) else { continue };
        if name.trim_end() == "postgres" {
            // With those of its children that ended, so that no time is lost when one does.
            *all.get_or_insert(0) += ticks(&stat).iter().sum::<u64>();
        }
    }
    all.map(milliseconds)
}

fn milliseconds(ticks: u64) -> f64 {
    ticks as f64 * 1000.0 / TICKS
}

/// The process's time as a user and in the kernel, and the same of its children that ended.
fn ticks(stat: &str) -> [u64; 4] {
    // The name of the program, in parentheses, may have spaces.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let fields: Vec<&str> = fields.split_whitespace().collect();
    [11, 12, 13, 14].map(|index: usize| fields[index].parse().unwrap())
}
