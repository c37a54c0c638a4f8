//! What another process has used so far, out of /proc.

use std::{fs, io};

/// The process whose costs are measured.
#[derive(Clone, Copy)]
pub struct Process(pub u32);

fn bad(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Process {
    /// Nanoseconds all threads of the process have been on a CPU, user and system together. Exact while it sleeps;
    /// while it runs the kernel adds to it at every timer tick.
    pub fn cpu_ns(self) -> io::Result<u64> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.0))? {
            let path = task?.path().join("schedstat");
            let text = fs::read_to_string(&path)?;
            let first = text
                .split_whitespace()
                .next()
                .and_then(|n| n.parse::<u64>().ok());
            total +=
                first.ok_or_else(|| bad(format!("{}: no number in '{text}'", path.display())))?;
        }
        Ok(total)
    }

    /// Resident memory in bytes (VmRSS).
    pub fn resident(self) -> io::Result<u64> {
        let path = format!("/proc/{}/status", self.0);
        let text = fs::read_to_string(&path)?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line
            .and_then(|rest| rest.trim().strip_suffix("kB"))
            .and_then(|n| n.trim().parse::<u64>().ok());
        kib.map(|kib| kib * 1024)
            .ok_or_else(|| bad(format!("{path}: no VmRSS")))
    }
}
