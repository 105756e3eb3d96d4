//! How many files this process may have open; each connection is one.

/// Raises the number of files that the process may have open as far as it may do so itself, and answers how many those
/// are.
pub fn raise_open_files() -> u64 {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        // More than that is of no use, and some programs walk through all that they may have.
        let wanted = maximum.unwrap_or(ENOUGH).min(ENOUGH);
        let (Some(current), true) = (current, current.is_some_and(|current| current < wanted)) else {
            return current.unwrap_or(ENOUGH);
        };
        let raised = Rlimit {
            current: Some(wanted),
            maximum,
        };
        match setrlimit(Resource::Nofile, raised) {
            Ok(()) => wanted,
            Err(error) => {
                tracing::warn!(%error, current, "the number of open files cannot be raised");
                current
            }
        }
    }
    #[cfg(not(unix))]
    ENOUGH
}

const ENOUGH: u64 = 65_536;
