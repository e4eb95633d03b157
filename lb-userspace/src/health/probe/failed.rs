//! Why a probe got no right answer.

use std::io;
use std::net::IpAddr;

use nix::errno::Errno;

/// Why a probe got no right answer, as people say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::health) enum Failed {
    /// The backend didn't answer, or not rightly.
    There(String),
    /// This host lacks what it takes to ask, which says nothing of the backend.
    Here(String),
}

impl Failed {
    /// What an error of a socket means. `says` puts it in words.
    pub(super) fn of(error: io::Error, says: impl FnOnce(io::Error) -> String) -> Self {
        if is_ours(&error) { Self::Here(says(error)) } else { Self::There(says(error)) }
    }

    /// What the probes of several VIPs say together: all must be answered. That one could not be sent counts only if no other
    /// failed.
    pub(in crate::health) fn of_all(results: impl Iterator<Item = (IpAddr, Result<(), Self>)>) -> Result<(), Self> {
        let (mut failed, mut count) = (None, 0);
        for (vip, result) in results {
            count += 1;
            match (result, &failed) {
                (Err(Self::There(why)), None | Some((_, Self::Here(_)))) => failed = Some((vip, Self::There(why))),
                (Err(why), None) => failed = Some((vip, why)),
                _ => {}
            }
        }
        match failed {
            None => Ok(()),
            Some((vip, Self::There(why))) if count > 1 => Err(Self::There(format!("{why} (VIP {vip})"))),
            Some((_, why)) => Err(why),
        }
    }
}

/// True for errors that a socket meets on this host, before anything is sent: no room for files, memory or ports, no right, no
/// such address or family here. `EACCES` is none: it is what an ICMPv6 error makes of a filter far away.
fn is_ours(error: &io::Error) -> bool {
    let Some(number) = error.raw_os_error() else { return false };
    matches!(
        Errno::from_raw(number),
        Errno::EMFILE
            | Errno::ENFILE
            | Errno::ENOBUFS
            | Errno::ENOMEM
            | Errno::EAGAIN
            | Errno::EADDRINUSE
            | Errno::EADDRNOTAVAIL
            | Errno::EAFNOSUPPORT
            | Errno::EPERM
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(number: Errno) -> Failed {
        Failed::of(io::Error::from_raw_os_error(number as i32), |_| String::new())
    }

    #[test]
    fn what_this_host_lacks_is_not_held_against_the_backend() {
        for ours in
            [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::EADDRNOTAVAIL, Errno::EADDRINUSE, Errno::EPERM]
        {
            assert_eq!(of(ours), Failed::Here(String::new()), "{ours}");
        }
        for theirs in [Errno::ECONNREFUSED, Errno::ECONNRESET, Errno::ETIMEDOUT, Errno::EHOSTUNREACH, Errno::EACCES] {
            assert_eq!(of(theirs), Failed::There(String::new()), "{theirs}");
        }
        let ended = Failed::of(io::ErrorKind::UnexpectedEof.into(), |_| String::new());
        assert_eq!(ended, Failed::There(String::new()));
    }

    #[test]
    fn all_vips_must_be_answered_and_the_one_that_is_not_is_named() {
        let together = |results: &[Result<(), Failed>]| {
            let vips = (10..).map(|last| IpAddr::from([192, 0, 2, last]));
            Failed::of_all(vips.zip(results.iter().cloned()))
        };
        let (here, there) = (Err(Failed::Here("no file".to_owned())), Err(Failed::There("no".to_owned())));
        assert_eq!(together(&[Ok(()), Ok(())]), Ok(()));
        assert_eq!(together(std::slice::from_ref(&there)), there);
        let named = Err(Failed::There("no (VIP 192.0.2.11)".to_owned()));
        assert_eq!(together(&[Ok(()), there.clone(), there.clone()]), named);
        assert_eq!(together(&[here.clone(), there]), named, "what a backend said counts more");
        assert_eq!(together(&[Ok(()), here.clone()]), here);
    }
}
