//! What others have measured, by the places where we measure. Sources: `HyParView` (Leitão, Pereira and Rodrigues, DSN 2007), Plumtree (the same
//! authors, "Epidemic Broadcast Trees", SRDS 2007); all at 10,000 nodes.

/// `HyParView`, Section 5.2: mean reliability in percent by the percentage of nodes that failed.
pub(super) const RELIABILITY: [(u64, f64); 10] = [
    (10, 100.0),
    (20, 100.0),
    (30, 100.0),
    (40, 100.0),
    (50, 100.0),
    (60, 99.94),
    (70, 99.91),
    (80, 99.88),
    (90, 99.65),
    (95, 90.86),
];

/// The same of `CyclonAcked`, the best of those that `HyParView` is compared with there.
pub(super) const CYCLON_ACKED: [(u64, f64); 7] =
    [(10, 98.4), (50, 98.1), (60, 98.1), (70, 96.9), (80, 46.4), (90, 0.2), (95, 0.3)];

/// `HyParView`, Section 5.3: cycles until the reliability is what it was before the failure, by the percentage that failed.
pub(super) const HEALING: [(u64, f64); 9] =
    [(10, 1.0), (20, 1.0), (30, 1.0), (40, 1.0), (50, 1.0), (60, 1.0), (70, 2.0), (80, 2.0), (90, 4.0)];

/// `HyParView`, Section 5.4: of how many of 10,000 nodes the in-degree is 5.
pub(super) const FULL_OF_10_000: f64 = 9_980.0;
/// `HyParView`, Table 1.
pub(super) const CLUSTERING: f64 = 0.000_92;
/// `HyParView`, Table 1.
pub(super) const SHORTEST_PATH: f64 = 6.385;
/// `HyParView`, Table 1.
pub(super) const LAST_HOP: f64 = 9.0;

/// Plumtree, Table 1 and Section 5: last delivery hops and messages for each broadcast.
pub(super) mod plumtree {
    pub(in super::super) const EAGER_HOPS: f64 = 9.0;
    pub(in super::super) const ONE_SENDER_HOPS: f64 = 10.0;
    pub(in super::super) const ONE_SENDER_OPTIMISED_HOPS: f64 = 8.3;
    pub(in super::super) const MANY_SENDERS_HOPS: f64 = 59.0;
    pub(in super::super) const MANY_SENDERS_OPTIMISED_HOPS: f64 = 17.2;
    pub(in super::super) const EAGER_PAYLOADS: f64 = 39_984.0;
    pub(in super::super) const TREE_PAYLOADS: f64 = 9_999.0;
    pub(in super::super) const TREE_CONTROLS: f64 = 29_987.0;
}

/// What a table says at a place.
pub(super) fn at(table: &[(u64, f64)], place: u64) -> Option<f64> {
    table.iter().find(|entry| entry.0 == place).map(|entry| entry.1)
}

/// A table as points.
pub(super) fn points(table: &[(u64, f64)]) -> Vec<(f64, f64)> {
    table.iter().map(|&(place, value)| (super::samples::float(place), value)).collect()
}
