//! Waiting for a condition, with a deadline: the only kind of waiting that the tests do.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The deadline for what should take moments: far beyond what a loaded machine of two cores needs, so that reaching it
/// means that the thing did not happen, not that it was slow.
pub const SOON: Duration = Duration::from_secs(60);

/// The shortest time to leave the machine alone between two looks at the condition.
const PAUSE: Duration = Duration::from_millis(10);
/// The longest.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

static GIVEN_UP: AtomicBool = AtomicBool::new(false);

/// Makes every wait of this process fail from now on, because somebody asked it to end.
pub fn give_up() {
    GIVEN_UP.store(true, Ordering::Relaxed);
}

/// True after [`give_up`].
#[must_use]
pub fn has_given_up() -> bool {
    GIVEN_UP.load(Ordering::Relaxed)
}

/// Looks again and again until `probe` gives something, and returns that.
///
/// `what` says what is waited for, as in "waiting for {what}".
///
/// # Errors
/// The deadline has passed, or this process was asked to end; the message has `what` and the last thing that `probe` said was missing.
pub fn until<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Result<T, String>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        let begun = Instant::now();
        let missing = match probe() {
            Ok(found) => return Ok(found),
            Err(missing) => missing,
        };
        if has_given_up() {
            bail!("was asked to end while waiting for {what}");
        }
        if Instant::now() >= deadline {
            bail!("waited {} s for {what}, in vain: {missing}", limit.as_secs());
        }
        // Most looks run `drlb`, and make the agent count slots. Waiting must not be the work that it waits for.
        sleep((2 * begun.elapsed()).clamp(PAUSE, LONGEST_PAUSE));
    }
}
