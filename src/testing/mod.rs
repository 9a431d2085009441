//! Fakes of every port, with faults on demand; only for tests.

pub mod crash;
