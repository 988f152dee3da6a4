//! Making a group in each cluster, with its members.

use std::collections::{BTreeMap, VecDeque};

use super::super::super::book::{Book, Seen};
use super::super::requests;
use crate::wire::proto::Route;

/// What is still to be asked for.
#[derive(Debug)]
pub(super) struct Making {
    group: String,
    members: Vec<String>,
    clusters: BTreeMap<usize, Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    left: VecDeque<Route>,
    /// Whether something was asked for of which nobody knows whether it is done, or will be.
    is_spoilt: bool,
}

impl Making {
    /// What has not been done in an earlier life.
    pub(super) fn new(group: &str, members: &[String], book: &Book) -> Self {
        let book = book.borrow();
        let complete = book.iter().filter_map(|seen| match seen {
            Seen::GroupComplete { cluster, group: of, .. } if of == group => {
                Some((*cluster, Progress::default()))
            }
            _ => None,
        });
        Self { group: group.to_owned(), members: members.to_vec(), clusters: complete.collect() }
    }

    pub(super) fn group(&self) -> &str {
        &self.group
    }

    /// Begins in a cluster, if it has not; whether it has not.
    pub(super) fn begins(&mut self, cluster: usize) -> bool {
        if self.clusters.contains_key(&cluster) {
            return false;
        }
        let left = requests::group(&self.group, &self.members).into();
        self.clusters.insert(cluster, Progress { left, is_spoilt: false });
        true
    }

    /// What comes next in a cluster, if anything is left.
    pub(super) fn next(&self, cluster: usize) -> Option<Route> {
        self.clusters.get(&cluster)?.left.front().cloned()
    }

    /// Nobody knows what becomes of that.
    pub(super) fn spoil(&mut self, cluster: usize) {
        if let Some(progress) = self.clusters.get_mut(&cluster) {
            progress.is_spoilt = true;
        }
    }

    /// That is done. The group's name, if it is complete, and whether nothing of it may be done once more: it was begun once, and all that was asked was answered.
    pub(super) fn done(&mut self, cluster: usize, book: &Book) -> Option<(String, bool)> {
        let progress = self.clusters.get_mut(&cluster)?;
        progress.left.pop_front()?;
        if !progress.left.is_empty() {
            return None;
        }
        let begun = Seen::MakesGroup { cluster, group: self.group.clone() };
        let times = book.borrow().iter().filter(|seen| **seen == begun).count();
        Some((self.group.clone(), times == 1 && !progress.is_spoilt))
    }
}
