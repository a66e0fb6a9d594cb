//! What counts: one writer, any number of readers, no locked instruction.
//!
//! The shard that owns a cell is its only writer, so a relaxed load and a relaxed store make an
//! increment: half a nanosecond. Readers see each cell whole, though not all cells of one moment.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Something that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts `n` more. To be called by the owner only.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// The count so far.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Something that comes and goes.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    /// Replaces the value. To be called by the owner only.
    #[inline]
    pub fn set(&self, value: usize) {
        self.0.store(i64::try_from(value).unwrap_or(i64::MAX), Relaxed);
    }

    /// Adds `delta`. To be called by the owner only.
    #[inline]
    pub fn add(&self, delta: i64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(delta), Relaxed);
    }

    /// The raw value. One shard's part may be negative (a call may begin on one shard and end on
    /// another); the sum over the shards is clamped where it is shown.
    pub fn value(&self) -> i64 {
        self.0.load(Relaxed)
    }
}

/// The upper bounds of a histogram's buckets, in the unit the shard counts in.
#[derive(Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Ascending, at most [`Histogram::BOUNDS`]; what is larger falls into the last bucket.
    pub upper: &'static [u64],
    /// How many of the unit make one of the unit that is shown: 1 for bytes, 1,000,000 for
    /// microseconds shown as seconds.
    pub per_unit: u64,
}

/// How values are spread.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static Bounds,
    buckets: [Counter; Histogram::BOUNDS + 1],
    sum: Counter,
}

impl Histogram {
    /// Bounds a histogram can have.
    pub const BOUNDS: usize = 15;

    /// An empty histogram.
    pub fn new(bounds: &'static Bounds) -> Histogram {
        Histogram { bounds, buckets: Default::default(), sum: Counter::default() }
    }

    /// The bounds it was made with.
    pub fn bounds(&self) -> &'static Bounds {
        self.bounds
    }

    /// Counts one value. To be called by the owner only.
    #[inline]
    pub fn observe(&self, value: u64) {
        let upper = self.bounds.upper;
        let bucket = upper.iter().position(|&bound| value <= bound).unwrap_or(upper.len());
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.add(1);
            self.sum.add(value);
        }
    }

    /// Counts one duration, in microseconds. To be called by the owner only.
    #[inline]
    pub fn observe_duration(&self, value: Duration) {
        self.observe(u64::try_from(value.as_micros()).unwrap_or(u64::MAX));
    }

    /// Adds what it holds to `total`.
    pub fn add_to(&self, total: &mut Spread) {
        for (sum, bucket) in total.buckets.iter_mut().zip(&self.buckets) {
            *sum = sum.wrapping_add(bucket.value());
        }
        total.sum = total.sum.wrapping_add(self.sum.value());
    }
}

/// A histogram's content, summed over shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spread {
    /// Its bounds.
    pub bounds: &'static Bounds,
    /// Values in each bucket, not cumulative; the one behind the last bound holds the rest.
    pub buckets: [u64; Histogram::BOUNDS + 1],
    /// Sum of all values, in the unit of the bounds.
    pub sum: u64,
}

impl Spread {
    /// Nothing yet.
    pub fn new(bounds: &'static Bounds) -> Spread {
        Spread { bounds, buckets: [0; Histogram::BOUNDS + 1], sum: 0 }
    }

    /// How many values there are.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

/// A block that exists once something in it was counted, so that thousands of trunks cost little.
#[derive(Debug)]
pub struct Lazy<T>(OnceLock<Box<T>>);

impl<T> Default for Lazy<T> {
    fn default() -> Lazy<T> {
        Lazy(OnceLock::new())
    }
}

impl<T: Default> Lazy<T> {
    /// The block, made now if this is the first time. To be called by the owner only.
    #[inline]
    pub fn touch(&self) -> &T {
        self.0.get_or_init(Box::default)
    }
}

impl<T> Lazy<T> {
    /// The block, if anything in it was ever counted.
    pub fn seen(&self) -> Option<&T> {
        self.0.get().map(|block| &**block)
    }
}
