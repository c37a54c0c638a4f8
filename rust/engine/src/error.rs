//! Why a call was refused, and what the system says went wrong.

use std::io;

/// Why a call was refused, with a text for the program.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// An argument cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// The system said no.
    #[error("{0}")]
    System(String),
}

impl From<io::Error> for CallError {
    fn from(error: io::Error) -> Self {
        CallError::System(system_text(&error))
    }
}

/// Rust puts this in front of what getaddrinfo(3) says.
const LOOKUP: &str = "failed to lookup address information: ";

/// What the system says went wrong, in the words of strerror(3), which perl's `$!` has: without the
/// number that Rust appends.
pub fn system_text(error: &io::Error) -> String {
    let text = error.to_string();
    let number = error
        .raw_os_error()
        .map(|number| format!(" (os error {number})"));
    let text = match &number {
        Some(number) => text.strip_suffix(number).unwrap_or(&text),
        None => text.strip_prefix(LOOKUP).unwrap_or(&text),
    };
    text.to_owned()
}

#[cfg(test)]
mod tests {
    use std::net::ToSocketAddrs;

    use super::*;

    #[test]
    fn an_error_of_the_system_has_no_number() {
        // ENOENT, which is 2 everywhere.
        let missing = io::Error::from_raw_os_error(2);
        assert_eq!(system_text(&missing), "No such file or directory");
    }

    #[test]
    fn any_other_is_what_it_says() {
        assert_eq!(system_text(&io::Error::other("closed")), "closed");
        assert_eq!(
            system_text(&io::Error::other("odd (os error 3)")),
            "odd (os error 3)"
        );
    }

    #[test]
    fn a_name_that_is_none_is_no_failed_lookup_information() {
        let error = ("not a name", 1).to_socket_addrs().unwrap_err();
        assert!(!system_text(&error).contains("lookup"), "{error}");
    }
}
