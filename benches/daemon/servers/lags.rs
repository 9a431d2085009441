//! How long records waited, by the millisecond.

/// What waited longer counts as this long, in milliseconds.
const LONGEST: usize = 120_000;

pub struct Lags {
    /// How many records waited so many milliseconds.
    counts: Vec<u64>,
}

impl Default for Lags {
    fn default() -> Self {
        Self { counts: vec![0; LONGEST + 1] }
    }
}

impl Lags {
    pub fn take(&mut self, micros: u64) {
        let millis = usize::try_from(micros / 1000).unwrap_or(LONGEST).min(LONGEST);
        self.counts[millis] += 1;
    }

    /// The median, the 99th percentile and the longest, in milliseconds.
    pub fn told(&self) -> [u64; 3] {
        let all: u64 = self.counts.iter().sum();
        let mut told = [0; 3];
        for (place, least) in told.iter_mut().zip([all.div_ceil(2), (all * 99).div_ceil(100), all]) {
            let mut so_far = 0;
            let reached = self.counts.iter().position(|count| {
                so_far += count;
                so_far >= least
            });
            *place = reached.unwrap_or(0) as u64;
        }
        told
    }
}
