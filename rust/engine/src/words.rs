//! What the system says went wrong, in words for the program: those of strerror(3), which perl's `$!` has.

use std::io;

/// Rust puts this in front of what getaddrinfo(3) says.
const LOOKUP: &str = "failed to lookup address information: ";

/// Without the number that Rust appends.
pub fn system(error: &io::Error) -> String {
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
        let refused = io::Error::from_raw_os_error(libc::ECONNREFUSED);
        assert_eq!(system(&refused), "Connection refused");
    }

    #[test]
    fn any_other_is_what_it_says() {
        assert_eq!(system(&io::Error::other("closed")), "closed");
        assert_eq!(
            system(&io::Error::other("odd (os error 3)")),
            "odd (os error 3)"
        );
    }

    #[test]
    fn a_name_that_is_none_is_no_failed_lookup_information() {
        let error = ("not a name", 1).to_socket_addrs().unwrap_err();
        assert!(!system(&error).contains("lookup"), "{error}");
    }
}
