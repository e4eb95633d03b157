//! See also `reconcile/tests.rs`.
