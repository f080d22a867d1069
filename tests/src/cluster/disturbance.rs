//! A fault that was applied, and how it is taken back.

use anyhow::Result;

type Undo<'a> = Box<dyn FnOnce() -> Result<()> + Send + 'a>;

/// Faults that last until they are taken back: by [`Disturbance::heal`], or when this is dropped, also by a test that
/// fails.
#[must_use = "dropped, the fault ends at once"]
#[derive(Default)]
pub struct Disturbance<'a>(Vec<Undo<'a>>);

impl std::fmt::Debug for Disturbance<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Disturbance({})", self.0.len())
    }
}

impl<'a> Disturbance<'a> {
    /// Nothing is disturbed, or it passes by itself.
    pub fn none() -> Self {
        Self::default()
    }

    /// A fault that ends by this.
    pub fn until(undo: impl FnOnce() -> Result<()> + Send + 'a) -> Self {
        Self(vec![Box::new(undo)])
    }

    /// This fault, and then another; the later is taken back first.
    pub fn and(mut self, mut other: Self) -> Self {
        self.0.append(&mut other.0);
        self
    }

    /// Takes all back, whatever fails; the first failure is the result.
    pub fn heal(mut self) -> Result<()> {
        self.undo()
    }

    fn undo(&mut self) -> Result<()> {
        let mut result = Ok(());
        while let Some(undo) = self.0.pop() {
            result = result.and(undo());
        }
        result
    }
}

impl Drop for Disturbance<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.undo() {
            eprintln!("a fault was not taken back: {error:#}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn faults_are_taken_back_in_reverse_and_all_of_them() {
        let order = Mutex::new(Vec::new());
        let fault = |name: &'static str| {
            let order = &order;
            Disturbance::until(move || {
                order.lock().unwrap().push(name);
                anyhow::bail!("{name} stays")
            })
        };
        let healed = fault("first").and(fault("second")).heal();
        assert_eq!(healed.unwrap_err().to_string(), "second stays");
        drop(fault("dropped"));
        assert_eq!(*order.lock().unwrap(), ["second", "first", "dropped"]);
    }
}
